//! The integration tests, one binary.

mod allocation;
mod schemas;
mod simulation;
mod tidy;
