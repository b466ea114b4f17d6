//! Against a real Kafka: the built program, killed, frozen, joined, rolled back, and a reader of
//! the topics that counts.
//!
//! Each test makes a [`Deployment`](deployment::Deployment): topics, group and configuration of its
//! own on one broker that all share. It starts [`Instance`](instance::Instance)s of the program,
//! publishes events with a [`Feeder`](feeder::Feeder), does harm, and has a
//! [`Probe`](probe::Probe) compare the events with what became of them. The
//! [model](model) is so small that the test knows what each version says of each event.
//!
//! `FORETELL_TEST_BOOTSTRAP=host:port` takes another broker; what stops or kills one starts its own.

mod broker;
mod deployment;
mod eventually;
mod feeder;
mod instance;
mod letters;
pub mod model;
mod probe;
mod reports;
mod scratch;
mod topics;
mod transaction;

mod chaos;
mod control;
mod dead_letters;
mod drift;
mod evaluate;
mod exactly_once;
mod fleet;
mod http;
mod lifecycle;
mod outage;
mod passing_on;
mod poison;
mod positions;
#[cfg(feature = "train")]
mod python;
mod rebalance;
mod redrive;
#[cfg(feature = "http")]
mod remote;
mod replay;
#[cfg(feature = "train")]
mod retrain;
mod security;
mod shutdown;
mod soak;
mod startup;
mod stuck;
mod swap;
mod trouble;
