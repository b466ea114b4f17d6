//! TreeEnsemble: nodes and leaves in lists of their own, named by their places in them.

use super::{Trees, place};
use crate::model::import::ImportError;

pub fn check(trees: &Trees<'_>) -> Result<(), ImportError> {
    let features = trees.ints("nodes_featureids");
    trees.features(features)?;
    let splits = match trees.tensor("nodes_splits") {
        Some(tensor) => trees.numbers_of("nodes_splits", tensor)?,
        None => Vec::new(),
    };
    trees.same_length("nodes_splits", splits.len(), features.len())?;
    if let Some(entry) = splits.iter().position(|split| split.is_nan()) {
        return Err(trees.refuse(format!("`nodes_splits` holds NaN (entry {entry})")));
    }
    let leaves = leaves(trees)?;
    let mut children = vec![[None; 2]; features.len()];
    for (side, [nodes, is_leaf]) in
        [["nodes_truenodeids", "nodes_trueleafs"], ["nodes_falsenodeids", "nodes_falseleafs"]]
            .into_iter()
            .enumerate()
    {
        let (below, leaf) = (trees.ints(nodes), trees.ints(is_leaf));
        trees.same_length(nodes, below.len(), features.len())?;
        trees.same_length(is_leaf, leaf.len(), features.len())?;
        for (entry, (below, leaf)) in below.iter().zip(leaf).enumerate() {
            let count = if *leaf == 0 { features.len() } else { leaves };
            let Some(found) = place(*below, count) else {
                return Err(trees.refuse(format!("`{nodes}` leads to {below} of {count}")));
            };
            children[entry][side] = (*leaf == 0).then_some(found);
        }
    }
    trees.each_below("tree_roots", trees.ints("tree_roots"), features.len())?;
    trees.acyclic(&children)
}

/// Checks the leaves and counts them.
fn leaves(trees: &Trees<'_>) -> Result<usize, ImportError> {
    let targets = trees.node.attribute("n_targets").map_or(1, |attribute| attribute.int);
    let ids = trees.ints("leaf_targetids");
    trees.each_below("leaf_targetids", ids, usize::try_from(targets).unwrap_or(0))?;
    let weights = match trees.tensor("leaf_weights") {
        Some(tensor) => trees.numbers_of("leaf_weights", tensor)?,
        None => Vec::new(),
    };
    trees.same_length("leaf_weights", weights.len(), ids.len())?;
    trees.finite("leaf_weights", &weights)?;
    Ok(ids.len())
}
