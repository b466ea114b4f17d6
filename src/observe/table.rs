//! The table of metrics: every name there is, what it counts and in which unit.
//!
//! It is the only place that knows a name. The recorder is described from it, emitters take their
//! metric from it, and the reference in the documentation is [`markdown`].

use std::fmt::Write as _;

/// One row of the table.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// What happened, since the start of the process.
    Counter,
    /// What is now. Read from the status when it is asked for, so that what is no longer there is
    /// no longer told.
    Gauge,
    /// How it is distributed, and in which buckets: upper bounds, in the metric's unit.
    Histogram(&'static [f64]),
}

/// From a batch on an idle stream to the largest that `batch.rows_max` gives by default.
const BATCH_ROWS_BUCKETS: &[f64] =
    &[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 32_768.0];
/// From scoring one event to settling while a broker is away.
const BATCH_SECONDS_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0, 30.0,
];
/// From a small model on a local disk to a large one over the network.
const LOAD_SECONDS_BUCKETS: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// From the contract of a small model to the fetch of a large one.
const GATE_SECONDS_BUCKETS: &[f64] =
    &[0.000_1, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

/// From one event to a body of many that waited its turn.
const HTTP_SECONDS_BUCKETS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Names each metric of a program and lists them all, so that none can be emitted that the table does not hold.
macro_rules! table {
    ($list:ident: $program:literal;
    $($constant:ident: $kind:expr, $name:literal, $unit:literal, $labels:expr, $help:literal;)*) => {
        $(pub const $constant: Metric =
            Metric { name: $name, kind: $kind, unit: $unit, labels: &$labels, help: $help };)*
        #[doc = concat!("Every metric of ", $program, ", in the order of the documentation.")]
        pub const $list: &[Metric] = &[$($constant),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

table! {
    ALL: "an instance";
    EVENTS: Counter, "foretell_events_total", "events", [],
        "Events dealt with: predictions, dead letters and tombstones";
    PREDICTIONS: Counter, "foretell_predictions_total", "predictions", ["version"],
        "Predictions committed, by the version that made them";
    DEAD_LETTERS: Counter, "foretell_dead_letters_total", "events", ["reason"],
        "Events that could not be scored, by reason";
    TOMBSTONES: Counter, "foretell_tombstones_total", "events", [],
        "Records without a value, passed over";
    BATCHES: Counter, "foretell_batches_total", "batches", ["outcome"],
        "Batches sent: committed, or not committed and sent again";
    CONTROL_MESSAGES: Counter, "foretell_control_messages_total", "messages", ["type"],
        "Records read from the control topic, by type";
    MODEL_SWAPS: Counter, "foretell_model_swaps_total", "swaps", [],
        "Times that a version began to serve, the first included";
    ASKS: Counter, "foretell_asks_total", "messages", ["type"],
        "Control messages that this instance published by itself, by type";
    MODEL_REFUSALS: Counter, "foretell_model_refusals_total", "refusals", ["reason"],
        "Versions refused, by the check they failed";
    REBALANCES: Counter, "foretell_rebalances_total", "rebalances", [],
        "Rebalances that workers took part in";
    HTTP_REQUESTS: Counter, "foretell_http_requests_total", "requests", ["code"],
        "Requests to be scored over HTTP, by status code";
    HTTP_EVENTS: Counter, "foretell_http_events_total", "events", ["outcome"],
        "Events in those requests: predicted, or rejected";
    PARTITION_LAG: Gauge, "foretell_partition_lag", "events", ["partition"],
        "Events of an assigned partition that are not dealt with yet";
    PARTITIONS_ASSIGNED: Gauge, "foretell_partitions_assigned", "partitions", [],
        "Partitions of the events topic assigned to this instance";
    PARTITIONS_STALLED: Gauge, "foretell_partitions_stalled", "partitions", [],
        "Partitions that stand still although events wait in them";
    WORKERS_HELD: Gauge, "foretell_workers_held", "workers", [],
        "Workers that hold events back, because too many of them would become dead letters";
    READY: Gauge, "foretell_ready", "0 or 1", [],
        "1 when a version serves, the control log is read, the workers have joined, and none holds back or stands still";
    SERVED_INFO: Gauge, "foretell_served_info", "1", ["model", "version", "control_offset"],
        "The version that serves, and the offset of the control message that chose it";
    SHADOW_EVENTS: Gauge, "foretell_shadow_events", "events", ["version", "outcome"],
        "Events that a candidate scored beside what serves: same or flipped class, lost, gained";
    SHADOW_DIFFERENCE: Gauge, "foretell_shadow_difference", "of an output", ["version", "quantile"],
        "Difference between a candidate's outputs and those of what serves, relative above 1";
    SHADOW_COST_RATIO: Gauge, "foretell_shadow_cost_ratio", "ratio", ["version"],
        "What an event costs a candidate, in what it costs the version that serves";
    DRIFT_PSI: Gauge, "foretell_drift_psi", "index", ["feature"],
        "How far a feature that is no part of a time is from training, in this instance's last whole window: 0 is equal, above 0.25 much";
    DRIFT_PREDICTION_PSI: Gauge, "foretell_drift_prediction_psi", "index", ["output"],
        "The same of an output of the model";
    DRIFT_WINDOW_EVENTS: Gauge, "foretell_drift_window_events", "events", [],
        "Events of that window";
    FEATURE_MISSING: Gauge, "foretell_feature_missing_ratio", "ratio", ["feature"],
        "Share of that window's events without a value for the feature";
    FEATURE_UNKNOWN: Gauge, "foretell_feature_unknown_ratio", "ratio", ["feature"],
        "Share of that window's events with a category of the feature that is not in its vocabulary";
    BATCH_ROWS: Histogram(BATCH_ROWS_BUCKETS), "foretell_batch_rows", "events", [],
        "Events of a committed batch";
    BATCH_SECONDS: Histogram(BATCH_SECONDS_BUCKETS), "foretell_batch_seconds", "seconds", ["stage"],
        "Time of a committed batch, by stage: collect, score, settle";
    MODEL_LOAD_SECONDS: Histogram(LOAD_SECONDS_BUCKETS), "foretell_model_load_seconds", "seconds", [],
        "Time from reading a bundle to its version being ready to serve";
    GATE_SECONDS: Histogram(GATE_SECONDS_BUCKETS), "foretell_gate_seconds", "seconds", ["check"],
        "Time of each check that a version went through, passed or not";
    HTTP_SECONDS: Histogram(HTTP_SECONDS_BUCKETS), "foretell_http_request_seconds", "seconds", [],
        "Time of a request to be scored over HTTP, from its head to its answer";
}

table! {
    EVALUATOR: "`foretell evaluate`, beside `READY` and `ASKS`";
    QUALITY: Gauge, "foretell_quality", "of the metric", ["version", "metric"],
        "How good a version was on the labelled events of the window: auc, log_loss, brier, accuracy, f1; rmse, mae, r2";
    QUALITY_ROWS: Gauge, "foretell_quality_rows", "events", ["version", "label"],
        "Labelled events of a version: usable ones, by which it is judged, and those with a label that it cannot have";
    QUALITY_CALIBRATION: Gauge, "foretell_quality_calibration", "share", ["version", "from", "what"],
        "Predicted and observed share of class 1, by probability in tenths";
    EVALUATE_ROWS: Gauge, "foretell_evaluate_rows", "events", ["what"],
        "Events in the window: pairs, predictions without a label, labels without a prediction";
    EVALUATE_PARTITIONS: Gauge, "foretell_evaluate_partitions", "partitions", [],
        "Partitions of predictions and labels assigned to this evaluator";
    EVALUATE_RECORDS: Counter, "foretell_evaluate_records_total", "records", ["side", "outcome"],
        "Predictions and labels that were read: taken, unusable, of another model, tombstones";
    EVALUATE_EXPIRED: Counter, "foretell_evaluate_expired_total", "records", ["side"],
        "Predictions and labels that left the window without the other";
    EVALUATE_EVICTED: Counter, "foretell_evaluate_evicted_total", "events", [],
        "Events that left the window because it was full";
}

/// The table for the documentation.
pub fn markdown() -> String {
    let mut text = String::from(
        "| Metric | Kind | Unit | Labels | Meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for metric in ALL.iter().chain(EVALUATOR) {
        let Metric { name, unit, help, .. } = metric;
        let kind = match metric.kind {
            Counter => "counter",
            Gauge => "gauge",
            Histogram(_) => "histogram",
        };
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        // Writing to a string does not fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let all = || ALL.iter().chain(EVALUATOR);
        for Metric { name, kind, unit, .. } in all() {
            assert!(name.starts_with("foretell_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), *unit == "seconds", "{name}");
            assert_eq!(all().filter(|other| other.name == *name).count(), 1, "{name}");
        }
    }

    #[test]
    fn buckets_rise() {
        for metric in ALL {
            if let Histogram(buckets) = metric.kind {
                assert!(buckets.is_sorted_by(|a, b| a < b), "{}", metric.name);
            }
        }
    }

    #[test]
    fn the_documentation_has_a_line_for_each() {
        let text = markdown();
        assert_eq!(text.lines().count(), ALL.len() + EVALUATOR.len() + 2);
        assert!(text.contains("| `foretell_batch_seconds` | histogram | seconds | `stage` |"));
    }
}
