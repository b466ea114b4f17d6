//! From a matrix and its targets to a model file in a format of our own, by smartcore.
//!
//! smartcore's own files change with its versions, so they leave this room only as `foretell-forest`
//! ([`trees`]) or `foretell-linear` ([`lines`]), which the engine evaluates as smartcore does
//! (`fit/tests.rs`).

mod keys;
mod lines;
mod rows;
#[cfg(test)]
mod tests;
mod trees;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ndarray::{ArrayView1, ArrayView2};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::manifest::Format;

/// What is fitted, and how. A key that is absent has the default of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    pub model: Learner,
    /// The same seed and the same rows give the same bytes. Linear models draw nothing. Default 0.
    #[serde(default)]
    pub seed: u64,
    /// Forests and boosting: number of trees, 1 to 65535. Default 100.
    pub trees: Option<u16>,
    /// Forests and boosting: splits on the longest way from the root to a leaf, 1 to 100. Default: 6 for
    /// boosting, 1024 for forests.
    pub max_depth: Option<u16>,
    /// Forests: rows that a leaf holds at least. Default 1.
    pub min_samples_leaf: Option<usize>,
    /// Forests: rows that a node holds at least to be split. Default 2.
    pub min_samples_split: Option<usize>,
    /// Forests: features drawn as candidates for a split; where none of them splits the node, it is a leaf.
    /// Default: the square root of their number, rounded down.
    pub features_per_split: Option<usize>,
    /// `random_forest_classifier`: what a split makes least. Default `gini`.
    pub criterion: Option<Criterion>,
    /// Boosting: the factor by which a tree's leaves count, above 0 and up to 1. Default 0.3.
    pub learning_rate: Option<f64>,
    /// Boosting: rows that a child holds at least. Default 1.
    pub min_child_weight: Option<usize>,
    /// Boosting: the L2 penalty on leaf values. Default 1.
    pub lambda: Option<f64>,
    /// Boosting: the gain that a split brings at least, in half squared units of the target. Default 0.
    pub gamma: Option<f64>,
    /// Boosting: the share of the rows that a tree sees, above 0 and up to 1. Default 1.
    pub subsample: Option<f64>,
    /// Boosting: what the sum begins with, in units of the target. Default: the target's mean.
    pub base_score: Option<f64>,
    /// `logistic`, `ridge`: `alpha`/2 (`ridge`: `alpha`) times the squared coefficients is added to the
    /// loss, a sum over the rows. `lasso`: `alpha` times the rows times the absolute coefficients.
    /// Coefficients count as those of standardised features. Above 0; `logistic`: from 0 on. Default 1.
    pub alpha: Option<f64>,
    /// `lasso`: steps at most. Default 1000.
    pub max_iter: Option<usize>,
    /// `lasso`: the relative duality gap at which it stops. Default 0.0001.
    pub tolerance: Option<f64>,
}

/// The models that can be fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Learner {
    /// The share of the trees that vote for a class is its probability.
    RandomForestClassifier,
    RandomForestRegressor,
    /// Regression on squared errors.
    GradientBoostedTrees,
    /// Two classes, or several.
    Logistic,
    /// Least squares.
    Linear,
    /// Least squares with an L2 penalty.
    Ridge,
    /// Least squares with an L1 penalty.
    Lasso,
}

/// What makes a split of a classifier good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    Gini,
    Entropy,
    ClassificationError,
}

/// A model file.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    pub format: Format,
    pub bytes: Vec<u8>,
}

/// Why there is no model, by who can change it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// What [`Fit`] says makes no sense.
    #[error("{0}")]
    Parameters(String),
    /// Nothing can be learnt from these rows.
    #[error("{0}")]
    Data(String),
    /// smartcore gave up.
    #[error("smartcore cannot fit `{model}`: {why}")]
    Library { model: Learner, why: String },
}

/// Fits a model.
///
/// `x` is rows × `features`. `y` holds a target a row; for a classifier the class, one of 0, 1, …,
/// `classes` - 1, which nothing else asks for. Two classes give one output, the probability of class 1;
/// more give one a class.
///
/// # Panics
/// If the lengths of `x`, `y` and `features` do not agree.
pub fn fit(
    fit: &Fit,
    x: ArrayView2<'_, f64>,
    y: ArrayView1<'_, f64>,
    features: &[String],
    classes: usize,
) -> Result<Fitted, FitError> {
    assert_eq!(x.dim(), (y.len(), features.len()), "rows × features");
    fit.check()?;
    rows::check(x, y, features)?;
    let classes = fit.model.is_classifier().then_some(classes);
    match classes {
        Some(classes) => rows::check_classes(y, classes)?,
        None => rows::check_target(y)?,
    }
    let names = features.to_vec();
    // What is known to make smartcore panic is refused above. What is left cannot be told beforehand:
    // its decompositions and its line search panic where they do not converge.
    let fitted = catch_unwind(AssertUnwindSafe(|| match fit.model {
        Learner::RandomForestClassifier | Learner::RandomForestRegressor => {
            trees::forest(fit, x, y, names, classes)
        }
        Learner::GradientBoostedTrees => trees::boosted(fit, x, y, names),
        Learner::Logistic | Learner::Linear | Learner::Ridge | Learner::Lasso => {
            lines::line(fit, x, y, names)
        }
    }));
    fitted.unwrap_or_else(|panic| Err(fit.model.failed(said(&*panic))))
}

impl Learner {
    pub fn is_classifier(self) -> bool {
        matches!(self, Self::RandomForestClassifier | Self::Logistic)
    }

    fn failed(self, why: impl fmt::Display) -> FitError {
        FitError::Library { model: self, why: why.to_string() }
    }
}

/// As in the configuration.
impl fmt::Display for Learner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
}
