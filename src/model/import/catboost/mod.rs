//! CatBoost's JSON, as `save_model(…, format="json")` writes it.
//!
//! ```text
//! { "model_info": { "params": { "loss_function": … } },       what a sum means
//!   "features_info": { "float_features": [ … ],               columns, and what NaN does
//!                      "categorical_features": [ … ],
//!                      "cat_features_hash": [ … ] },          strings by hash
//!   "oblivious_trees": [ { "splits": [ … ], "leaf_values": [ … ] } ]
//!                                                             or "trees": nested nodes
//!   "scale_and_bias": [1, [0.5]] }                            sum · scale + bias, in f64
//! ```
//!
//! The format is what `json_model_helpers.cpp` of CatBoost writes. CatBoost itself loads wrong
//! leaf counts, unknown kinds of split and features that do not exist, and crashes on a tree too
//! deep; what it does not check is checked here.

mod features;
mod file;
mod loss;
#[cfg(test)]
mod tests;
mod tree;

use crate::model::forest::tree::Tree;
use crate::model::forest::{Ensemble, Finish, Precision, Sum};

use super::{ImportError, Source, chosen, json, sniff};
use features::Features;
use file::File;

/// Reads a whole model file.
pub(super) fn read(source: Source<'_>) -> Result<Ensemble, ImportError> {
    sniff::check_json(source.bytes, "a CatBoost model in JSON")?;
    let file: File = json::read(source.bytes)?;
    let (scale, bias) = &file.scale_and_bias;
    let outputs = bias.len();
    if outputs == 0 {
        return Err(ImportError::new("`scale_and_bias` holds no bias: a model has one an output"));
    }
    let link = loss::link(&file.model_info, outputs)?;
    let features = Features::new(&file.features_info, source.features)?;
    let mut trees = trees(&file, &features, outputs)?;
    if trees.is_empty() {
        return Err(ImportError::new("the model has no trees"));
    }
    // An iteration is a tree.
    let iterations = chosen(source.iterations, trees.len())?;
    trees.truncate(iterations.end);
    trees.drain(..iterations.start);
    Ok(Ensemble {
        columns: features.columns,
        trees,
        sum: Sum {
            start: vec![0.0; outputs],
            precision: Precision::Double,
            finish: Finish::Scaled { scale: *scale, bias: bias.clone() },
        },
        link,
    })
}

fn trees(file: &File, features: &Features, outputs: usize) -> Result<Vec<Tree>, ImportError> {
    match (&file.oblivious_trees, &file.trees) {
        (Some(trees), None) => each(trees, |tree| tree::oblivious(tree, features, outputs)),
        (None, Some(trees)) => each(trees, |tree| tree::nested(tree, features, outputs)),
        (None, None) => Err(ImportError::new("neither `oblivious_trees` nor `trees`")),
        (Some(_), Some(_)) => Err(ImportError::new("both `oblivious_trees` and `trees`")),
    }
}

fn each<T>(
    trees: &[T],
    read: impl Fn(&T) -> Result<Tree, ImportError>,
) -> Result<Vec<Tree>, ImportError> {
    let numbered = trees.iter().enumerate();
    numbered.map(|(number, tree)| read(tree).map_err(|error| error.in_tree(number))).collect()
}
