//! Counters and histograms: what happened, counted once a batch, and the text that Prometheus
//! reads.
//!
//! An instance has a recorder of its own and none is global: two instances in one process (the
//! tour) do not count for each other, nor do two tests. Gauges have no memory at all: they are
//! written from the [`Report`] of the moment, so that the lag of a revoked partition and the
//! version that served before are gone at once. The exporter itself can only let gauges expire.

use std::time::Duration;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

use super::drift::Shift;
use super::reports::{Agreement, Quantiles, Report, ShadowReport};
use super::table::{self, Kind, Metric};
use crate::model::gate::{Check, Times};
use crate::reject::Reason;
use crate::worker::Turn;

/// Of no use to this exporter, but the interface wants it.
pub(super) static METADATA: Metadata<'_> = Metadata::new(module_path!(), Level::INFO, None);

/// Every `type` of a control message. What a stranger calls an unknown one is not told: as a label
/// it would have no bound.
const CONTROL_TYPES: [&str; 7] = [
    "retrain-complete",
    "promote",
    "rollback",
    "resume",
    "retrain-request",
    "unknown",
    "malformed",
];

/// The codes that a request to be scored is answered with.
const HTTP_CODES: [&str; 10] =
    ["200", "400", "401", "403", "404", "408", "413", "415", "422", "503"];

/// The counters and histograms of one instance.
#[derive(Debug)]
pub struct Metrics(PrometheusRecorder);

impl Metrics {
    /// Each outcome that can be named beforehand stands at 0 from the start: a rate over a series
    /// that appears with its first failure would not see that failure.
    pub fn new() -> Self {
        let metrics = Self(recorder(&[table::ALL]));
        metrics.count(&table::EVENTS, &[], 0);
        metrics.count(&table::TOMBSTONES, &[], 0);
        metrics.count(&table::MODEL_SWAPS, &[], 0);
        metrics.count(&table::REBALANCES, &[], 0);
        let outcomes = |metric, outcomes: &[&str]| {
            outcomes.iter().for_each(|outcome| metrics.count(metric, &[outcome], 0));
        };
        outcomes(&table::DEAD_LETTERS, &Reason::ALL.map(Reason::as_str));
        outcomes(&table::BATCHES, &["committed", "again"]);
        outcomes(&table::CONTROL_MESSAGES, &CONTROL_TYPES);
        outcomes(&table::MODEL_REFUSALS, &Check::ALL.map(Check::as_str));
        outcomes(&table::ASKS, &["promote", "rollback", "retrain-request"]);
        outcomes(&table::HTTP_REQUESTS, &HTTP_CODES);
        outcomes(&table::HTTP_EVENTS, &["predicted", "rejected"]);
        metrics
    }

    /// A turn of a worker. One that found nothing to do leaves no trace.
    pub fn turned(&self, turn: &Turn) {
        if turn.retries > 0 {
            self.count(&table::BATCHES, &["again"], turn.retries);
        }
        let Some(served) = &turn.served else { return };
        self.count(&table::BATCHES, &["committed"], 1);
        self.count(&table::EVENTS, &[], turn.events());
        self.count(&table::TOMBSTONES, &[], turn.tombstones);
        self.count(&table::PREDICTIONS, &[&served.version.version], turn.predictions);
        for (reason, events) in &turn.dead_letters {
            self.count(&table::DEAD_LETTERS, &[reason.as_str()], *events);
        }
        self.record(&table::BATCH_ROWS, &[], turn.events() as f64);
        let stage = |stage, time: Duration| {
            self.record(&table::BATCH_SECONDS, &[stage], time.as_secs_f64());
        };
        stage("collect", turn.times.collect);
        stage("score", turn.times.score);
        stage("settle", turn.times.settle);
    }

    pub fn rebalanced(&self, times: u64) {
        self.count(&table::REBALANCES, &[], times);
    }

    pub fn control_message(&self, kind: &'static str) {
        debug_assert!(CONTROL_TYPES.contains(&kind), "no type of control message: {kind}");
        self.count(&table::CONTROL_MESSAGES, &[kind], 1);
    }

    pub fn swapped(&self) {
        self.count(&table::MODEL_SWAPS, &[], 1);
    }

    /// A version went through the gate.
    pub fn judged(&self, times: &Times, failed: Option<Check>) {
        for (check, time) in &times.0 {
            self.record(&table::GATE_SECONDS, &[check.as_str()], time.as_secs_f64());
        }
        match failed {
            Some(check) => self.count(&table::MODEL_REFUSALS, &[check.as_str()], 1),
            // What was in memory only proves itself once more.
            None if times.has(Check::Fetch) => {
                self.record(&table::MODEL_LOAD_SECONDS, &[], times.sum().as_secs_f64());
            }
            None => {}
        }
    }

