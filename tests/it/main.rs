//! The integration tests, one binary.

mod allocation;
mod cli;
mod docs;
mod kafka;
mod schemas;
mod simulation;
mod tidy;
