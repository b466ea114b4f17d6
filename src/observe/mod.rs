//! What an instance tells of itself: to Prometheus, to probes, to people and on the reports topic.
//!
//! Threads tell [`status::Status`] each fact once; every face reads it from there:
//!
//! ```text
//!  worker ──turned──▶ ┌────────┐ ──counters, histograms──▶ metrics ─▶ /metrics
//!  loader ──swapped─▶ │ Status │ ──report──▶ Report ─▶ gauges of /metrics · /status · / · reports topic
//!         ──refused─▶ └────────┘ ──latches, pulses──▶ health ─▶ /readyz /livez
//! ```
//!
//! [`fleet`] is the other end of the reports topic: it makes one verdict of all reports. [`quality`] is what an
//! evaluator tells of itself, by the same ways.
//!
//! **Invariant**: nothing here is waited for. A fact costs its thread a lock held for microseconds,
//! once a batch, and no face can hold up a worker.

mod door;
pub mod drift;
mod facts;
pub mod fleet;
pub mod health;
pub mod http;
pub mod inference;
pub mod metrics;
pub mod predict;
pub mod quality;
pub mod rates;
pub mod reports;
pub mod retrain;
pub mod status;
pub mod table;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