    /// The instance asks for something by itself.
    pub fn asked(&self, kind: &'static str) {
        self.count(&table::ASKS, &[kind], 1);
    }

    /// A request to be scored was answered.
    pub fn requested(&self, code: u16, predicted: usize, rejected: usize, time: Duration) {
        let code = code.to_string();
        debug_assert!(HTTP_CODES.contains(&&*code), "no code of a scoring request: {code}");
        self.count(&table::HTTP_REQUESTS, &[&code], 1);
        self.count(&table::HTTP_EVENTS, &["predicted"], predicted as u64);
        self.count(&table::HTTP_EVENTS, &["rejected"], rejected as u64);
        self.record(&table::HTTP_SECONDS, &[], time.as_secs_f64());
    }

    /// Sorts what histograms took since the last call into their buckets. Until then every sample
    /// is kept, so this has to be called every few seconds, whether anyone scrapes or not.
    pub fn upkeep(&self) {
        self.0.handle().run_upkeep();
    }

    /// Prometheus's text format, with the gauges of `report`.
    pub fn render(&self, report: &Report) -> String {
        self.0.handle().render() + &gauges(report)
    }

    fn count(&self, metric: &Metric, labels: &[&str], by: u64) {
        debug_assert_eq!(metric.kind, Kind::Counter, "{}", metric.name);
        self.0.register_counter(&key(metric, labels), &METADATA).increment(by);
    }

