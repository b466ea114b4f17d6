//! The integration tests, one binary.

mod allocation;
mod cli;
#[cfg(feature = "train")]
mod demo;
mod docs;
mod kafka;
mod linked;
#[cfg(feature = "http")]
mod loader;
mod models;
#[cfg(feature = "onnx")]
mod onnx;
mod program;
mod schemas;
mod simulation;
mod store;
mod tidy;
#[cfg(feature = "train")]
mod training;
