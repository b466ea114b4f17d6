//! One tree: lists with an element a node, brought into the neutral form.
//!
//! Pruning leaves dead nodes in the lists, so only what the root leads to is looked at.

use std::collections::BTreeMap;

use crate::model::forest::inputs::SINGLE_CODES;
use crate::model::forest::single;
use crate::model::forest::tree::{CategorySet, Child, Coding, Fault, Side, Split, Test, Tree};
use crate::model::import::ImportError;

use super::document::{Nodes, Whole};

/// Words of all category sets of a model. A category is one bit of its set, but makes the set as
/// long as its code is high: a few bytes of a file could ask for gigabytes.
pub const SET_WORDS_MAX: usize = 1 << 20;

/// What a tree is part of.
#[derive(Debug, Clone, Copy)]
pub struct Whereabouts {
    pub features: usize,
    pub outputs: usize,
    /// The output that the tree adds to, unless its leaves hold a value for each.
    pub output: usize,
    /// What the leaves are multiplied by (dart).
    pub weight: f32,
}

/// Reads a tree. `set_words` counts what is left of [`SET_WORDS_MAX`].
pub fn read(nodes: &Nodes, at: Whereabouts, set_words: &mut usize) -> Result<Tree, ImportError> {
    check_lengths(nodes)?;
    let live = Live::of(nodes)?;
    let mut sets = category_sets(nodes, set_words)?;
    let splits: Vec<Split> = live
        .splits
        .iter()
        .map(|&node| split(nodes, node, &live, &mut sets))
        .collect::<Result<_, _>>()?;
    if let Some(node) = sets.keys().find(|node| live.children[**node].is_some()) {
        let what = format!("`categories_nodes` names node {node}, which splits by no category");
        return Err(ImportError::new(what));
    }
    let (leaves, outputs) = match nodes.tree_param.size_leaf_vector.0 {
        0 | 1 => {
            let value = |&node: &usize| Ok(nodes.split_conditions[node].0);
            let values: Result<Vec<f32>, ImportError> = live.leaves.iter().map(value).collect();
            (values?, at.output..at.output + 1)
        }
        width if width == at.outputs => (vectors(nodes, &live, width)?, 0..width),
        width => {
            let outputs = at.outputs;
            let what = format!("`size_leaf_vector` is {width}, the model has {outputs} outputs");
            return Err(ImportError::new(what));
        }
    };
    let leaves = leaves.into_iter().map(|value| finite("leaf", value * at.weight).map(f64::from));
    let leaves = leaves.collect::<Result<_, _>>()?;
    let gain = |node: &usize| nodes.loss_changes.get(*node).map(|gain| f64::from(gain.0));
    let gains: Option<Vec<f64>> = live.splits.iter().map(gain).collect();
    let tree = Tree::new(splits, leaves, outputs, at.features);
    let tree = tree.map_err(|fault| named(nodes, &live, fault))?;
    Ok(tree.with_gains(gains.unwrap_or_default()))
}

fn check_lengths(nodes: &Nodes) -> Result<(), ImportError> {
    let count = nodes.tree_param.num_nodes.0;
    let lengths = [
        ("left_children", nodes.left_children.len()),
        ("right_children", nodes.right_children.len()),
        ("split_indices", nodes.split_indices.len()),
        ("split_conditions", nodes.split_conditions.len()),
        ("default_left", nodes.default_left.len()),
    ];
    let types = nodes.split_type.len();
    let types = (types != 0).then_some(("split_type", types));
    match lengths.into_iter().chain(types).find(|(_, length)| *length != count || count == 0) {
        Some((key, length)) => {
            Err(ImportError::new(format!("`{key}` holds {length} values where num_nodes={count}")))
        }
        None => Ok(()),
    }
}

/// The nodes that the root leads to, numbered as splits and as leaves.
struct Live {
    /// Of each split and of each leaf its node.
    splits: Vec<usize>,
    leaves: Vec<usize>,
    /// Of each node what it is.
    children: Vec<Option<Child>>,
}

