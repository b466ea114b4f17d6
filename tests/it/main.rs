//! The integration tests, one binary.

mod allocation;
mod kafka;
mod schemas;
mod tidy;
