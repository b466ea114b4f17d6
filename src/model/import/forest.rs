//! Our own format of tree ensembles: a JSON object, described by `schemas/forest.schema.json`.
//!
//! For libraries whose own files change with each version, as smartcore's do, and for trees that
//! anyone writes by hand. What it says is what [`tree`](crate::model::forest::tree) holds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::linear::{self, Link};
use super::{ImportError, Source, chosen, json, sniff};
use crate::model::columns::{Column, ColumnKind};
use crate::model::forest::tree::{Child, Side, Split, Test, Tree};
use crate::model::forest::{Ensemble, Finish, Precision, Sum};

pub const FORMAT: &str = "foretell-forest";
pub const VERSION: u32 = 1;

/// An ensemble of trees: output k is the link of `start[k]` + Σ over the trees of leaf value k, the sum
/// divided by the number of trees where they are averaged. All is computed in f64, tree after tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForestFile {
    /// `foretell-forest`.
    pub format: String,
    /// 1.
    pub version: u32,
    pub link: Link,
    pub combine: Combine,
    /// What each output's sum begins with: a number an output. 0 where trees are averaged.
    pub start: Vec<f64>,
    /// Names, in the order that trees count them by.
    pub features: Vec<String>,
    pub trees: Vec<TreeFile>,
}

/// How the trees' leaf values become one number an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// They are added up: boosting.
    Sum,
    /// They are averaged: random forests. For a classifier each leaf holds a share a class.
    Mean,
}

/// A binary tree. Its splits are numbered from 0, the root, and so are its leaves; a tree without splits
/// has one leaf. A value of at most the threshold goes left.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TreeFile {
    /// Of each split, the feature that it looks at, by its place in `features`.
    pub feature: Vec<usize>,
    pub threshold: Vec<f64>,
    /// The child for values of at most the threshold: a split, or -1 − a leaf.
    pub left: Vec<i64>,
    /// The child for larger values.
    pub right: Vec<i64>,
    /// Splits that a missing value leaves to the left; at all others it goes right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_left: Vec<usize>,
    /// Of each leaf, a number an output.
    pub leaves: Vec<Vec<f64>>,
}

/// Reads a whole model file.
pub(super) fn read(source: Source<'_>) -> Result<Ensemble, ImportError> {
    sniff::check_json(source.bytes, "a forest")?;
    json::check_head(source.bytes, FORMAT, VERSION)?;
    let file: ForestFile = json::read(source.bytes)?;
    linear::check_names(&file.features)?;
    let outputs = file.start.len();
    linear::check_link(file.link, outputs)?;
    if file.trees.is_empty() {
        return Err(ImportError::new("`trees` is empty"));
    }
    let features = file.features.len();
    let trees = file.trees.into_iter().enumerate();
    let trees: Vec<Tree> = trees
        .map(|(number, tree)| tree.read(features, outputs).map_err(|error| error.in_tree(number)))
        .collect::<Result<_, _>>()?;
    let finish = match file.combine {
        Combine::Sum => Finish::Sum,
        Combine::Mean if file.start.iter().any(|start| *start != 0.0) => {
            return Err(ImportError::new("`start` is not 0, and a mean begins with nothing else"));
        }
        Combine::Mean if source.iterations.is_some() => {
            let what = "iterations were asked for, and the trees are averaged: all of them count";
            return Err(ImportError::new(what));
        }
        Combine::Mean => Finish::Mean(trees.len()),
    };
    let chosen = chosen(source.iterations, trees.len())?;
    let column = |name| Column::named(name, ColumnKind::Number);
    Ok(Ensemble {
        columns: file.features.into_iter().map(column).collect(),
        trees: trees.into_iter().skip(chosen.start).take(chosen.len()).collect(),
        sum: Sum { start: file.start, precision: Precision::Double, finish },
        link: file.link.into(),
    })
}

impl TreeFile {
    fn read(self, features: usize, outputs: usize) -> Result<Tree, ImportError> {
        let splits = self.splits()?;
        if let Some(leaf) = self.leaves.iter().position(|values| values.len() != outputs) {
            let found = self.leaves[leaf].len();
            let what = format!("`leaves[{leaf}]` holds {found} numbers for {outputs} outputs");
            return Err(ImportError::new(what));
        }
        let leaves = self.leaves.concat();
        Tree::new(splits, leaves, 0..outputs, features)
            .map_err(|fault| ImportError::new(fault.to_string()))
    }

