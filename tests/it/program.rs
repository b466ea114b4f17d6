//! The program under test, as a user starts it.

use std::process::{Command, Output};

/// Free of what this process was told: a developer's own settings are not ours.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foretell"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FORETELL_") && name != "FORETELL_ONNXRUNTIME" {
            command.env_remove(name);
        }
    }
    command
}

/// With what `assert_cmd` adds: input as text, and a time limit.
pub fn foretell() -> assert_cmd::Command {
    assert_cmd::Command::from_std(command())
}

/// What it said to people.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
