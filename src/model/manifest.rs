//! `manifest.json` of a bundle, and the lines of its `golden.jsonl`: the formats, nothing else.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::largest;
use super::reference::Reference;
use crate::features::contract::Feature;

/// `manifest.json`. Fields that this version of the program does not know are kept out of the
/// way, not refused: a newer trainer may say more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The model's name, the key of its control messages.
    pub model: String,
    pub version: String,
    /// RFC 3339.
    pub created: String,
    pub artifact: Artifact,
    pub task: Task,
    /// In the order of the model's columns.
    pub features: Vec<Feature>,
    pub golden: Golden,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
    /// How features and predictions were distributed in training, for drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
}

/// What a person writes about a model: the part of a manifest that cannot be computed. `foretell
/// model pack` takes it as `--contract FILE`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    pub task: Task,
    /// In the order of the model's columns.
    pub features: Vec<Feature>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
}

/// The model file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    pub format: Format,
    /// A file name inside the bundle.
    pub path: String,
    /// Lower-case hexadecimal.
    pub sha256: String,
    pub bytes: u64,
    /// The iterations that score. Without it, all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<Iterations>,
}

/// A part of a boosted model's iterations, such as those up to the best one of early stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Iterations {
    /// The first one, counted from 0.
    #[serde(default)]
    pub from: usize,
    /// The one after the last.
    pub to: usize,
}

/// Who wrote the model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// CatBoost's JSON, `save_model(…, format="json")`.
    Catboost,
    /// Trees in our own JSON: `schemas/forest.schema.json`.
    Forest,
    /// LightGBM's text format, `Booster.save_model`.
    Lightgbm,
    /// A linear model in our own JSON: `schemas/linear.schema.json`.
    Linear,
    /// ONNX, as skl2onnx, onnxmltools, PyTorch and others export to.
    Onnx,
    /// XGBoost's JSON or UBJSON, `Booster.save_model`.
    Xgboost,
}

impl Format {
    /// What a file of this format is called in a bundle.
    pub fn file_name(self, bytes: &[u8]) -> &'static str {
        match self {
            Self::Lightgbm => "model.txt",
            Self::Xgboost if !bytes.get(1).is_some_and(|byte| b"\" \t\r\n".contains(byte)) => {
                "model.ubj"
            }
            Self::Catboost | Self::Forest | Self::Linear | Self::Xgboost => "model.json",
            Self::Onnx => "model.onnx",
        }
    }

    /// How far from its library a model of this format may be, if nobody says: a few last bits of
    /// what the library computes in.
    pub fn tolerance(self) -> f64 {
        match self {
            Self::Catboost | Self::Forest | Self::Lightgbm | Self::Linear => 1e-9,
            Self::Onnx | Self::Xgboost => 1e-5,
        }
    }
}

/// What the model's output means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    pub kind: TaskKind,
    /// Names of the classes, by class number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Binary: the probability from which on class 1 is predicted. Default 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

impl Task {
    /// Does a model of this task say a class?
    pub fn is_classifier(&self) -> bool {
        matches!(self.kind, TaskKind::Binary | TaskKind::Multiclass)
    }

    /// Binary: the probability from which on class 1 is predicted.
    pub fn threshold(&self) -> f64 {
        self.threshold.unwrap_or(0.5)
    }

    /// The class that outputs mean: the larger one, or for binary class 1 from the threshold on.
    /// `None`: the model is no classifier.
    pub fn class(&self, outputs: &[f64]) -> Option<usize> {
        match (self.kind, outputs) {
            (TaskKind::Binary, [probability, ..]) => {
                Some(usize::from(*probability >= self.threshold()))
            }
            (TaskKind::Multiclass, _) => Some(largest(outputs)),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    Binary,
    Regression,
    Multiclass,
    Ranking,
    Anomaly,
}

/// The rows every instance scores before it lets a version serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Golden {
    /// A file name inside the bundle; each of its lines is a [`GoldenRow`].
    pub path: String,
    pub sha256: String,
    /// How far an output may be from the one recorded: absolute up to 1, relative to it above.
    pub tolerance: f64,
}

/// One line of `golden.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoldenRow {
    /// An event as production publishes it.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub event: Box<serde_json::value::RawValue>,
    /// What the training library predicts: `[p]` of class 1 or `[1 - p, p]`, `[y]`, one probability
    /// a class, or the number of the class alone.
    pub output: Vec<f64>,
}

/// Where the version comes from. Read by people; nothing here changes a prediction.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Training {
    #[serde(default)]
    pub rows: u64,
    /// The span of event time that was trained on.
    #[serde(default)]
    pub window: Option<Window>,
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// `pip freeze`, one requirement an entry.
    #[serde(default)]
    pub environment: Vec<String>,
    /// Revision of the training code.
    #[serde(default)]
    pub revision: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// RFC 3339, inclusive.
    pub from: String,
    /// RFC 3339, exclusive.
    pub to: String,
}
