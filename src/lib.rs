//! `foretell` turns a Kafka topic of JSON events into a Kafka topic of predictions.
#![deny(unsafe_code)]

pub mod app;
pub mod batch;
pub mod bus;
pub mod cli;
pub mod config;
pub mod control;
pub mod encode;
pub mod features;
pub mod model;
pub mod observe;
pub mod outbox;
pub mod record;
pub mod reject;
pub mod score;
pub mod serving;
pub mod stop;
pub mod worker;