impl Live {
    fn of(nodes: &Nodes) -> Result<Self, ImportError> {
        let count = nodes.left_children.len();
        let mut live = Self { splits: Vec::new(), leaves: Vec::new(), children: vec![None; count] };
        let mut open = vec![0];
        while let Some(node) = open.pop() {
            // A node that is met twice is none of a tree: Tree::new says so.
            if live.children[node].is_some() {
                continue;
            }
            if nodes.left_children[node] == LEAF {
                // Where leaves are vectors, their number stands here.
                if nodes.leaf_weights.is_none() && nodes.right_children[node] != LEAF {
                    let what = format!("`right_children` of node {node} gives a leaf a child");
                    return Err(ImportError::new(what));
                }
                live.children[node] = Some(Child::Leaf(live.leaves.len()));
                live.leaves.push(node);
            } else {
                live.children[node] = Some(Child::Split(live.splits.len()));
                live.splits.push(node);
                let left = child("left_children", &nodes.left_children, node)?;
                let right = child("right_children", &nodes.right_children, node)?;
                open.extend([right, left]);
            }
        }
        Ok(live)
    }

    fn child(&self, children: &[Whole], node: usize) -> Child {
        self.children[children[node].0 as usize].expect("children of a live node are live")
    }
}

/// What a leaf has for a left child.
const LEAF: Whole = Whole(-1);

fn child(key: &str, children: &[Whole], node: usize) -> Result<usize, ImportError> {
    let Whole(child) = children[node];
    match usize::try_from(child) {
        Ok(place) if place < children.len() => Ok(place),
        _ => {
            let count = children.len();
            let what = format!("`{key}` of node {node} is {child}: there are {count} nodes");
            Err(ImportError::new(what))
        }
    }
}

fn split(
    nodes: &Nodes,
    node: usize,
    live: &Live,
    sets: &mut BTreeMap<usize, CategorySet>,
) -> Result<Split, ImportError> {
    let left = live.child(&nodes.left_children, node);
    let right = live.child(&nodes.right_children, node);
    let missing = match nodes.default_left[node] {
        Whole(0) => Side::Right,
        Whole(1) => Side::Left,
        Whole(other) => {
            let what = format!("`default_left` of node {node} is {other}, not 0 or 1");
            return Err(ImportError::new(what));
        }
    };
    let feature = usize::try_from(nodes.split_indices[node].0).map_err(|_| feature(nodes, node))?;
    match nodes.split_type.get(node).copied().unwrap_or(Whole(0)) {
        Whole(0) => {
            let threshold = finite("split_conditions", nodes.split_conditions[node].0)
                .map_err(|error| ImportError::new(format!("node {node}: {error}")))?;
            let threshold = single::below(threshold);
            let test = Test::Number { threshold, missing, zero_is_missing: false };
            Ok(Split { feature, test, left, right })
        }
        // The set goes right, so the children change places.
        Whole(1) => {
            let set = sets.remove(&node).ok_or_else(|| {
                let what =
                    format!("`categories_nodes` lacks node {node}, which splits by category");
                ImportError::new(what)
            })?;
            let missing = if missing == Side::Left { Side::Right } else { Side::Left };
            let test = Test::Category { set, missing, coding: Coding::Single };
            Ok(Split { feature, test, left: right, right: left })
        }
        Whole(other) => {
            Err(ImportError::new(format!("`split_type` of node {node} is {other}, not 0 or 1")))
        }
    }
}

fn finite(key: &str, value: f32) -> Result<f32, ImportError> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(ImportError::new(format!("a `{key}` value is {value} in f32")))
}

