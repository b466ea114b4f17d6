//! `foretell` turns a Kafka topic of JSON events into a Kafka topic of predictions.

pub mod config;
pub mod features;
pub mod model;
pub mod record;
pub mod reject;
