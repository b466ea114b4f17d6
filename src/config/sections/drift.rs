//! `[drift]`: how far the stream may move from the training.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::RatioMax;

/// How the stream is compared with what a version was trained on, if its bundle says what that was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Drift {
    /// So many events of an instance are compared at a time.
    #[schemars(range(min = 1_000, max = 1_000_000_000))]
    pub window_rows: u64,
    /// An instance asks for a training when a feature or the prediction has a larger PSI in a window, 0
    /// to 1. `off`: never.
    pub psi_max: RatioMax,
    /// Features that are expected to move: they are told like all others, and are no reason to ask.
    pub ignore: Vec<String>,
    /// Not within so long after a training was asked for or a version announced, in minutes.
    #[schemars(range(min = 0, max = 525_600))]
    pub interval_minutes: u64,
}

impl Default for Drift {
    fn default() -> Self {
        Self {
            window_rows: 10_000,
            psi_max: RatioMax::Off,
            ignore: Vec::new(),
            interval_minutes: 60,
        }
    }
}
