//! What an evaluator tells of itself: its report, on the reports topic and at `/status`, and what gauges are made of.

pub mod board;
pub mod evaluators;
pub mod http;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quality::measure::Quality;
use crate::quality::window::Held;

/// Keyed by `evaluator` on the reports topic. That it has a `kind` tells it from the report of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QualityReport {
    pub kind: Kind,
    pub evaluator: String,
    pub host: String,
    /// When this was so.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    #[schemars(extend("format" = "date-time"))]
    pub started: String,
    pub model: String,
    /// Evaluators of the same group share the partitions.
    pub group: String,
    /// All partitions have been read from where the window begins to their end.
    pub ready: bool,
    /// For people: what is missing to that.
    pub waits_for: Vec<String>,
    /// Those that this evaluator has: what it says is of their events alone.
    pub partitions: Vec<i32>,
    pub window_minutes: u32,
    pub held: HeldReport,
    /// Of each version that has labelled events in the window.
    pub versions: Vec<Quality>,
    /// The version that shall serve by the control topic; `null`: unknown, or nothing is decided here.
    pub served: Option<String>,
    /// The bounds that it breaks, in words.
    pub fault: Option<String>,
    /// The last message that this evaluator published by itself.
    pub asked: Option<Asked>,
}

/// Tells the report of an evaluator from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Quality,
}

/// Events in the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldReport {
    /// Predictions with their label.
    pub pairs: u64,
    /// Predictions without.
    pub predictions: u64,
    /// Labels without their prediction.
    pub labels: u64,
}

impl From<Held> for HeldReport {
    fn from(Held { pairs, predictions, labels }: Held) -> Self {
        Self { pairs, predictions, labels }
    }
}

/// A control message that an evaluator published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// Its `type`.
    pub what: String,
    pub reason: String,
    /// Where it stands, if the broker told.
    pub control_offset: Option<i64>,
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
}
