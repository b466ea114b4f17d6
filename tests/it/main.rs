//! The integration tests, one binary.

mod allocation;
mod cli;
mod docs;
mod schemas;
mod tidy;
