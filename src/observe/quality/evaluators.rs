//! The evaluators of one model by their last reports, as `foretell status --quality` shows them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::QualityReport;
use crate::observe::fleet::silent_after;

#[derive(Debug)]
pub struct Evaluators {
    model: String,
    silent_after: SignedDuration,
    reports: BTreeMap<String, (Timestamp, QualityReport)>,
}

impl Evaluators {
    /// Of none yet, which are expected to report every `interval_ms`.
    pub fn new(model: &str, interval_ms: u64) -> Self {
        let silent_after = silent_after(interval_ms);
        Self { model: model.into(), silent_after, reports: BTreeMap::new() }
    }

    /// Takes in a record of the reports topic; without a value, the evaluator has ended. Those of instances are
    /// passed over.
    pub fn take(&mut self, evaluator: &str, value: Option<&[u8]>) {
        self.reports.remove(evaluator);
        let report = value.and_then(|value| serde_json::from_slice::<QualityReport>(value).ok());
        let report = report.filter(|report| report.model == self.model);
        if let Some((at, report)) = report.and_then(|it| Some((it.at.parse().ok()?, it))) {
            self.reports.insert(evaluator.into(), (at, report));
        }
    }

    /// Those that are there. One that was killed is for as long as an instance would be.
    pub fn living(&self, now: Timestamp) -> impl Iterator<Item = &QualityReport> {
        let alive = move |at: Timestamp| now.duration_since(at) <= self.silent_after;
        self.reports.values().filter(move |(at, _)| alive(*at)).map(|(_, report)| report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::quality::board::samples;

    #[test]
    fn evaluators_count_while_they_report() {
        let mut evaluators = Evaluators::new("late-arrival", 5_000);
        let report = samples::report();
        let at: Timestamp = report.at.parse().unwrap();
        let value = serde_json::to_vec(&report).unwrap();
        let other = QualityReport { model: "other".into(), ..samples::report() };
        evaluators.take("one", Some(&value));
        evaluators.take("two", Some(&value));
        evaluators.take("three", Some(&serde_json::to_vec(&other).unwrap()));
        evaluators.take("four", Some(b"{\"instance\":\"four\"}"));
        let living = |evaluators: &Evaluators, after_s: i64| {
            evaluators.living(at + SignedDuration::from_secs(after_s)).count()
        };
        assert_eq!((living(&evaluators, 25), living(&evaluators, 26)), (2, 0));
        evaluators.take("two", None);
        assert_eq!(living(&evaluators, 1), 1);
    }
}