/// The leaf values of all outputs, leaf after leaf.
fn vectors(nodes: &Nodes, live: &Live, width: usize) -> Result<Vec<f32>, ImportError> {
    let (key, values) = match &nodes.leaf_weights {
        Some(values) => ("leaf_weights", values),
        None => ("base_weights", &nodes.base_weights),
    };
    let wanted = live.leaves.len().saturating_mul(width);
    if values.len() < wanted {
        let what = format!("`{key}` holds {} values for {wanted}", values.len());
        return Err(ImportError::new(what));
    }
    let mut all = Vec::with_capacity(wanted);
    for &node in &live.leaves {
        let place = match nodes.leaf_weights {
            Some(_) if live.leaves.len() == 1 => Some(0),
            Some(_) => usize::try_from(nodes.right_children[node].0).ok(),
            None => Some(node),
        };
        let end = place.and_then(|place| place.checked_add(1)?.checked_mul(width));
        let vector = end.and_then(|end| values.get(end - width..end));
        let Some(vector) = vector else {
            let what = format!("`{key}` has no {width} values for the leaf at node {node}");
            return Err(ImportError::new(what));
        };
        all.extend(vector.iter().map(|value| value.0));
    }
    Ok(all)
}

/// The set of each node that splits by category: `categories`, from a segment's start, as many as
/// its size.
fn category_sets(
    nodes: &Nodes,
    words_left: &mut usize,
) -> Result<BTreeMap<usize, CategorySet>, ImportError> {
    let Nodes { categories, categories_nodes, categories_segments, categories_sizes, .. } = nodes;
    let count = categories_nodes.len();
    if categories_segments.len() != count || categories_sizes.len() != count {
        let what =
            "`categories_segments` and `categories_sizes` are not as many as `categories_nodes`";
        return Err(ImportError::new(what));
    }
    let mut sets = BTreeMap::new();
    for ((node, start), size) in
        categories_nodes.iter().zip(categories_segments).zip(categories_sizes)
    {
        let node = usize::try_from(node.0).ok().filter(|node| *node < nodes.left_children.len());
        let node = node.ok_or_else(|| ImportError::new("`categories_nodes` names no node"))?;
        let range = usize::try_from(start.0).ok().zip(usize::try_from(size.0).ok());
        let codes = range.and_then(|(start, size)| categories.get(start..start.checked_add(size)?));
        let codes = codes.ok_or_else(|| {
            let what = format!(
                "`categories_sizes` of node {node} reaches beyond the {} of `categories`",
                categories.len()
            );
            ImportError::new(what)
        })?;
        if sets.insert(node, set(codes, words_left)?).is_some() {
            return Err(ImportError::new(format!("`categories_nodes` names node {node} twice")));
        }
    }
    Ok(sets)
}

fn set(codes: &[Whole], words_left: &mut usize) -> Result<CategorySet, ImportError> {
    let known = |code: &Whole| u32::try_from(code.0).ok().filter(|code| *code < SINGLE_CODES);
    let mut words = Vec::new();
    for code in codes {
        let Some(known) = known(code) else {
            let what = format!("`categories` holds {}: codes end at {SINGLE_CODES}", code.0);
            return Err(ImportError::new(what));
        };
        let word = known as usize / 32;
        if word >= words.len() {
            let more = word + 1 - words.len();
            *words_left = words_left.checked_sub(more).ok_or_else(|| {
                let megabits = SET_WORDS_MAX / (1 << 15);
                let what = format!("the sets of `categories` need more than {megabits} Mbit");
                ImportError::new(what)
            })?;
            words.resize(word + 1, 0);
        }
        words[word] |= 1 << (known % 32);
    }
    Ok(CategorySet::new(words))
}

fn feature(nodes: &Nodes, node: usize) -> ImportError {
    let Whole(feature) = nodes.split_indices[node];
    ImportError::new(format!("`split_indices` {feature} of node {node} is no feature's number"))
}

/// A fault of the tree's shape in the words of the file.
fn named(nodes: &Nodes, live: &Live, fault: Fault) -> ImportError {
    let node = |child: Child| match child {
        Child::Split(split) => live.splits[split],
        Child::Leaf(leaf) => live.leaves[leaf],
    };
    match fault {
        Fault::Feature { split, .. } => feature(nodes, live.splits[split]),
        Fault::Cycle { split } => {
            let node = live.splits[split];
            ImportError::new(format!("node {node} is below itself: a cycle"))
        }
        Fault::TwoParents(child) => {
            ImportError::new(format!("no tree: node {} has a second parent", node(child)))
        }
        other => ImportError::new(other.to_string()),
    }
}
