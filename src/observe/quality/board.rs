//! Where an evaluator's thread writes down what it knows, and its faces read it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use metrics::Recorder as _;
use metrics_exporter_prometheus::PrometheusRecorder;

use super::{HeldReport, QualityReport};
use crate::bus::joint::Side;
use crate::heart::Heart;
use crate::observe::health::{Pulse, WORKER_STUCK_AFTER};
use crate::observe::metrics::{METADATA, key, recorder};
use crate::observe::table::{self, Metric};
use crate::quality::window::Dropped;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    Unusable,
    OtherModel,
    Tombstone,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Taken, Self::Unusable, Self::OtherModel, Self::Tombstone];

    fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Unusable => "unusable",
            Self::OtherModel => "other_model",
            Self::Tombstone => "tombstone",
        }
    }
}

/// Cloning shares.
#[derive(Debug, Clone)]
pub struct Board(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    counters: PrometheusRecorder,
    pulse: Pulse,
    report: Mutex<QualityReport>,
}

impl Board {
    /// Shows `report` until there is another one.
    pub fn new(report: QualityReport) -> Self {
        let counters = recorder(&[table::EVALUATOR, &[table::ASKS]]);
        let pulse = Pulse::new("the evaluator", WORKER_STUCK_AFTER);
        let board = Self(Arc::new(Shared { counters, pulse, report: Mutex::new(report) }));
        for side in Side::ALL {
            Outcome::ALL.into_iter().for_each(|outcome| board.read(side, outcome, 0));
            board.count(&table::EVALUATE_EXPIRED, &[side.as_str()], 0);
        }
        board.count(&table::EVALUATE_EVICTED, &[], 0);
        for kind in ["retrain-request", "rollback"] {
            board.count(&table::ASKS, &[kind], 0);
        }
        board
    }

    /// Beaten by the evaluator's thread in each of its turns.
    pub fn heart(&self) -> Heart {
        self.0.pulse.heart.clone()
    }

    pub fn read(&self, side: Side, outcome: Outcome, records: u64) {
        self.count(&table::EVALUATE_RECORDS, &[side.as_str(), outcome.as_str()], records);
    }

    pub fn dropped(&self, dropped: Dropped) {
        let Dropped { predictions, labels, evicted } = dropped;
        self.count(&table::EVALUATE_EXPIRED, &[Side::Prediction.as_str()], predictions);
        self.count(&table::EVALUATE_EXPIRED, &[Side::Label.as_str()], labels);
        self.count(&table::EVALUATE_EVICTED, &[], evicted);
    }

    /// A control message was published.
    pub fn asked(&self, kind: &'static str) {
        self.count(&table::ASKS, &[kind], 1);
    }

    fn count(&self, metric: &Metric, labels: &[&str], by: u64) {
        self.0.counters.register_counter(&key(metric, labels), &METADATA).increment(by);
    }

    /// Changes what is shown.
    pub fn show(&self, change: impl FnOnce(&mut QualityReport)) {
        change(&mut self.lock());
    }

    /// What is shown.
    pub fn report(&self) -> QualityReport {
        self.lock().clone()
    }

    /// What only a restart can mend.
    pub fn faults(&self, now: Instant) -> Vec<String> {
        self.0.pulse.fault(now).into_iter().collect()
    }

    /// Prometheus's text format.
    pub fn metrics(&self) -> String {
        self.0.counters.handle().render() + &gauges(&self.report())
    }

    fn lock(&self) -> MutexGuard<'_, QualityReport> {
        // What a panic left half changed, the next change brings up to date.
        self.0.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gauges, by a recorder that lives for this one answer: what is gone is told no more.
fn gauges(report: &QualityReport) -> String {
    let recorder = recorder(&[table::EVALUATOR, &[table::READY]]);
    let set = |metric: &Metric, labels: &[&str], value: f64| {
        recorder.register_gauge(&key(metric, labels), &METADATA).set(value);
    };
    set(&table::READY, &[], f64::from(u8::from(report.ready)));
    set(&table::EVALUATE_PARTITIONS, &[], report.partitions.len() as f64);
    let HeldReport { pairs, predictions, labels } = report.held;
    for (what, events) in [("pairs", pairs), ("predictions", predictions), ("labels", labels)] {
        set(&table::EVALUATE_ROWS, &[what], events as f64);
    }
    for quality in &report.versions {
        let version = quality.version.as_str();
        for (metric, value) in &quality.metrics {
            set(&table::QUALITY, &[version, metric], *value);
        }
        for (label, rows) in [("usable", quality.rows), ("unusable", quality.unusable)] {
            set(&table::QUALITY_ROWS, &[version, label], rows as f64);
        }
        for bin in &quality.calibration {
            let from = bin.from.to_string();
            for (what, share) in [("predicted", bin.predicted), ("observed", bin.observed)] {
                if let Some(share) = share {
                    set(&table::QUALITY_CALIBRATION, &[version, &from, what], share);
                }
            }
        }
    }
    recorder.handle().render()
}

/// Reports as tests want them.
#[cfg(test)]
pub(super) mod samples {
    use super::*;
    use crate::observe::quality::{Asked, Kind};
    use crate::quality::measure::Quality;
    use crate::quality::metrics::Bin;

