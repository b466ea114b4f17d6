//! One version of a model, loaded: all that scoring needs, immutable and shared by all threads.

use std::fmt;

use super::Model;
use super::manifest::Task;
use super::reference::Reference;
use crate::features::contract::Feature;
use crate::features::decode::Decoder;

pub struct Version {
    /// The model's name.
    pub model: String,
    pub version: String,
    /// `sha256:…` of the bundle's manifest.
    pub digest: String,
    pub task: Task,
    pub engine: Model,
    /// Which fields are the engine's columns.
    pub contract: Vec<Feature>,
    /// The contract, compiled.
    pub decoder: Decoder,
    /// What its training rows were like, if its bundle says.
    pub reference: Option<Reference>,
    /// Length of the model file: what keeping a version in memory is taken to cost.
    pub bytes: u64,
}

impl Version {
    /// Would both make the same matrix of any event?
    pub fn reads_like(&self, other: &Self) -> bool {
        self.contract == other.contract
    }
}

/// The names alone: the rest is megabytes.
impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, version, digest, .. } = self;
        write!(f, "{model} version {version} ({digest})")
    }
}
