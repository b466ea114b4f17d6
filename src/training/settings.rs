//! `train.toml`: all that a training is told. Nothing of it stands in code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::fit::Fit;
use crate::cli::failure::Failure;
use crate::control::message::{Criteria, Rollout};
use crate::model::manifest::{Task, TaskKind};

/// The configuration of a training. Paths are relative to the file's folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub model: Model,
    pub data: Data,
    pub fit: Fit,
    #[serde(default)]
    pub evaluate: Evaluate,
    pub bundle: Bundle,
    /// Without it nothing can be announced.
    pub announce: Option<Announce>,
    #[serde(default)]
    pub watch: Watch,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The key of its control messages.
    pub name: String,
    /// JSON: task and features, as `schemas/contract.schema.json` describes them.
    pub contract: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Files of production events: `.jsonl` or `.csv` with a header, both also with `.zst` behind.
    #[serde(default)]
    pub events: Vec<PathBuf>,
    /// Files of labels, an `id` and a `label` a line. Without any, each event has its own at `label`.
    #[serde(default)]
    pub labels: Vec<PathBuf>,
    /// Instead of files.
    pub kafka: Option<Topics>,
    /// JSON pointer to an event's id.
    pub id: String,
    /// JSON pointer to an event's own label, where there are no separate ones.
    pub label: Option<String>,
    /// JSON pointer to the event's time (RFC 3339, or milliseconds since the epoch). Without it the
    /// record's time counts, or in files the order of the lines.
    pub time: Option<String>,
    /// The first moment whose events count.
    #[serde(default, deserialize_with = "moment")]
    pub from: Option<Timestamp>,
    /// The first one whose events do not.
    #[serde(default, deserialize_with = "moment")]
    pub to: Option<Timestamp>,
}

/// Events and labels on topics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// The configuration of the instances: brokers, credentials, the topic of events.
    pub config: PathBuf,
    /// Each record is `{"id": …, "label": …}`; the last one of an id counts.
    pub labels: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluate {
    /// The newest share of the rows, above 0 and below 1, is held out.
    pub holdout: f64,
    /// Rounds of cross-validation by time, each judged by the rows after those it was fitted on; 0: none.
    pub folds: usize,
    /// The version to beat: a bundle's folder, or `control`, which asks the control topic which one serves.
    pub served: Option<String>,
    /// Names of features: metrics are told apart by their values, those with the most rows.
    pub slices: Vec<String>,
    /// Events and what must hold of their predictions, a line each.
    pub corner_cases: Option<PathBuf>,
    /// By the metric's name.
    pub bounds: BTreeMap<String, Bounds>,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self {
            holdout: 0.2,
            folds: 0,
            served: None,
            slices: Vec::new(),
            corner_cases: None,
            bounds: BTreeMap::new(),
        }
    }
}

/// What a version has to reach to be announced.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// It may be worse than the served version by so much.
    pub worse_by_max: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Each version becomes a folder in it.
    pub folder: PathBuf,
    /// Files between the parts of a training; default: `.work` in `folder`.
    pub work: Option<PathBuf>,
    /// Held-out events that become golden rows.
    #[serde(default = "golden_rows")]
    pub golden_rows: usize,
    /// The probability from which on a binary model says class 1; default: the contract's.
    pub threshold: Option<f64>,
}

/// RFC 3339, as a text.
fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(|_| {
        D::Error::custom(format!("`{text}` is no moment such as \"2013-12-01T05:15:00-05:00\""))
    })
}

fn golden_rows() -> usize {
    64
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announce {
    /// The configuration of the instances.
    pub config: PathBuf,
    /// Where they find the bundle; `{version}` is replaced. Default: its path here.
    pub uri: Option<String>,
    #[serde(default)]
    pub rollout: Rollout,
    /// With `shadow`: what it has to show on an instance for that one to promote it.
    pub promote_when: Option<Criteria>,
}

/// Of `foretell-train watch`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Watch {
    /// From the beginning of one training to that of the next, at least.
    pub interval_minutes: u32,
}

impl Default for Watch {
    fn default() -> Self {
        Self { interval_minutes: 60 }
    }
}

