//! The integration tests, one binary.

mod allocation;
mod schemas;
mod tidy;
