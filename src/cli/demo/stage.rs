//! Where the tour takes place: a Kafka, topics, and instances of foretell on them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::settings::Settings;
use crate::cli::failure::Failure;
use crate::config::Config;

pub trait Stage {
    /// What the instances were started with.
    fn config(&self) -> &Config;

    /// The same, as it can be handed on.
    fn settings(&self) -> &Settings;

    /// The topic on which it is told which flights arrived late.
    fn arrivals(&self) -> &str;

    /// Where the instances serve HTTP.
    fn addresses(&self) -> Vec<SocketAddr>;

    /// What a person should know of it: title and text.
    fn introduction(&self) -> Vec<(&'static str, String)>;

    /// Do all instances have their partitions?
    fn is_ready(&mut self) -> Result<bool, Failure>;

    /// Fails if an instance has ended that should not have.
    fn check(&mut self) -> Result<(), Failure>;

    /// Kills an instance without warning, where there is one to spare.
    fn strike(&mut self) -> Result<Option<Strike>, Failure>;

    /// Lets the instances finish what they have in hand.
    fn stop(&mut self) -> Result<(), Failure>;
}

/// An instance was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    pub instance: &'static str,
    pub process: u32,
    /// The partitions that the group had given to it.
    pub partitions: Vec<i32>,
}

/// An address of this machine that nobody listens on, as far as one can know beforehand.
pub fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