impl Watch {
    pub fn interval(self) -> Duration {
        Duration::from_secs(60 * u64::from(self.interval_minutes))
    }
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or what it says is wrong; with line and key.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::configuration(format!("cannot read `{}`: {error}", path.display()))
        })?;
        let mut settings: Self = toml::from_str(&text)
            .map_err(|error| Failure::configuration(format!("`{}`: {error}", path.display())))?;
        settings.place(path.parent().unwrap_or(Path::new("")));
        match settings.fault() {
            Some(fault) => Err(Failure::configuration(format!("`{}`: {fault}", path.display()))),
            None => Ok(settings),
        }
    }

    /// Lets all paths begin in `home`.
    fn place(&mut self, home: &Path) {
        let Self { model, data, evaluate, bundle, announce, .. } = self;
        let paths = [&mut model.contract, &mut bundle.folder].into_iter();
        let paths = paths.chain(&mut data.events).chain(&mut data.labels);
        let paths = paths.chain(data.kafka.as_mut().map(|kafka| &mut kafka.config));
        let paths = paths.chain(evaluate.corner_cases.as_mut()).chain(bundle.work.as_mut());
        for path in paths.chain(announce.as_mut().map(|announce| &mut announce.config)) {
            *path = home.join(&*path);
        }
        if let Some(served) = evaluate.served.as_mut().filter(|served| *served != CONTROL) {
            *served = home.join(&*served).display().to_string();
        }
    }

    /// What contradicts itself.
    fn fault(&self) -> Option<String> {
        let Self { data, evaluate, announce, .. } = self;
        if data.events.is_empty() == data.kafka.is_none() {
            return Some("`data` needs either `events`, which are files, or `kafka`".into());
        }
        if data.kafka.is_none() && data.labels.is_empty() == data.label.is_none() {
            return Some(
                "`data` needs either `labels`, which are files, or `label`, a pointer".into(),
            );
        }
        if !(evaluate.holdout > 0.0 && evaluate.holdout < 1.0) {
            return Some(format!(
                "`evaluate.holdout`: {} is not between 0 and 1",
                evaluate.holdout
            ));
        }
        if announce
            .as_ref()
            .is_some_and(|it| it.promote_when.is_some() && it.rollout != Rollout::Shadow)
        {
            return Some("`announce.promote_when` is for `announce.rollout = \"shadow\"`".into());
        }
        if let Err(fault) = self.fit.check() {
            return Some(format!("`fit`: {fault}"));
        }
        let asks = evaluate.served.as_deref() == Some(CONTROL);
        if asks && announce.is_none() && data.kafka.is_none() {
            return Some(format!(
                "`evaluate.served` is `{CONTROL}`, and no `announce.config` says where that topic is"
            ));
        }
        None
    }

    /// Why this model cannot do what the contract asks for.
    pub fn disagrees(&self, task: &Task) -> Option<String> {
        let model = &self.fit.model;
        let contract = self.model.contract.display();
        match task.kind {
            TaskKind::Binary | TaskKind::Multiclass if !model.is_classifier() => Some(format!(
                "`fit.model` is `{model}`, which says numbers, and `{contract}` asks for classes"
            )),
            TaskKind::Multiclass if task.labels.len() < 2 => Some(format!(
                "`{contract}` asks for one of several classes and does not name them in `labels`"
            )),
            TaskKind::Regression if model.is_classifier() => Some(format!(
                "`fit.model` is `{model}`, which says classes, and `{contract}` asks for numbers"
            )),
            TaskKind::Ranking | TaskKind::Anomaly => Some(format!(
                "`{contract}` asks for a ranking or anomalies, and smartcore has no model for these"
            )),
            _ => None,
        }
    }

    /// Files between the parts.
    pub fn work(&self) -> PathBuf {
        self.bundle.work.clone().unwrap_or_else(|| self.bundle.folder.join(".work"))
    }

    /// The configuration of the instances, where there is one.
    pub fn instances(&self) -> Option<&Path> {
        let announce = self.announce.as_ref().map(|announce| announce.config.as_path());
        announce.or(self.data.kafka.as_ref().map(|kafka| kafka.config.as_path()))
    }
}

/// The value of `evaluate.served` that asks the control topic.
pub const CONTROL: &str = "control";
