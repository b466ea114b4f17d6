//! The report: all that an instance tells of itself at one moment. It is the record of the
//! reports topic, the answer of `/status`, and what gauges and the page are made of.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::drift::DriftReport;
use super::health::Waiting;
use super::rates::Rates;
use crate::compare::Comparison;
use crate::control::registry::Configured;
use crate::model::gate::Check;
use crate::reject::Reason;
use crate::worker::{Example, Held};

/// Keyed by `instance` on the reports topic, so that compaction keeps each one's last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    pub instance: String,
    pub host: String,
    /// When this was so.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    #[schemars(extend("format" = "date-time"))]
    pub started: String,
    /// The model whose announcements are followed.
    pub model: String,
    /// The version that its configuration names, which serves until something is announced.
    #[serde(default)]
    pub configured: Option<Configured>,
    /// `null`: no version serves yet.
    pub served: Option<Serves>,
    /// Versions that have passed the gate here and wait for `promote`.
    pub candidates: Vec<String>,
    /// The candidate that scores beside what serves, and how the two have compared so far.
    #[serde(default)]
    pub shadow: Option<ShadowReport>,
    /// How events and predictions are distributed, beside training; `null`: the bundle of what serves does
    /// not say how they were.
    #[serde(default)]
    pub drift: Option<DriftReport>,
    /// The last version that went through the gate.
    #[serde(default)]
    pub last_gate: Option<LastGate>,
    pub last_refusal: Option<LastRefusal>,
    pub last_skipped: Option<LastSkipped>,
    /// Offset of the last record that was read from the control topic.
    pub control_offset: Option<i64>,
    pub ready: bool,
    /// What holds the instance back from being ready.
    pub waits_for: Vec<Waiting>,
    /// Per second, since the report before this one.
    pub rates: Rates,
    /// Since `started`.
    pub totals: Totals,
    pub workers: Vec<WorkerReport>,
    pub partitions: Vec<PartitionReport>,
    /// Partitions that stand still although events wait in them.
    #[serde(default)]
    pub stalled: Vec<i32>,
}

/// The version that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Serves {
    pub version: String,
    /// `sha256:…` of the bundle's manifest.
    pub digest: String,
    /// Offset of the control message that chose it; `null`: the configuration did.
    pub control_offset: Option<i64>,
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
}

/// A candidate that scores beside what serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShadowReport {
    pub version: String,
    /// Offset of its announcement.
    pub control_offset: i64,
    pub agreement: Agreement,
}

/// How a version compares with the one that serves, on the same events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agreement {
    /// Events that both scored.
    pub rows: u64,
    /// Of those, with another class.
    pub flips: u64,
    /// Events that only the version that serves scored.
    pub lost: u64,
    /// Events that only the other one scored.
    pub gained: u64,
    /// Of the outputs of `rows`: absolute up to 1, relative to what serves above.
    pub difference: Quantiles,
    /// What an event costs, in what it costs the version that serves; `null`: not measured.
    pub cost_ratio: Option<f64>,
}

/// To two digits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl From<&Comparison> for Agreement {
    fn from(comparison: &Comparison) -> Self {
        let Comparison { rows, flips, lost, gained, .. } = *comparison;
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|q| comparison.difference(q));
        let difference = Quantiles { p50, p90, p99, max };
        Self { rows, flips, lost, gained, difference, cost_ratio: comparison.cost_ratio() }
    }
}

/// A version's way through the gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LastGate {
    pub version: String,
    pub passed: bool,
    /// In the order in which they were made; a version that did not pass has failed the last one or
    /// was refused by it under the name that `last_refusal` gives.
    pub checks: Vec<CheckReport>,
    /// On this instance's recent events; `null`: there were none, or it did not come so far.
    pub agreement: Option<Agreement>,
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
}

/// A check, and what it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckReport {
    pub check: Check,
    pub seconds: f64,
}

/// The last version that was wanted and may not serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastRefusal {
    pub version: String,
    /// What it failed.
    pub check: Check,
    pub message: String,
    /// Its store did not answer: the instance tries again by itself.
    #[serde(default)]
    pub is_transient: bool,
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
}

/// The last record of the control topic that was passed over: it cannot be understood, or it
/// contradicts those before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastSkipped {
    pub control_offset: i64,
    pub why: String,
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
}

/// What became of the events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    pub events: u64,
    pub predictions: u64,
    pub tombstones: u64,
    /// By reason; a reason that never occurred is absent.
    pub dead_letters: BTreeMap<Reason, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerReport {
    pub worker: usize,
    /// It is a member of the group.
    pub joined: bool,
    pub partitions: usize,
    pub events: u64,
    pub rebalances: u64,
    /// It holds a batch back, because too many of its events would become dead letters.
    #[serde(default)]
    pub held: Option<HeldReport>,
}

/// Why a worker holds a batch back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldReport {
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
    /// The version that refuses the events.
    pub version: String,
    /// The last events.
    pub events: u64,
    /// How many of them would become dead letters, by reason.
    pub dead_letters: BTreeMap<Reason, u64>,
    /// An event that would.
    pub example: Option<ExampleReport>,
}

/// An event that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExampleReport {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// What is wrong with it.
    pub message: String,
}

impl HeldReport {
    pub fn new(since: &str, held: &Held) -> Self {
        let Held { version, window, example } = held.clone();
        let example = example.map(|Example { topic, partition, offset, message }| ExampleReport {
            topic,
            partition,
            offset,
            message,
        });
        Self {
            since: since.into(),
            version,
            events: window.events,
            dead_letters: window.reasons().into_iter().collect(),
            example,
        }
    }
}

/// Where an assigned partition of the events topic stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionReport {
    pub partition: i32,
    /// Offset of the next event that is not dealt with.
    pub next_offset: i64,
    /// Events from there to the end of the partition.
    pub lag: u64,
}

impl Totals {
    /// Events that became dead letters, of any reason.
    pub fn rejected(&self) -> u64 {
        self.dead_letters.values().sum()
    }
}

/// A moment as reports spell it: RFC 3339, in UTC, to the millisecond.
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::samples;

    #[test]
    fn a_moment_is_spelled_to_the_millisecond() {
        assert_eq!(rfc3339(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_report_is_as_its_schema_says_and_reads_back() {
        let schema = serde_json::to_value(schemars::schema_for!(Report)).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for status in [samples::starting(), samples::serving()] {
            let report = status.report(Timestamp::now());
            let value = serde_json::to_value(&report).unwrap();
            let faults: Vec<_> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
            assert!(faults.is_empty(), "{faults:?}\n{value:#}");
            assert_eq!(serde_json::from_value::<Report>(value).unwrap(), report);
        }
    }

    #[test]
    fn reasons_are_spelled_as_headers_spell_them() {
        let totals =
            Totals { dead_letters: BTreeMap::from([(Reason::NotUtf8, 2)]), ..Totals::default() };
        assert_eq!(serde_json::to_value(totals).unwrap()["dead_letters"], json!({"not_utf8": 2}));
    }
}
