//! What a report tells of drift: how features and predictions are distributed in the last whole window of this
//! instance, beside how they were in training.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reports::rfc3339;
use crate::drift::{Column, Drift, What};
use crate::model::psi::psi;

/// Of the version that serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DriftReport {
    /// Events since the last whole window, or since the version began to serve.
    pub events: u64,
    /// `null`: there is none yet.
    pub window: Option<WindowReport>,
}

/// So many settled events, one after the other, on one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WindowReport {
    pub events: u64,
    /// When its first batch was settled.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
    /// When its last batch was settled.
    #[schemars(extend("format" = "date-time"))]
    pub until: String,
    /// Those features that the version's bundle has a reference of.
    pub features: Vec<Shift>,
    /// The model's outputs.
    pub outputs: Vec<Shift>,
}

/// How a feature or an output is distributed, in training and now. Counts of several instances can be added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shift {
    /// The feature's name; of an output the class' label, or what it is.
    pub name: String,
    /// The population stability index, to four digits after the point: 0 is equal, above 0.25 is much.
    pub psi: f64,
    /// A part of a time, which moves by itself, or in `drift.ignore`: no reason to train.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_expected: bool,
    pub training: Tally,
    pub window: Tally,
}

/// How many events fell into which bin of the bundle's reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    pub counts: Vec<u64>,
    /// Without a value.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// Of a category that is not in the vocabulary.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl DriftReport {
    pub fn of(drift: &Drift) -> Self {
        let window = drift.window().map(|window| {
            let of = |is_output: bool| {
                let columns = drift.columns(&window);
                columns.filter(|it| (it.what == What::Output) == is_output).map(Shift::of).collect()
            };
            let moment = |at: Timestamp| rfc3339(at);
            WindowReport {
                events: window.events,
                since: moment(window.since),
                until: moment(window.until),
                features: of(false),
                outputs: of(true),
            }
        });
        Self { events: drift.events(), window }
    }
}

impl Shift {
    fn of(column: Column<'_>) -> Self {
        let (training, window) = (Tally::of(&column.reference.cells()), Tally::of(column.cells));
        let is_expected = column.what == What::Expected;
        Self::new(column.reference.name.clone(), is_expected, training, window)
    }

    fn new(name: String, is_expected: bool, training: Tally, window: Tally) -> Self {
        let psi = psi(&training.cells(), &window.cells());
        Self { name, psi: (psi * 1e4).round() / 1e4, is_expected, training, window }
    }

    /// With what another instance has seen of the same feature; `None`: it is not the same.
    pub fn with(&self, other: &Self) -> Option<Self> {
        if self.name != other.name || self.training != other.training {
            return None;
        }
        let window = self.window.with(&other.window)?;
        Some(Self::new(self.name.clone(), self.is_expected, self.training.clone(), window))
    }
}

impl Tally {
    /// As [`crate::model::reference::Histogram::cells`] has them.
    fn of(cells: &[u64]) -> Self {
        let (counts, others) = cells.split_at(cells.len() - 2);
        Self { counts: counts.into(), missing: others[0], unknown: others[1] }
    }

    fn cells(&self) -> Vec<u64> {
        [self.counts.as_slice(), &[self.missing, self.unknown]].concat()
    }

    fn with(&self, other: &Self) -> Option<Self> {
        let (one, other) = (self.cells(), other.cells());
        let sums = one.iter().zip(&other).map(|(one, other)| one.saturating_add(*other));
        (one.len() == other.len()).then(|| Self::of(&sums.collect::<Vec<_>>()))
    }

    fn share(&self, of: u64) -> f64 {
        let all = self.cells().iter().fold(0.0, |sum, count| sum + *count as f64);
        if all > 0.0 { of as f64 / all } else { 0.0 }
    }

    /// Share of the events without a value, 0 to 1.
    pub fn missing_ratio(&self) -> f64 {
        self.share(self.missing)
    }

    /// Share of the events with a category that is not in the vocabulary, 0 to 1.
    pub fn unknown_ratio(&self) -> f64 {
        self.share(self.unknown)
    }
}