    pub fn report() -> QualityReport {
        let bin = Bin { from: 0.1, to: 0.2, rows: 2, predicted: Some(0.15), observed: Some(0.5) };
        let quality = Quality {
            version: "7".into(),
            rows: 2,
            unusable: 1,
            metrics: [("auc".to_owned(), 0.75)].into(),
            calibration: vec![bin],
        };
        QualityReport {
            kind: Kind::Quality,
            evaluator: "flights-evaluate-1".into(),
            host: "here".into(),
            at: "2026-11-27T06:34:57.086Z".into(),
            started: "2026-11-27T06:34:57.086Z".into(),
            model: "late-arrival".into(),
            group: "flights-evaluate".into(),
            ready: true,
            waits_for: Vec::new(),
            partitions: vec![0, 2],
            window_minutes: 60,
            held: HeldReport { pairs: 3, predictions: 4, labels: 0 },
            versions: vec![quality],
            served: Some("7".into()),
            fault: Some("auc 0.7500 is below 0.8".into()),
            asked: Some(Asked {
                what: "rollback".into(),
                reason: "auc fell".into(),
                control_offset: Some(3),
                at: "2026-11-27T06:34:57.086Z".into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::samples::report;
    use super::*;

    #[test]
    fn what_is_emitted_is_the_table() {
        let text = Board::new(report()).metrics();
        let series = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let names: BTreeSet<_> = series.filter_map(|line| line.split(['{', ' ']).next()).collect();
        let own = table::EVALUATOR.iter().chain([&table::ASKS, &table::READY]);
        assert_eq!(names, own.map(|metric| metric.name).collect());
        for series in [
            r#"foretell_quality{version="7",metric="auc"} 0.75"#,
            r#"foretell_quality_rows{version="7",label="unusable"} 1"#,
            r#"foretell_quality_calibration{version="7",from="0.1",what="observed"} 0.5"#,
            r#"foretell_evaluate_rows{what="predictions"} 4"#,
            r#"foretell_evaluate_expired_total{side="label"} 0"#,
        ] {
            assert!(text.contains(&format!("\n{series}\n")), "{series} in\n{text}");
        }
    }

    #[test]
    fn what_is_gone_is_told_no_more() {
        let board = Board::new(report());
        board.read(Side::Label, Outcome::Unusable, 2);
        board.dropped(Dropped { predictions: 1, labels: 0, evicted: 5 });
        board.show(|report| report.versions.clear());
        let text = board.metrics();
        assert!(!text.contains("foretell_quality{"), "{text}");
        let series = r#"foretell_evaluate_records_total{side="label",outcome="unusable"} 2"#;
        assert!(text.contains(series) && text.contains("evicted_total 5"), "{text}");
    }

    #[test]
    fn a_report_is_as_its_schema_says_and_reads_back() {
        let schema = serde_json::to_value(schemars::schema_for!(QualityReport)).unwrap();
        let value = serde_json::to_value(report()).unwrap();
        assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&value), "{value:#}");
        assert_eq!(serde_json::from_value::<QualityReport>(value).unwrap(), report());
    }

    #[test]
    fn it_lives_while_its_heart_beats() {
        let board = Board::new(report());
        board.heart().beat();
        assert!(board.faults(Instant::now()).is_empty());
        let late = Instant::now() + 2 * WORKER_STUCK_AFTER;
        assert!(board.faults(late)[0].starts_with("the evaluator has been stuck"));
    }
}
