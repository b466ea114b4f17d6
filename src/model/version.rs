//! One version of a model, loaded: all that scoring needs, immutable and shared by all threads.

use std::fmt;

use super::Model;
use super::manifest::Task;
use crate::features::decode::Decoder;

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

/// The names alone: the rest is megabytes.
impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, version, digest, .. } = self;
        write!(f, "{model} version {version} ({digest})")
    }
}
