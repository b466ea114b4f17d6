//! `foretell init`: creates the topics.

use clap::Args;

use super::Configured;
use super::failure::Failure;
use crate::bus::admin::{self, Created};

/// Create the topics with the settings they need
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    configured: Configured,
    /// Partitions of the events, predictions and dead-letters topics
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Copies of each partition; 0: as the brokers' default says
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=100))]
    replication: i32,
}

impl Init {
    pub fn run(&self) -> Result<(), Failure> {
        let config = self.configured.load()?;
        let topics = &config.topics;
        let made = admin::create_topics(&config.kafka, topics, self.partitions, self.replication)?;
        for (name, created) in made {
            let what = match created {
                Created::New => "created",
                Created::WasThere => "was there, left as it is",
            };
            eprintln!("{name}: {what}");
        }
        Ok(())
    }
}
