//! `foretell resume`: tells workers that hold events back to go on.

use clap::Args;

use super::Configured;
use super::announce::say_aloud;
use super::failure::Failure;
use crate::control::message::Message;

/// Let workers that hold events back write them to the dead letters, and go on
#[derive(Debug, Args)]
pub struct Resume {
    #[command(flatten)]
    configured: Configured,
    /// For those who read the log later
    #[arg(long)]
    reason: Option<String>,
}

impl Resume {
    pub fn run(&self) -> Result<(), Failure> {
        let config = self.configured.load()?;
        let model = config.model.name.clone();
        let message = Message::Resume { model, reason: self.reason.clone() };
        say_aloud(&config, &message).map(|_| ())
    }
}
