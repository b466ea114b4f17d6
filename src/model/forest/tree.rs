//! A tree as every importer gives it: validated, in one normal form.
//!
//! Numeric splits are normalised to "v ≤ threshold goes left" in f64. That covers the libraries
//! that compare otherwise: a strict "<" in f32 has an f64 threshold at which exactly the same
//! values go left ([`single`](super::single)).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A binary tree with a number at each leaf, or one for each of several outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    splits: Vec<Split>,
    /// Leaves × outputs.
    leaves: Vec<f64>,
    outputs: Range<usize>,
    linear: Vec<Linear>,
    /// What each split gained in training, if the file says. No score depends on it.
    gains: Vec<f64>,
    depth: usize,
}

/// A leaf that is a linear function: intercept + Σ coefficient · v, added in order. If one of the
/// features is NaN, the leaf's plain value stands in.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    pub intercept: f64,
    pub terms: Vec<Term>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Term {
    /// A column of the matrix.
    pub feature: usize,
    pub coefficient: f64,
}

/// An inner node. The root is split 0, or the only leaf of a tree without splits.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// A column of the matrix.
    pub feature: usize,
    pub test: Test,
    pub left: Child,
    pub right: Child,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// v ≤ threshold goes left, NaN goes to the side of `missing`.
    Number {
        threshold: f64,
        missing: Side,
        /// Zeros, which are all |v| ≤ [`ZERO`], are missing too.
        zero_is_missing: bool,
    },
    /// A category of the set goes left, every other goes right, NaN to the side of `missing`.
    Category { set: CategorySet, missing: Side, coding: Coding },
}

/// How a number names a category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coding {
    /// Truncated toward zero, so that -0.5 is category 0: LightGBM.
    Truncated,
    /// Rounded to f32, then truncated; below 0 there is none, not even at -0.5: XGBoost.
    Single,
}

/// LightGBM's `kZeroThreshold`, which is an f32.
pub const ZERO: f64 = 1e-35_f32 as f64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    Split(usize),
    Leaf(usize),
}

/// A set of category codes, one bit a code. Copies share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CategorySet {
    words: Arc<[u32]>,
}

/// Deeper trees are refused: time to score grows with depth, and nothing grows such trees.
pub const DEPTH_MAX: usize = 1024;

/// Why splits and leaves are no tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the {side} child of node {split} is out of range")]
    Child { split: usize, side: Side },
    #[error("feature {feature} of node {split} is out of range")]
    Feature { split: usize, feature: usize },
    #[error("node {split} is below itself: a cycle")]
    Cycle { split: usize },
    #[error("no tree: {0} has a second parent")]
    TwoParents(Child),
    #[error("no tree: {0} has no parent")]
    NoParent(Child),
    #[error("a depth of more than {DEPTH_MAX}")]
    TooDeep,
}

impl Tree {
    /// Checks that the nodes make up one tree: each is reached from the root, once, by indices in
    /// range, at a depth of [`DEPTH_MAX`] at most, and tests one of `features` columns.
    ///
    /// `leaves` holds leaf after leaf a number for each of `outputs`, the outputs that the tree
    /// adds to.
    pub fn new(
        splits: Vec<Split>,
        leaves: Vec<f64>,
        outputs: Range<usize>,
        features: usize,
    ) -> Result<Self, Fault> {
        assert!(leaves.len().is_multiple_of(outputs.len()), "a number a leaf and output");
        for (split, Split { feature, .. }) in splits.iter().enumerate() {
            if *feature >= features {
                return Err(Fault::Feature { split, feature: *feature });
            }
        }
        let depth = Walk::over(&splits, leaves.len() / outputs.len())?;
        Ok(Self { splits, leaves, outputs, linear: Vec::new(), gains: Vec::new(), depth })
    }

    pub fn root(&self) -> Child {
        if self.splits.is_empty() { Child::Leaf(0) } else { Child::Split(0) }
    }

    pub fn splits(&self) -> &[Split] {
        &self.splits
    }

    /// The number of leaves.
    pub fn leaves(&self) -> usize {
        self.leaves.len() / self.outputs.len()
    }

    /// The values of a leaf, one for each of the tree's outputs.
    pub fn leaf(&self, leaf: usize) -> &[f64] {
        let width = self.outputs.len();
        &self.leaves[leaf * width..(leaf + 1) * width]
    }

    /// The tree with other leaf values.
    pub fn map_leaves(mut self, value: impl Fn(f64) -> f64) -> Self {
        self.leaves.iter_mut().for_each(|leaf| *leaf = value(*leaf));
        self
    }

