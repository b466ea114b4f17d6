//! One `Tree=` block, brought into the neutral form.

use crate::model::forest::tree::{
    CategorySet, Child, Coding, Fault, Linear, Side, Split, Term, Test, Tree, ZERO,
};
use crate::model::import::ImportError;

use super::header::Header;
use super::section::{Lines, Section};

const KEYS: [&str; 22] = [
    "num_leaves",
    "num_cat",
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
    "leaf_weight",
    "leaf_count",
    "internal_value",
    "internal_weight",
    "internal_count",
    "cat_boundaries",
    "cat_threshold",
    "is_linear",
    "leaf_const",
    "num_features",
    "leaf_features",
    "leaf_coeff",
    // Leaf values already hold it.
    "shrinkage",
];

const REQUIRED: [&str; 2] = ["num_leaves", "leaf_value"];

/// Reads the block of tree number `index`.
pub fn read(lines: &mut Lines<'_>, index: usize, header: &Header) -> Result<Tree, ImportError> {
    read_block(lines, index, header).map_err(|error| error.in_tree(index))
}

fn read_block(lines: &mut Lines<'_>, index: usize, header: &Header) -> Result<Tree, ImportError> {
    let features = header.names.len();
    if let Some(line) = lines.next()
        && line.text != format!("Tree={index}").as_bytes()
    {
        let what = format!("expected `Tree={index}`, found `{}`", line.text.escape_ascii());
        return Err(ImportError::new(what).at_line(line.number));
    }
    let block = Section::read(lines, &KEYS, &REQUIRED)?;
    let leaves = leaf_values(&block)?;
    let linear = linear(&block, leaves.len(), features)?;
    let splits = splits(&block, leaves.len())?;
    let gains = gains(&block, splits.len())?;
    let output = index % header.trees_per_iteration;
    let tree = Tree::new(splits, leaves, output..output + 1, features);
    let tree = tree.map_err(|fault| named(&block, fault, features))?;
    let tree = tree.with_gains(gains);
    Ok(match linear {
        Some(linear) => tree.with_linear(linear),
        None => tree,
    })
}

fn leaf_values(block: &Section<'_>) -> Result<Vec<f64>, ImportError> {
    let count: usize = block.number("num_leaves")?;
    if count == 0 {
        return Err(block.field("num_leaves")?.error("num_leaves=0: a tree has a leaf at least"));
    }
    finite(block, "leaf_value", count, &format!("num_leaves={count}"))
}

/// What each split gained, if the block says.
fn gains(block: &Section<'_>, splits: usize) -> Result<Vec<f64>, ImportError> {
    if block.optional("split_gain").is_none() {
        return Ok(Vec::new());
    }
    block.list("split_gain", splits, "num_leaves")
}

/// A list whose numbers must be finite.
fn finite(
    block: &Section<'_>,
    key: &str,
    count: usize,
    because: &str,
) -> Result<Vec<f64>, ImportError> {
    let values: Vec<f64> = block.list(key, count, because)?;
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(block.field(key)?.error(format!("a `{key}` is {value}"))),
        None => Ok(values),
    }
}

/// The functions of the leaves, where `linear_tree=1` made them: the terms of all leaves end to
/// end, `num_features` of them a leaf.
fn linear(
    block: &Section<'_>,
    leaves: usize,
    features: usize,
) -> Result<Option<Vec<Linear>>, ImportError> {
    if block.optional("is_linear").is_none_or(|field| field.value == "0") {
        return Ok(None);
    }
    let because = format!("num_leaves={leaves}");
    let intercepts = finite(block, "leaf_const", leaves, &because)?;
    let counts: Vec<usize> = block.list("num_features", leaves, &because)?;
    let listed = block.field("leaf_features")?.words().count();
    let counted = counts.iter().try_fold(0_usize, |sum, &count| sum.checked_add(count));
    if counted != Some(listed) {
        let what = format!("`num_features` does not add up to the {listed} of `leaf_features`");
        return Err(block.field("num_features")?.error(what));
    }
    let columns: Vec<usize> = block.list("leaf_features", listed, "num_features")?;
    let coefficients = finite(block, "leaf_coeff", listed, "num_features")?;
    if let Some(column) = columns.iter().find(|column| **column >= features) {
        let what = format!("`leaf_features` {column}: the model has {features} features");
        return Err(block.field("leaf_features")?.error(what));
    }
    let mut terms = columns
        .into_iter()
        .zip(coefficients)
        .map(|(feature, coefficient)| Term { feature, coefficient });
    let functions = intercepts.into_iter().zip(counts).map(|(intercept, count)| Linear {
        intercept,
        terms: terms.by_ref().take(count).collect(),
    });
    Ok(Some(functions.collect()))
}

