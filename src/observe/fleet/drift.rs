//! The drift of a whole fleet: the windows of all instances that serve one version, added up.

use serde_json::{Value, json};

use super::Verdict;
use crate::observe::drift::{DriftReport, Shift, Tally, WindowReport};
use crate::observe::reports::Report;

/// What the instances of a version have seen in their last whole windows.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetDrift {
    pub version: String,
    /// Instances whose windows these are.
    pub instances: usize,
    /// Living instances that serve it and are not among them: they have no whole window yet.
    pub without: usize,
    pub events: u64,
    /// Events since those windows.
    pub since: u64,
    /// By how far they are from training, farthest first.
    pub features: Vec<Shift>,
    pub outputs: Vec<Shift>,
}

impl Verdict<'_> {
    /// The drift of the version that shall serve; `None`: there is none, or no instance that serves it knows how
    /// its training data was distributed.
    pub fn drift(&self) -> Option<FleetDrift> {
        let goal = self.goal?;
        let serves = |report: &&&Report| {
            report.served.as_ref().is_some_and(|serves| serves.version == goal.version)
        };
        let drifts = self.living.iter().filter(serves).filter_map(|report| report.drift.as_ref());
        let mut drifts = drifts.peekable();
        drifts.peek()?;
        let mut fleet = FleetDrift {
            version: goal.version.clone(),
            instances: 0,
            without: 0,
            events: 0,
            since: 0,
            features: Vec::new(),
            outputs: Vec::new(),
        };
        drifts.for_each(|drift| fleet.add(drift));
        let far = |one: &Shift, other: &Shift| other.psi.total_cmp(&one.psi);
        fleet.features.sort_by(far);
        Some(fleet)
    }
}

impl FleetDrift {
    /// One that is not of the same bundle, whatever it calls itself, counts as one without a window.
    fn add(&mut self, DriftReport { events, window }: &DriftReport) {
        self.since += events;
        let added = window.as_ref().and_then(|window| self.with(window));
        let (Some((features, outputs)), Some(window)) = (added, window) else {
            self.without += 1;
            return;
        };
        (self.features, self.outputs) = (features, outputs);
        self.instances += 1;
        self.events += window.events;
    }

    fn with(&self, window: &WindowReport) -> Option<(Vec<Shift>, Vec<Shift>)> {
        let WindowReport { features, outputs, .. } = window;
        if self.instances == 0 {
            return Some((features.clone(), outputs.clone()));
        }
        Some((sums(&self.features, features)?, sums(&self.outputs, outputs)?))
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let shift = |shift: &Shift| {
            let Shift { name, psi, is_expected, training, window } = shift;
            let tally = |tally: &Tally| {
                json!({
                    "counts": tally.counts, "missing": tally.missing, "unknown": tally.unknown,
                    "missing_ratio": tally.missing_ratio(), "unknown_ratio": tally.unknown_ratio(),
                })
            };
            let (training, window) = (tally(training), tally(window));
            json!({"name": name, "psi": psi, "is_expected": is_expected, "training": training, "window": window})
        };
        json!({
            "version": self.version,
            "instances": self.instances,
            "without": self.without,
            "events": self.events,
            "since": self.since,
            "features": self.features.iter().map(shift).collect::<Vec<_>>(),
            "outputs": self.outputs.iter().map(shift).collect::<Vec<_>>(),
        })
    }
}

/// Both, column by column.
fn sums(ones: &[Shift], others: &[Shift]) -> Option<Vec<Shift>> {
    let sums = ones.iter().zip(others).map(|(one, other)| one.with(other));
    if ones.len() == others.len() { sums.collect() } else { None }
}
