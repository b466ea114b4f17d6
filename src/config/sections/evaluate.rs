//! `[evaluate]`: how predictions are judged once their labels are there.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::Listen;

/// `foretell evaluate`: how good predictions were, and what is to be done about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Evaluate {
    /// The topic of labels, `{"id": …, "label": …}`, keyed as the predictions and with as many partitions.
    /// `foretell evaluate` needs it.
    #[schemars(length(min = 1))]
    pub labels: Option<String>,
    /// Evaluators of the same group share the partitions. By default `consumer.group_id` with `-evaluate`
    /// behind.
    #[schemars(length(min = 1))]
    pub group_id: Option<String>,
    /// Predictions and labels count for so long, in minutes.
    #[schemars(range(min = 1, max = 525_600))]
    pub window_minutes: u32,
    /// So many events are held at a time, with their label or waiting for it; of more, the oldest go.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub window_rows: usize,
    /// Nothing is decided on fewer labelled events.
    #[schemars(range(min = 1))]
    pub rows_min: u64,
    /// The version that serves shall have at least this area under the ROC curve.
    pub auc_min: Option<f64>,
    /// At least this share of its classes shall be right.
    pub accuracy_min: Option<f64>,
    /// At least this F1; of more than two classes, the mean.
    pub f1_min: Option<f64>,
    /// At least this share of the target's variance shall be explained.
    pub r2_min: Option<f64>,
    /// At most this log loss.
    pub log_loss_max: Option<f64>,
    /// At most this Brier score.
    pub brier_max: Option<f64>,
    /// At most this root of the mean squared error, in units of the target.
    pub rmse_max: Option<f64>,
    /// At most this mean absolute error, in units of the target.
    pub mae_max: Option<f64>,
    /// What is published when the version that serves breaks one of these bounds.
    pub then: Then,
    /// No `retrain-request` is published within so long of another, in minutes.
    #[schemars(range(min = 0, max = 525_600))]
    pub ask_interval_minutes: u32,
    /// Address and port of an evaluator's own health and metrics, or `off`.
    pub listen: Listen,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self {
            labels: None,
            group_id: None,
            window_minutes: 1_440,
            window_rows: 100_000,
            rows_min: 1_000,
            auc_min: None,
            accuracy_min: None,
            f1_min: None,
            r2_min: None,
            log_loss_max: None,
            brier_max: None,
            rmse_max: None,
            mae_max: None,
            then: Then::RetrainRequest,
            ask_interval_minutes: 1440,
            listen: Listen::At((Ipv4Addr::LOCALHOST, 8081).into()),
        }
    }
}

/// What is published when the version that serves is not good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// A wish for training.
    RetrainRequest,
    /// That the version before shall serve again.
    Rollback,
    /// Nothing: it is said in the log, in metrics and reports.
    Nothing,
}