/// The inner nodes, one less than leaves.
fn splits(block: &Section<'_>, leaves: usize) -> Result<Vec<Split>, ImportError> {
    if leaves == 1 {
        return Ok(Vec::new());
    }
    let (count, because) = (leaves - 1, format!("num_leaves={leaves}"));
    let features: Vec<usize> = block.list("split_feature", count, &because)?;
    let thresholds: Vec<f64> = block.list("threshold", count, &because)?;
    let types: Vec<u8> = block.list("decision_type", count, &because)?;
    let left: Vec<i32> = block.list("left_child", count, &because)?;
    let right: Vec<i32> = block.list("right_child", count, &because)?;
    let mut sets = category_sets(block)?;
    (0..count)
        .map(|node| {
            Ok(Split {
                feature: features[node],
                test: test(block, thresholds[node], types[node], &mut sets)?,
                left: child(left[node]),
                right: child(right[node]),
            })
        })
        .collect()
}

/// A child below zero is the complement of a leaf's number.
fn child(number: i32) -> Child {
    match usize::try_from(number) {
        Ok(split) => Child::Split(split),
        Err(_) => Child::Leaf(!number as usize),
    }
}

/// Bit 0 of `decision_type`: categorical; bit 1: what is missing goes left; bits 2 and 3: what
/// counts as missing (0 nothing, 1 zero and NaN, 2 NaN).
fn test(
    block: &Section<'_>,
    threshold: f64,
    decision_type: u8,
    sets: &mut [Option<CategorySet>],
) -> Result<Test, ImportError> {
    if threshold.is_nan() {
        return Err(block.field("threshold")?.error("a `threshold` is NaN"));
    }
    let side = if decision_type & 2 == 2 { Side::Left } else { Side::Right };
    match (decision_type & 1, decision_type >> 2) {
        (1, 0..=2) => Ok(Test::Category {
            set: category(block, threshold, sets)?,
            missing: Side::Right,
            coding: Coding::Truncated,
        }),
        (0, 0) => {
            // NaN is read as 0.
            let missing = if threshold >= 0.0 { Side::Left } else { Side::Right };
            Ok(Test::Number { threshold: snapped(threshold), missing, zero_is_missing: false })
        }
        (0, 1) => Ok(Test::Number { threshold, missing: side, zero_is_missing: true }),
        (0, 2) => Ok(Test::Number {
            threshold: snapped(threshold),
            missing: side,
            zero_is_missing: false,
        }),
        _ => {
            let what = format!("`decision_type` {decision_type} does not exist");
            Err(block.field("decision_type")?.error(what))
        }
    }
}

/// The threshold at which plain values part as values do that are first rounded to 0 when they
/// are within ±[`ZERO`]: that whole interval goes one way.
fn snapped(threshold: f64) -> f64 {
    if threshold >= 0.0 { threshold.max(ZERO) } else { threshold.min((-ZERO).next_down()) }
}

/// A categorical split's threshold is the number of its set. No two splits share one, so what a
/// file makes us hold is no larger than the file.
fn category(
    block: &Section<'_>,
    threshold: f64,
    sets: &mut [Option<CategorySet>],
) -> Result<CategorySet, ImportError> {
    let count = sets.len();
    let known = threshold >= 0.0 && threshold < count as f64;
    let set = if known { sets[threshold as usize].take() } else { None };
    match set {
        Some(set) => Ok(set),
        None => {
            let fault =
                if known { "is the set of another split too" } else { "is no set's number" };
            let what = format!("`threshold` {threshold} of a category {fault} (num_cat={count})");
            Err(block.field("threshold")?.error(what))
        }
    }
}

/// Set i is the words `cat_boundaries[i]..cat_boundaries[i + 1]` of `cat_threshold`, 32 bits each.
fn category_sets(block: &Section<'_>) -> Result<Vec<Option<CategorySet>>, ImportError> {
    let count: usize = block.number("num_cat")?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let because = format!("num_cat={count}");
    let bounds: Vec<usize> = block.list("cat_boundaries", count.saturating_add(1), &because)?;
    if bounds[0] != 0 || !bounds.is_sorted() {
        return Err(block.field("cat_boundaries")?.error("`cat_boundaries` must rise from 0"));
    }
    let length = bounds[count];
    let because = format!("the last of cat_boundaries, {length},");
    let words: Vec<u32> = block.list("cat_threshold", length, &because)?;
    let sets = bounds.windows(2).map(|pair| CategorySet::new(words[pair[0]..pair[1]].to_vec()));
    Ok(sets.map(Some).collect())
}

/// A fault of the tree's shape in the words of the file.
fn named(block: &Section<'_>, fault: Fault, features: usize) -> ImportError {
    let (key, what) = match fault {
        Fault::Child { split, side: Side::Left } => {
            ("left_child", format!("`left_child` of node {split} is out of range"))
        }
        Fault::Child { split, side: Side::Right } => {
            ("right_child", format!("`right_child` of node {split} is out of range"))
        }
        Fault::Feature { split, feature } => {
            let what = format!(
                "`split_feature` {feature} of node {split}: the model has {features} features"
            );
            ("split_feature", what)
        }
        other => ("left_child", other.to_string()),
    };
    let error = ImportError::new(what);
    match block.optional(key) {
        Some(field) => error.at_line(field.line),
        None => error,
    }
}
