//! smartcore's forests and boosted trees, as a [`ForestFile`].
//!
//! Its nodes are private, so they are read from what it serialises. A value of at most the threshold
//! goes to the true, or left, child; all others, NaN too, go to the other one. That is our format's rule.

use ndarray::{ArrayView1, ArrayView2};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smartcore::ensemble::random_forest_classifier::{
    RandomForestClassifier, RandomForestClassifierParameters,
};
use smartcore::ensemble::random_forest_regressor::{
    RandomForestRegressor, RandomForestRegressorParameters,
};
use smartcore::error::Failed;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::tree::decision_tree_classifier::SplitCriterion;
use smartcore::xgboost::{XGRegressor, XGRegressorParameters};

use super::{Criterion, Fit, FitError, Fitted, Learner};
use crate::model::forest::tree::DEPTH_MAX;
use crate::model::import::forest::{Combine, FORMAT, ForestFile, TreeFile, VERSION};
use crate::model::import::linear::Link;
use crate::model::manifest::Format;

pub type Classifier = RandomForestClassifier<f64, u32, DenseMatrix<f64>, Vec<u32>>;
pub type Regressor = RandomForestRegressor<f64, f64, DenseMatrix<f64>, Vec<f64>>;
pub type Boosted = XGRegressor<f64, f64, DenseMatrix<f64>, Vec<f64>>;

const TREES: u16 = 100;

/// A random forest: of a classifier's trees each has one vote, of a regressor's the mean counts.
pub fn forest(
    fit: &Fit,
    x: ArrayView2<'_, f64>,
    y: ArrayView1<'_, f64>,
    features: Vec<String>,
    classes: Option<usize>,
) -> Result<Fitted, FitError> {
    let failed = |why| fit.model.failed(why);
    let x = matrix(x);
    let (grown, outputs) = match classes {
        Some(classes) => {
            let model = classifier(fit, &x, y).map_err(failed)?;
            (reread::<Trees>(fit.model, &model)?, if classes == 2 { 1 } else { classes })
        }
        None => {
            let model = regressor(fit, &x, y).map_err(failed)?;
            (reread::<Wrapped>(fit.model, &model)?.forest_regressor, 1)
        }
    };
    let leaf = |output: f64| match outputs {
        // A regression's value; of two classes, 1 where the vote is for class 1.
        1 => vec![output],
        _ => (0..outputs).map(|class| f64::from(u8::from(class as f64 == output))).collect(),
    };
    let trees = grown.trees.iter().map(|tree| tree.file(leaf)).collect();
    file(fit.model, Combine::Mean, vec![0.0; outputs], features, trees)
}

/// Boosted trees: the sum of the leaves, each times the learning rate, and the base score.
pub fn boosted(
    fit: &Fit,
    x: ArrayView2<'_, f64>,
    y: ArrayView1<'_, f64>,
    features: Vec<String>,
) -> Result<Fitted, FitError> {
    let parameters = boosting(fit, y);
    let (rate, start) = (parameters.learning_rate, parameters.base_score);
    let model = Boosted::fit(&matrix(x), &y.to_vec(), parameters);
    let grown: Rounds = reread(fit.model, &model.map_err(|why| fit.model.failed(why))?)?;
    let tree = |root: &Branch| {
        let mut tree = TreeFile::default();
        root.write(rate, &mut tree).map(|_| tree)
    };
    let trees = grown.regressors.iter().map(tree).collect();
    file(fit.model, Combine::Sum, vec![start], features, trees)
}

pub fn classifier(
    fit: &Fit,
    x: &DenseMatrix<f64>,
    y: ArrayView1<'_, f64>,
) -> Result<Classifier, Failed> {
    let parameters = RandomForestClassifierParameters {
        criterion: match fit.criterion.unwrap_or(Criterion::Gini) {
            Criterion::Gini => SplitCriterion::Gini,
            Criterion::Entropy => SplitCriterion::Entropy,
            Criterion::ClassificationError => SplitCriterion::ClassificationError,
        },
        max_depth: levels(fit),
        min_samples_leaf: fit.min_samples_leaf.unwrap_or(1),
        min_samples_split: fit.min_samples_split.unwrap_or(2),
        n_trees: fit.trees.unwrap_or(TREES),
        m: fit.features_per_split,
        keep_samples: false,
        seed: fit.seed,
    };
    Classifier::fit(x, &y.iter().map(|class| *class as u32).collect(), parameters)
}

pub fn regressor(
    fit: &Fit,
    x: &DenseMatrix<f64>,
    y: ArrayView1<'_, f64>,
) -> Result<Regressor, Failed> {
    let parameters = RandomForestRegressorParameters {
        max_depth: levels(fit),
        min_samples_leaf: fit.min_samples_leaf.unwrap_or(1),
        min_samples_split: fit.min_samples_split.unwrap_or(2),
        n_trees: fit.trees.unwrap_or(TREES).into(),
        m: fit.features_per_split,
        keep_samples: false,
        seed: fit.seed,
    };
    Regressor::fit(x, &y.to_vec(), parameters)
}

