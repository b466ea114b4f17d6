//! The fleet: the instances of one model by their last reports, and whether all of them do what the
//! control log wants.
//!
//! Pure: reports and the time come from outside. An instance that stops says so in its last report;
//! one that was killed says nothing more, so that a report counts for a while only.

mod drift;
mod verdict;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::health::Latch;
use super::reports::{LastRefusal, Report};
use crate::control::registry::Configured;
pub use drift::FleetDrift;
pub use verdict::{Behind, Lack, Verdict};

/// An instance that misses so many reports in a row is silent.
const REPORTS_MISSED: u64 = 5;
/// No instance is taken for silent sooner: a machine under load, clocks that differ.
const SILENT_AFTER_MIN: SignedDuration = SignedDuration::from_secs(15);
/// A silent instance is named for so long. The topic keeps its last report for ever.
const NAMED_FOR: SignedDuration = SignedDuration::from_hours(1);

/// What every instance shall come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    pub version: String,
    pub stage: Stage,
    /// Offset of the control message that says so; `None`: the configuration does.
    pub control_offset: Option<i64>,
    /// Up to where an instance must have read the control log before it counts.
    pub read_to: Option<i64>,
}

/// How far a version shall have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Serves,
    /// It is known and waits for `promote`.
    Waits,
}

/// The last report of each instance, of all models.
#[derive(Debug)]
pub struct Fleet {
    model: String,
    silent_after: SignedDuration,
    reports: BTreeMap<String, (Timestamp, Report)>,
    unread: BTreeMap<String, Unread>,
}

/// A report that this program cannot read, perhaps a later one's.
#[derive(Debug)]
struct Unread {
    at: Option<Timestamp>,
    why: String,
}

enum Life {
    Living,
    Leaving,
    Silent(i64),
    Gone,
}

impl Fleet {
    /// Of no instances yet, which are expected to report every `interval_ms`.
    pub fn new(model: &str, interval_ms: u64) -> Self {
        Self {
            model: model.into(),
            silent_after: silent_after(interval_ms),
            reports: BTreeMap::new(),
            unread: BTreeMap::new(),
        }
    }

    /// Takes in a record of the reports topic; without a value, the instance is forgotten. What others than
    /// instances report there says which `kind` it is of.
    pub fn take(&mut self, instance: &str, value: Option<&[u8]>) {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(rename = "kind")]
            _kind: String,
        }
        if value.is_some_and(|value| serde_json::from_slice::<Kind>(value).is_ok()) {
            return;
        }
        self.reports.remove(instance);
        self.unread.remove(instance);
        match value.map(read) {
            None => {}
            Some(Ok(report)) => {
                self.reports.insert(instance.into(), report);
            }
            Some(Err(unread)) => {
                self.unread.insert(instance.into(), unread);
            }
        }
    }

    /// The version that the configuration of an instance names, if one does.
    pub fn configured(&self) -> Option<Configured> {
        self.ours().find_map(|(_, report)| report.configured.clone())
    }

    /// The last refusal of each instance.
    pub fn refusals(&self) -> BTreeMap<String, LastRefusal> {
        let refusal = |(_, report): &(Timestamp, Report)| {
            Some((report.instance.clone(), report.last_refusal.clone()?))
        };
        self.ours().filter_map(refusal).collect()
    }

    /// Compares the living instances with what is wanted.
    pub fn verdict<'a>(&'a self, goal: Option<&'a Goal>, now: Timestamp) -> Verdict<'a> {
        let alive = |at: Timestamp| now.duration_since(at) <= self.silent_after;
        let others = self.reports.values().filter(|(_, report)| report.model != self.model);
        let others = others.filter(|(at, _)| alive(*at)).count();
        let unread = self.unread.iter().filter(|(_, unread)| unread.at.is_none_or(alive));
        let unread = unread.map(|(instance, unread)| (instance.as_str(), unread.why.as_str()));
        let mut verdict = Verdict {
            model: &self.model,
            goal,
            living: Vec::new(),
            behind: Vec::new(),
            leaving: Vec::new(),
            silent: Vec::new(),
            unread: unread.collect(),
            others,
        };
        for (at, report) in self.ours() {
            match self.life(*at, report, now) {
                Life::Living => {
                    verdict.living.push(report);
                    let lack = verdict::lack(report, goal);
                    verdict.behind.extend(lack.map(|lack| Behind { report, lack }));
                }
                Life::Leaving => verdict.leaving.push(report),
                Life::Silent(seconds) => verdict.silent.push((report, seconds)),
                Life::Gone => {}
            }
        }
        verdict
    }

    fn ours(&self) -> impl Iterator<Item = &(Timestamp, Report)> {
        self.reports.values().filter(|(_, report)| report.model == self.model)
    }

    fn life(&self, at: Timestamp, report: &Report, now: Timestamp) -> Life {
        let age = now.duration_since(at);
        let stops = report.waits_for.iter().any(|waiting| waiting.latch == Latch::NotStopping);
        match (stops, age > self.silent_after) {
            (false, false) => Life::Living,
            (true, false) => Life::Leaving,
            (false, true) if age <= NAMED_FOR.max(self.silent_after * 2) => {
                Life::Silent(age.as_secs())
            }
            (_, true) => Life::Gone,
        }
    }
}

/// Who reports every `interval_ms` is silent after so long.
pub fn silent_after(interval_ms: u64) -> SignedDuration {
    let missed = interval_ms.saturating_mul(REPORTS_MISSED);
    let missed = SignedDuration::from_millis(i64::try_from(missed).unwrap_or(i64::MAX));
    missed.max(SILENT_AFTER_MIN)
}

fn read(value: &[u8]) -> Result<(Timestamp, Report), Unread> {
    let report: Report = serde_json::from_slice(value).map_err(|error| {
        // When it is from may be readable even so: the old one of a program long gone is no news.
        let value: Option<Value> = serde_json::from_slice(value).ok();
        let at = value.and_then(|value| value["at"].as_str()?.parse().ok());
        Unread { at, why: error.to_string() }
    })?;
    match report.at.parse() {
        Ok(at) => Ok((at, report)),
        Err(error) => Err(Unread { at: None, why: format!("`at` is no time: {error}") }),
    }
}

#[cfg(test)]
mod tests;