    fn record(&self, metric: &Metric, labels: &[&str], value: f64) {
        debug_assert!(matches!(metric.kind, Kind::Histogram(_)), "{}", metric.name);
        self.0.register_histogram(&key(metric, labels), &METADATA).record(value);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The gauges, by a recorder that lives for this one answer.
fn gauges(report: &Report) -> String {
    let recorder = recorder(&[table::ALL]);
    let set = |metric: &Metric, labels: &[&str], value: f64| {
        debug_assert_eq!(metric.kind, Kind::Gauge, "{}", metric.name);
        recorder.register_gauge(&key(metric, labels), &METADATA).set(value);
    };
    set(&table::READY, &[], f64::from(u8::from(report.ready)));
    let held = report.workers.iter().filter(|worker| worker.held.is_some());
    set(&table::WORKERS_HELD, &[], held.count() as f64);
    set(&table::PARTITIONS_STALLED, &[], report.stalled.len() as f64);
    set(&table::PARTITIONS_ASSIGNED, &[], report.partitions.len() as f64);
    for partition in &report.partitions {
        set(&table::PARTITION_LAG, &[&partition.partition.to_string()], partition.lag as f64);
    }
    if let Some(served) = &report.served {
        let offset = served.control_offset.map_or("configured".into(), |offset| offset.to_string());
        set(&table::SERVED_INFO, &[&report.model, &served.version, &offset], 1.0);
    }
    if let Some(ShadowReport { version, agreement, .. }) = &report.shadow {
        let Agreement { rows, flips, lost, gained, difference, cost_ratio } = agreement;
        let outcomes =
            [("same", rows - flips), ("flipped", *flips), ("lost", *lost), ("gained", *gained)];
        for (outcome, events) in outcomes {
            set(&table::SHADOW_EVENTS, &[version, outcome], events as f64);
        }
        let Quantiles { p50, p90, p99, max } = difference;
        for (quantile, value) in [("0.5", p50), ("0.9", p90), ("0.99", p99), ("1", max)] {
            set(&table::SHADOW_DIFFERENCE, &[version, quantile], *value);
        }
        if let Some(ratio) = cost_ratio {
            set(&table::SHADOW_COST_RATIO, &[version], *ratio);
        }
    }
    if let Some(window) = report.drift.as_ref().and_then(|drift| drift.window.as_ref()) {
        set(&table::DRIFT_WINDOW_EVENTS, &[], window.events as f64);
        for Shift { name, psi, is_expected, window, .. } in &window.features {
            // Whoever wants an alarm does not mean what moves by itself.
            if !is_expected {
                set(&table::DRIFT_PSI, &[name], *psi);
            }
            set(&table::FEATURE_MISSING, &[name], window.missing_ratio());
            set(&table::FEATURE_UNKNOWN, &[name], window.unknown_ratio());
        }
        for Shift { name, psi, .. } in &window.outputs {
            set(&table::DRIFT_PREDICTION_PSI, &[name], *psi);
        }
    }
    recorder.handle().render()
}

/// A recorder that knows these lists of the table.
pub(super) fn recorder(lists: &[&[Metric]]) -> PrometheusRecorder {
    let metrics = || lists.iter().copied().flatten();
    let mut builder = PrometheusBuilder::new();
    for metric in metrics() {
        if let Kind::Histogram(buckets) = metric.kind {
            let name = Matcher::Full(metric.name.into());
            builder = builder
                .set_buckets_for_metric(name, buckets)
                .expect("a test sees that every histogram has buckets");
        }
    }
    let recorder = builder.build_recorder();
    for metric in metrics() {
        let (name, help) = (KeyName::from_const_str(metric.name), metric.help.into());
        match metric.kind {
            Kind::Counter => recorder.describe_counter(name, None, help),
            Kind::Gauge => recorder.describe_gauge(name, None, help),
            Kind::Histogram(_) => recorder.describe_histogram(name, None, help),
        }
    }
    recorder
}

/// A series of `metric`: values for the labels that the table gives it, in that order.
pub(super) fn key(metric: &Metric, values: &[&str]) -> Key {
    debug_assert_eq!(metric.labels.len(), values.len(), "labels of {}", metric.name);
    let label = |(&name, &value): (&&'static str, &&str)| Label::new(name, value.to_owned());
    let labels: Vec<_> = metric.labels.iter().zip(values).map(label).collect();
    Key::from_parts(metric.name, labels)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::bus::Stand;
    use crate::observe::samples;

    /// Names of the series in a text for Prometheus, without the endings of histograms.
    fn names(text: &str) -> BTreeSet<&str> {
        let series = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        series
            .map(|line| line.split(['{', ' ']).next().unwrap_or_default())
            .map(|name| {
                let ending = ["_bucket", "_sum", "_count"].iter().find(|end| name.ends_with(**end));
                ending.map_or(name, |ending| name.trim_end_matches(ending))
            })
            .collect()
    }

    #[test]
    fn what_is_emitted_is_the_table() {
        let text = samples::serving().metrics();
        assert_eq!(names(&text), table::ALL.iter().map(|metric| metric.name).collect());
        for metric in table::ALL {
            assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{text}");
        }
    }

    #[test]
    fn every_outcome_stands_at_zero_from_the_start() {
        let text = samples::starting().metrics();
        for series in [
            r#"foretell_events_total"#,
            r#"foretell_dead_letters_total{reason="prediction_too_large"}"#,
            r#"foretell_batches_total{outcome="again"}"#,
            r#"foretell_control_messages_total{type="malformed"}"#,
            r#"foretell_model_refusals_total{reason="golden"}"#,
            r#"foretell_ready"#,
        ] {
            assert!(text.contains(&format!("\n{series} 0\n")), "{series} in\n{text}");
        }
    }

    #[test]
    fn a_turn_is_counted_when_it_is_committed() {
        let metrics = Metrics::new();
        metrics.turned(&Turn::default());
        metrics.turned(&Turn { retries: 2, ..Turn::default() });
        metrics.turned(&samples::turn("7"));
        let text = metrics.0.handle().render();
        for series in [
            r#"foretell_events_total 101"#,
            r#"foretell_predictions_total{version="7"} 90"#,
            r#"foretell_dead_letters_total{reason="not_json"} 6"#,
            r#"foretell_tombstones_total 1"#,
            r#"foretell_batches_total{outcome="committed"} 1"#,
            r#"foretell_batches_total{outcome="again"} 3"#,
            r#"foretell_batch_rows_bucket{le="64"} 0"#,
            r#"foretell_batch_rows_bucket{le="256"} 1"#,
            r#"foretell_batch_seconds_bucket{stage="settle",le="0.005"} 0"#,
            r#"foretell_batch_seconds_bucket{stage="settle",le="0.01"} 1"#,
        ] {
            assert!(text.contains(&format!("\n{series}\n")), "{series} in\n{text}");
        }
    }

    #[test]
    fn what_is_gone_is_told_no_more() {
        let status = samples::serving();
        let text = status.metrics();
        assert!(text.contains("\nforetell_partition_lag{partition=\"1\"} 7\n"), "{text}");
        assert!(!text.contains(r#"model="late-arrival",version="1""#), "{text}");
        let info =
            r#"foretell_served_info{model="late-arrival",version="2",control_offset="41"} 1"#;
        assert!(text.contains(info), "{text}");
        status.worker(1).turned(&Turn::default(), Stand::default());
        let text = status.metrics();
        assert!(!text.contains(r#"foretell_partition_lag{partition="1"}"#), "{text}");
        assert!(text.contains("\nforetell_partitions_assigned 1\n"), "{text}");
    }

    #[test]
    fn instances_do_not_count_for_each_other() {
        let (one, other) = (samples::serving(), samples::starting());
        assert!(one.metrics().contains("\nforetell_events_total 202\n"));
        assert!(other.metrics().contains("\nforetell_events_total 0\n"));
    }
}