    /// The outputs that the tree adds to.
    pub fn outputs(&self) -> Range<usize> {
        self.outputs.clone()
    }

    /// Makes each leaf a linear function. `linear` is one a leaf; their features are in range.
    ///
    /// # Panics
    /// If the tree has several outputs: no library grows such trees.
    pub fn with_linear(self, linear: Vec<Linear>) -> Self {
        assert_eq!(linear.len(), self.leaves.len(), "linear functions");
        Self { linear, ..self }
    }

    /// Notes what each split gained in training; empty if unknown.
    pub fn with_gains(self, gains: Vec<f64>) -> Self {
        assert!(gains.is_empty() || gains.len() == self.splits.len(), "gains");
        Self { gains, ..self }
    }

    /// What each split gained in training, in its library's own measure; empty if unknown.
    pub fn gains(&self) -> &[f64] {
        &self.gains
    }

    /// The linear function of each leaf, if the tree has any.
    pub fn linear(&self) -> &[Linear] {
        &self.linear
    }

    /// Splits on the longest way from the root to a leaf.
    pub fn depth(&self) -> usize {
        self.depth
    }
}

/// The walk from the root that [`Tree::new`] checks by.
struct Walk<'a> {
    splits: &'a [Split],
    /// Parent of each split that was reached; the root is its own.
    parents: Vec<Option<usize>>,
    reached_leaves: Vec<bool>,
}

impl Walk<'_> {
    /// The depth of the tree.
    fn over(splits: &[Split], leaves: usize) -> Result<usize, Fault> {
        let mut walk =
            Walk { splits, parents: vec![None; splits.len()], reached_leaves: vec![false; leaves] };
        let mut depth = 0;
        if splits.is_empty() {
            walk.reach(0, Side::Left, Child::Leaf(0))?;
        } else {
            walk.parents[0] = Some(0);
            let mut open = vec![(0, 1)];
            while let Some((split, level)) = open.pop() {
                depth = depth.max(level);
                if depth > DEPTH_MAX {
                    return Err(Fault::TooDeep);
                }
                let Split { left, right, .. } = splits[split];
                for (side, child) in [(Side::Left, left), (Side::Right, right)] {
                    walk.reach(split, side, child)?;
                    if let Child::Split(below) = child {
                        open.push((below, level + 1));
                    }
                }
            }
        }
        walk.all_reached()?;
        Ok(depth)
    }

    fn reach(&mut self, parent: usize, side: Side, child: Child) -> Result<(), Fault> {
        let out_of_range = Fault::Child { split: parent, side };
        match child {
            Child::Leaf(leaf) => {
                let reached = self.reached_leaves.get_mut(leaf).ok_or(out_of_range)?;
                if std::mem::replace(reached, true) {
                    return Err(Fault::TwoParents(child));
                }
            }
            Child::Split(split) => {
                let known = self.parents.get_mut(split).ok_or(out_of_range)?;
                if known.is_none() {
                    *known = Some(parent);
                } else if self.is_above(split, parent) {
                    return Err(Fault::Cycle { split });
                } else {
                    return Err(Fault::TwoParents(child));
                }
            }
        }
        Ok(())
    }

    /// Is `split` on the way from `node`, included, up to the root?
    fn is_above(&self, split: usize, mut node: usize) -> bool {
        loop {
            match self.parents[node] {
                _ if node == split => return true,
                Some(parent) if parent != node => node = parent,
                _ => return false,
            }
        }
    }

    fn all_reached(&self) -> Result<(), Fault> {
        if let Some(split) = self.parents.iter().position(Option::is_none) {
            return Err(Fault::NoParent(Child::Split(split)));
        }
        if let Some(leaf) = self.reached_leaves.iter().position(|reached| !reached) {
            return Err(Fault::NoParent(Child::Leaf(leaf)));
        }
        debug_assert_eq!(self.splits.len() + 1, self.reached_leaves.len());
        Ok(())
    }
}

impl CategorySet {
    /// Bit b of word w stands for category 32 · w + b.
    pub fn new(words: Vec<u32>) -> Self {
        Self { words: words.into() }
    }

    pub fn words(&self) -> &[u32] {
        &self.words
    }
}

/// Is `code` in the set whose words these are? Codes beyond the words are not.
pub fn contains(words: &[u32], code: u32) -> bool {
    words.get(code as usize / 32).is_some_and(|word| word >> (code % 32) & 1 == 1)
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

impl fmt::Display for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split(split) => write!(f, "node {split}"),
            Self::Leaf(leaf) => write!(f, "leaf {leaf}"),
        }
    }
}
