//! What a loader is set up with.

use std::sync::Arc;

use crate::config::{Drift, Gate, Probation};
use crate::model::gate::Settings;
use crate::model::traffic::Bounds;
use crate::model::version::Version;
use crate::stop::Stop;

#[derive(Debug, Clone)]
pub struct Setup {
    pub model: String,
    /// The bundle that serves before anything is announced, loaded.
    pub configured: Option<Arc<Version>>,
    pub settings: Settings,
    pub gate: Gate,
    pub probation: Probation,
    pub drift: Drift,
    /// What the model files of versions that served before may come to, in bytes.
    pub kept_bytes_max: u64,
    pub stop: Stop,
}

impl Setup {
    pub(super) fn bounds(&self) -> Bounds {
        let Gate { lost_max, flips_max, cost_ratio_max, .. } = self.gate;
        Bounds { lost_max, non_finite_max: 0.0, flips_max, cost_ratio_max }
    }
}
