//! One version of a model, loaded: all that scoring needs, immutable and shared by all threads.

use super::Model;
use super::manifest::Task;
use crate::features::decode::Decoder;

#[derive(Debug)]
pub struct Version {
    /// The model's name.
    pub model: String,
    pub version: String,
    /// `sha256:…` of the bundle's manifest.
    pub digest: String,
    pub task: Task,
    pub engine: Model,
    /// The contract, compiled. Its columns are the engine's.
    pub decoder: Decoder,
}
