//! Parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    foretell::cli::Cli::read().run()
}
