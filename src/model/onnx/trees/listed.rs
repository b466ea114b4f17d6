//! TreeEnsembleClassifier and TreeEnsembleRegressor: a node is named by its tree's number and its
//! own, an entry of each `nodes_…` list describes it, and the leaves' weights stand in lists apart.

use std::collections::HashMap;

use super::Trees;
use crate::model::import::ImportError;

const PER_NODE: [&str; 6] = [
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    // Where absent, no value is missing in a way that matters; nobody counted hits.
    "nodes_missing_value_tracks_true",
    "nodes_hitrates",
];

/// The place of a node in the lists, by the numbers of its tree and itself.
type Places = HashMap<(i64, i64), usize>;

/// `prefix`: of the lists of weights, `class` or `target`.
pub fn check(trees: &Trees<'_>, prefix: &str) -> Result<(), ImportError> {
    let numbers = trees.ints("nodes_treeids");
    let count = numbers.len();
    for name in &PER_NODE[..4] {
        trees.same_length(name, trees.ints(name).len(), count)?;
    }
    trees.same_or_none(PER_NODE[4], trees.ints(PER_NODE[4]).len(), count)?;
    trees.same_or_none(PER_NODE[5], trees.numbers(PER_NODE[5])?.len(), count)?;
    let places = places(trees, numbers)?;
    branches(trees, numbers, &places)?;
    weights(trees, prefix, &places)
}

fn places(trees: &Trees<'_>, numbers: &[i64]) -> Result<Places, ImportError> {
    let names = numbers.iter().copied().zip(trees.ints("nodes_nodeids").iter().copied());
    let mut places = Places::with_capacity(numbers.len());
    for (place, (tree, node)) in names.enumerate() {
        if places.insert((tree, node), place).is_some() {
            let what = format!("`nodes_nodeids` has node {node} of tree {tree} twice");
            return Err(trees.refuse(what));
        }
    }
    Ok(places)
}

fn branches(trees: &Trees<'_>, numbers: &[i64], places: &Places) -> Result<(), ImportError> {
    let modes = trees.strings("nodes_modes");
    trees.same_length("nodes_modes", modes.len(), numbers.len())?;
    let values = trees.numbers("nodes_values")?;
    trees.same_length("nodes_values", values.len(), numbers.len())?;
    let features = trees.ints("nodes_featureids");
    let mut children = vec![[None; 2]; numbers.len()];
    let branching = modes.iter().enumerate().filter(|(_, mode)| mode.as_slice() != b"LEAF");
    for (place, _) in branching {
        if values[place].is_nan() {
            return Err(trees.refuse(format!("`nodes_values` holds NaN (entry {place})")));
        }
        trees.features(&features[place..=place])?;
        for (side, name) in ["nodes_truenodeids", "nodes_falsenodeids"].iter().enumerate() {
            let (tree, child) = (numbers[place], trees.ints(name)[place]);
            let Some(found) = places.get(&(tree, child)) else {
                let what = format!("`{name}` names node {child} of tree {tree}: there is none");
                return Err(trees.refuse(what));
            };
            children[place][side] = Some(*found);
        }
    }
    trees.acyclic(&children)
}

fn weights(trees: &Trees<'_>, prefix: &str, places: &Places) -> Result<(), ImportError> {
    let ids = format!("{prefix}_ids");
    let outputs = trees.ints(&ids);
    trees.each_below(&ids, outputs, width(trees, prefix))?;
    let name = format!("{prefix}_weights");
    let weights = trees.numbers(&name)?;
    trees.same_length(&name, weights.len(), outputs.len())?;
    trees.finite(&name, &weights)?;
    trees.finite("base_values", &trees.numbers("base_values")?)?;
    let (of_tree, of_node) = (format!("{prefix}_treeids"), format!("{prefix}_nodeids"));
    let (numbers, nodes) = (trees.ints(&of_tree), trees.ints(&of_node));
    trees.same_length(&of_tree, numbers.len(), outputs.len())?;
    trees.same_length(&of_node, nodes.len(), outputs.len())?;
    let mut named = numbers.iter().copied().zip(nodes.iter().copied());
    match named.find(|name| !places.contains_key(name)) {
        None => Ok(()),
        Some((tree, node)) => {
            let what = format!("`{of_node}` names node {node} of tree {tree}: there is none");
            Err(trees.refuse(what))
        }
    }
}

/// Scores a row: one a target, or one a label.
fn width(trees: &Trees<'_>, prefix: &str) -> usize {
    if prefix == "target" {
        let targets = trees.node.attribute("n_targets").map_or(1, |attribute| attribute.int);
        return usize::try_from(targets).unwrap_or(0);
    }
    trees.ints("classlabels_int64s").len().max(trees.strings("classlabels_strings").len())
}
