//! `foretell resume`: tells workers that hold events back to go on.

use clap::Args;

use super::Configured;
use super::announce::say;
use super::failure::Failure;
use crate::bus::publish::Publisher;
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
        let (value, offset) = say(&Publisher::new(&config.kafka)?, &config, &message)?;
        println!("{value}");
        if let Some(offset) = offset {
            eprintln!("said at offset {offset} of `{}`", config.topics.control);
        }
        Ok(())
    }
}
