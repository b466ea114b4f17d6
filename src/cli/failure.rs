//! How a command ends that did not succeed: one clear message, and an exit code of sysexits.
//!
//! | code | means |
//! |---|---|
//! | 1 | `status`: the fleet has not converged; stdout says who is behind |
//! | 64 | the command line cannot be understood |
//! | 65 | data is bad: events, bundles, offsets that are gone |
//! | 69 | the brokers cannot be reached |
//! | 70 | a bug, ours or the client library's |
//! | 74 | reading or writing a file or a pipe failed |
//! | 75 | what was waited for did not happen in time; it still may; or a redrive was stopped before its end |
//! | 77 | credentials or rights are refused |
//! | 78 | the configuration is wrong |

use std::fmt;
use std::process::ExitCode;

use crate::bus::Fatal;
use crate::config::ConfigError;
use crate::model::gate::Refusal;

#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The data is bad.
    pub fn data(message: impl Into<String>) -> Self {
        Self { code: 65, message: message.into() }
    }

    /// The answer is no, and stdout has said why.
    pub fn no() -> Self {
        Self { code: 1, message: String::new() }
    }

    /// What was waited for did not happen in time.
    pub fn late(message: impl Into<String>) -> Self {
        Self { code: 75, message: message.into() }
    }

    /// The command line cannot be understood.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 64, message: message.into() }
    }

    /// What it was told is wrong.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self { code: 78, message: message.into() }
    }

    /// Tells the message on stderr and gives the exit code.
    pub fn tell(&self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("error: {}", self.message);
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Fatal> for Failure {
    fn from(fatal: Fatal) -> Self {
        let code = match fatal {
            Fatal::Data(_) => 65,
            Fatal::Unavailable(_) => 69,
            Fatal::Bug(_) => 70,
            Fatal::NotPermitted(_) => 77,
            Fatal::Configuration(_) => 78,
        };
        Self { code, message: fatal.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { code: 78, message: error.to_string() }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::data(refusal.to_string())
    }
}

/// Reading stdin or writing a file.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { code: 74, message: error.to_string() }
    }
}