    fn splits(&self) -> Result<Vec<Split>, ImportError> {
        let Self { feature, threshold, left, right, missing_left, .. } = self;
        let count = feature.len();
        let lists = [("threshold", threshold.len()), ("left", left.len()), ("right", right.len())];
        if let Some((name, found)) = lists.into_iter().find(|(_, found)| *found != count) {
            let what = format!("`{name}` holds {found} numbers for {count} splits");
            return Err(ImportError::new(what));
        }
        let mut missing = vec![Side::Right; count];
        for &split in missing_left {
            *missing.get_mut(split).ok_or_else(|| {
                ImportError::new(format!("`missing_left` names split {split} of {count}"))
            })? = Side::Left;
        }
        let splits = (0..count).map(|split| Split {
            feature: feature[split],
            test: Test::Number {
                threshold: threshold[split],
                missing: missing[split],
                zero_is_missing: false,
            },
            left: child(left[split]),
            right: child(right[split]),
        });
        Ok(splits.collect())
    }
}

/// What is out of range stays so, and is found where the tree is checked.
fn child(number: i64) -> Child {
    let place = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    if number < 0 { Child::Leaf(place(-1 - number)) } else { Child::Split(place(number)) }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::model::Scratch;
    use crate::model::import::import;
    use crate::model::manifest::{Format, Iterations};

    /// x ≤ 1 → 10, else y ≤ 2 → 20, else 30; and a stump that adds 1.
    const TWO: &str = r#"{"format":"foretell-forest","version":1,"link":"identity","combine":"sum",
        "start":[0.5],"features":["x","y"],"trees":[
        {"feature":[0,1],"threshold":[1,2],"left":[-1,-2],"right":[1,-3],"missing_left":[1],
         "leaves":[[10],[20],[30]]},
        {"feature":[],"threshold":[],"left":[],"right":[],"leaves":[[1]]}]}"#;

    fn outputs(source: Source<'_>) -> Vec<f64> {
        let model = import(source).unwrap();
        let nan = f64::NAN;
        let x = array![[1.0, 9.0], [1.5, 2.0], [1.5, 2.1], [nan, 2.1], [nan, nan]];
        let mut out = ndarray::Array2::zeros((x.nrows(), model.outputs()));
        model.predict(x.view(), &mut Scratch::default(), out.view_mut());
        out.into_iter().collect()
    }

    #[test]
    fn it_says_what_its_trees_say() {
        let source = Source::new(Format::Forest, TWO.as_bytes());
        assert_eq!(outputs(source), [11.5, 21.5, 31.5, 31.5, 21.5]);
        let first = Source { iterations: Some(Iterations { from: 0, to: 1 }), ..source };
        assert_eq!(outputs(first), [10.5, 20.5, 30.5, 30.5, 20.5]);
    }

    #[test]
    fn a_mean_is_a_mean() {
        let mean = TWO.replace("\"sum\"", "\"mean\"").replace("[0.5]", "[0]");
        let source = Source::new(Format::Forest, mean.as_bytes());
        assert_eq!(outputs(source), [5.5, 10.5, 15.5, 15.5, 10.5]);
    }

    #[test]
    fn what_is_doubtful_is_refused_with_its_place() {
        for (from, to, wanted) in [
            ("\"version\":1", "\"version\":2", "`version` 2 is not known (known: 1)"),
            ("foretell-forest", "foretell-tree", "`format` is `foretell-tree`"),
            ("\"x\",\"y\"", "\"x\",\"x\"", "`features` holds `x` twice"),
            ("\"start\":[0.5]", "\"start\":[]", "no output"),
            ("\"identity\"", "\"softmax\"", "would always be 1"),
            ("[1,2]", "[1]", "`threshold` holds 1 numbers for 2 splits (tree 0)"),
            ("[1,2]", "[1,1e400]", "number out of range"),
            ("[0,1]", "[0,2]", "feature 2 of node 1 is out of range (tree 0)"),
            ("[1,-3]", "[1,-4]", "the right child of node 1 is out of range (tree 0)"),
            ("[1,-3]", "[0,-3]", "node 0 is below itself: a cycle (tree 0)"),
            ("[1,-3]", "[-9223372036854775808,-3]", "the right child of node 0"),
            ("[20]", "[20,21]", "`leaves[1]` holds 2 numbers for 1 outputs (tree 0)"),
            ("\"missing_left\":[1]", "\"missing_left\":[2]", "names split 2 of 2 (tree 0)"),
            ("\"leaves\":[[1]]", "\"leaves\":[]", "(tree 1)"),
            ("\"combine\":\"sum\"", "\"combine\":\"mean\"", "`start` is not 0"),
        ] {
            assert!(TWO.contains(from), "{from}");
            let text = TWO.replacen(from, to, 1);
            let source = Source::new(Format::Forest, text.as_bytes());
            let error = import(source).expect_err(wanted).to_string();
            assert!(error.contains(wanted), "`{error}` does not say `{wanted}`");
        }
    }
}
