//! Parse, train, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    foretell::training::run::Cli::read().run()
}