pub fn boosting(fit: &Fit, y: ArrayView1<'_, f64>) -> XGRegressorParameters {
    XGRegressorParameters {
        n_estimators: fit.trees.unwrap_or(TREES).into(),
        max_depth: fit.max_depth.unwrap_or(6),
        learning_rate: fit.learning_rate.unwrap_or(0.3),
        min_child_weight: fit.min_child_weight.unwrap_or(1),
        lambda: fit.lambda.unwrap_or(1.0),
        gamma: fit.gamma.unwrap_or(0.0),
        base_score: fit.base_score.unwrap_or_else(|| y.sum() / y.len() as f64),
        subsample: fit.subsample.unwrap_or(1.0),
        seed: fit.seed,
        ..XGRegressorParameters::default()
    }
}

/// smartcore's forests count levels of nodes, its boosted trees those of splits, as we do. No tree may be
/// deeper than the engine takes.
fn levels(fit: &Fit) -> Option<u16> {
    Some(fit.max_depth.unwrap_or(DEPTH_MAX as u16) + 1)
}

/// A copy of the matrix, column after column.
pub fn matrix(x: ArrayView2<'_, f64>) -> DenseMatrix<f64> {
    let values = x.columns().into_iter().flatten().copied().collect();
    DenseMatrix::new(x.nrows(), x.ncols(), values, true).expect("as many values as cells")
}

/// A regressor, as smartcore serialises it.
#[derive(Deserialize)]
struct Wrapped {
    forest_regressor: Trees,
}

/// A classifier.
#[derive(Deserialize)]
struct Trees {
    trees: Vec<Nodes>,
}

#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<Node>,
}

/// A node of a tree. What is not finite is serialised as null.
#[derive(Deserialize)]
struct Node {
    /// The class of a classifier, or the value of a regressor.
    output: Option<f64>,
    split_feature: usize,
    split_value: Option<f64>,
    /// Those that were tried and given up are leaves, though they have a `split_value`.
    true_child: Option<usize>,
    false_child: Option<usize>,
}

/// Boosted trees.
#[derive(Deserialize)]
struct Rounds {
    regressors: Vec<Branch>,
}

#[derive(Deserialize)]
struct Branch {
    left: Option<Box<Branch>>,
    right: Option<Box<Branch>>,
    value: Option<f64>,
    threshold: Option<f64>,
    split_feature_idx: usize,
}

impl Nodes {
    /// None where a number is not finite.
    fn file(&self, leaf: impl Fn(f64) -> Vec<f64>) -> Option<TreeFile> {
        let (mut splits, mut leaves) = (0, 0);
        let number = |node: &Node| match node.children() {
            Some(_) => next(&mut splits),
            None => -1 - next(&mut leaves),
        };
        let numbers: Vec<i64> = self.nodes.iter().map(number).collect();
        let mut tree = TreeFile::default();
        for node in &self.nodes {
            match node.children() {
                Some((left, right)) => {
                    tree.feature.push(node.split_feature);
                    tree.threshold.push(node.split_value?);
                    tree.left.push(*numbers.get(left)?);
                    tree.right.push(*numbers.get(right)?);
                }
                None => tree.leaves.push(leaf(node.output?)),
            }
        }
        Some(tree)
    }
}

impl Node {
    fn children(&self) -> Option<(usize, usize)> {
        self.true_child.zip(self.false_child)
    }
}

impl Branch {
    /// Writes what is below and says under which number, None where one is not finite.
    fn write(&self, rate: f64, tree: &mut TreeFile) -> Option<i64> {
        let Some((left, right)) = self.left.as_ref().zip(self.right.as_ref()) else {
            tree.leaves.push(vec![rate * self.value?]);
            return Some(-(tree.leaves.len() as i64));
        };
        let split = tree.feature.len();
        tree.feature.push(self.split_feature_idx);
        tree.threshold.push(self.threshold?);
        tree.left.push(0);
        tree.right.push(0);
        tree.left[split] = left.write(rate, tree)?;
        tree.right[split] = right.write(rate, tree)?;
        Some(split as i64)
    }
}

fn next(count: &mut i64) -> i64 {
    *count += 1;
    *count - 1
}

/// As text: a tree of JSON values would take ten times the memory.
fn reread<T: DeserializeOwned>(learner: Learner, model: &impl Serialize) -> Result<T, FitError> {
    let text = serde_json::to_vec(model).map_err(|why| learner.failed(why))?;
    serde_json::from_slice(&text).map_err(|why| learner.failed(why))
}

fn file(
    learner: Learner,
    combine: Combine,
    start: Vec<f64>,
    features: Vec<String>,
    trees: Option<Vec<TreeFile>>,
) -> Result<Fitted, FitError> {
    let finite = |trees: &Vec<TreeFile>| {
        let leaves = trees.iter().flat_map(|tree| tree.leaves.iter().flatten());
        start.iter().chain(leaves).all(|value| value.is_finite())
    };
    let Some(trees) = trees.filter(finite) else {
        return Err(learner.failed("its leaves are not finite: the targets may be too large"));
    };
    let (format, link) = (FORMAT.into(), Link::Identity);
    let file = ForestFile { format, version: VERSION, link, combine, start, features, trees };
    let bytes = serde_json::to_vec(&file).map_err(|why| learner.failed(why))?;
    Ok(Fitted { format: Format::Forest, bytes })
}
