//! Trees as bit-planes: every split of a tree is tested for many rows at once, without a branch
//! (QuickScorer, Lucchese et al. 2015; RapidScorer, Ye et al. 2018).
//!
//! Stand a tree's leaves in a row, those below one child of a split before those below the other.
//! A row that goes to the other child can reach no leaf below the *first*; strike those off,
//! whatever the order of the splits, and the exit leaf is the first that is left. The set of leaves
//! is kept as bytes, eight leaves a *plane*, one byte a row. First is whichever child has fewer
//! leaves: so a split's lie in one plane, seldom in more.
//!
//! The time grows with the splits of a tree, not with its depth, and still is a fifth of that of
//! walking down where a tree has 255 leaves.

use std::ops::Range;

use multiversion::multiversion;

use super::bins::{Bins, Cut};
use super::plus;
use super::tree::{Child, Side, Split, Tree};

/// A leaf's number is a byte.
pub const LEAVES_MAX: usize = 256;

/// Some trees of an ensemble, in their order.
#[derive(Debug, Default)]
pub struct Planes {
    bins: Bins,
    trees: Vec<PlaneTree>,
    /// A tree's stand together, last plane first.
    planes: Vec<Plane>,
    compares: Vec<Compare>,
    lookups: Vec<Lookup>,
    /// From a tree's first leaf on at least [`LEAVES_MAX`] of them for each of its outputs.
    leaves: Vec<f64>,
}

#[derive(Debug)]
struct PlaneTree {
    planes: Range<usize>,
    outputs: Range<usize>,
    /// The values for each output stand together.
    first_leaf: usize,
    leaves: usize,
}

/// The splits that strike off some of leaves 8 · number to 8 · number + 7. Of each kind, those
/// whose left child stands first, which strike where a row goes right, and then the others.
#[derive(Debug)]
struct Plane {
    number: u8,
    compares: [Range<usize>; 2],
    lookups: [Range<usize>; 2],
}

/// Rows whose byte is below `limit` go left; those struck keep of the plane's leaves only `keep`.
#[derive(Debug, Clone, Copy)]
struct Compare {
    column: u16,
    limit: i8,
    keep: u8,
}

/// Rows whose byte has `bit` go left.
#[derive(Debug, Clone, Copy)]
struct Lookup {
    column: u16,
    bit: u8,
    keep: u8,
}

impl Planes {
    /// `None` if the splits of these trees need more columns than a `u16` can name, or tables of
    /// categories that are too large. The trees have at most [`LEAVES_MAX`] leaves.
    pub fn new<'a>(trees: impl Iterator<Item = &'a Tree> + Clone) -> Option<Self> {
        let bins = Bins::of(trees.clone().flat_map(Tree::splits))?;
        if bins.columns() > usize::from(u16::MAX) {
            return None;
        }
        let mut all = Self { bins, ..Self::default() };
        for tree in trees {
            all.push(tree);
        }
        // Whichever leaf a tree begins with, a whole table of them follows.
        all.leaves.extend([0.0; LEAVES_MAX]);
        Some(all)
    }

    /// Memory taken.
    pub fn bytes(&self) -> usize {
        self.bins.bytes()
            + size_of_val(self.trees.as_slice())
            + size_of_val(self.planes.as_slice())
            + size_of_val(self.compares.as_slice())
            + size_of_val(self.lookups.as_slice())
            + size_of_val(self.leaves.as_slice())
    }

    pub fn bins(&self) -> &Bins {
        &self.bins
    }

    fn push(&mut self, tree: &Tree) {
        let order = LeafOrder::of(tree);
        let first_leaf = self.leaves.len();
        for output in 0..tree.outputs().len() {
            self.leaves.extend(order.leaves.iter().map(|leaf| tree.leaf(*leaf)[output]));
        }
        let first_plane = self.planes.len();
        for (number, draft) in self.drafts(tree, &order).into_iter().enumerate().rev() {
            let compares = draft.compares.map(|some| appended(&mut self.compares, some));
            let lookups = draft.lookups.map(|some| appended(&mut self.lookups, some));
            self.planes.push(Plane { number: number as u8, compares, lookups });
        }
        let planes = first_plane..self.planes.len();
        let (outputs, leaves) = (tree.outputs(), order.leaves.len());
        self.trees.push(PlaneTree { planes, outputs, first_leaf, leaves });
    }

    /// The splits of a tree by the planes that they strike leaves of.
    fn drafts(&self, tree: &Tree, order: &LeafOrder) -> Vec<Draft> {
        let mut drafts = vec![Draft::default(); order.leaves.len().div_ceil(8)];
        for (split, (side, struck)) in tree.splits().iter().zip(&order.first) {
            let cut = self.bins.cut(split);
            let mirrored = usize::from(*side == Side::Right);
            let (first, last) = (struck.start / 8, (struck.end - 1) / 8);
            for (number, draft) in (first..).zip(&mut drafts[first..=last]) {
                let keep = !plane_byte(struck, number);
                match cut {
                    Cut::Below { column, limit } => {
                        let compare = Compare { column: column as u16, limit, keep };
                        draft.compares[mirrored].push(compare);
                    }
                    Cut::With { column, bit } => {
                        let lookup = Lookup { column: column as u16, bit, keep };
                        draft.lookups[mirrored].push(lookup);
                    }
                }
            }
        }
        drafts
    }
}

/// A plane in the making.
#[derive(Debug, Clone, Default)]
struct Draft {
    compares: [Vec<Compare>; 2],
    lookups: [Vec<Lookup>; 2],
}

/// Appends, and says where.
fn appended<T>(all: &mut Vec<T>, some: Vec<T>) -> Range<usize> {
    let start = all.len();
    all.extend(some);
    start..all.len()
}

/// Those leaves of `leaves` that lie in a plane, a bit each.
fn plane_byte(leaves: &Range<usize>, plane: usize) -> u8 {
    let [start, end] = [leaves.start, leaves.end].map(|leaf| leaf.saturating_sub(8 * plane).min(8));
    ((1_u16 << end) - (1 << start)) as u8
}

/// A tree's leaves in the order that planes have them in.
struct LeafOrder {
    /// Numbers of leaves in the tree.
    leaves: Vec<usize>,
    /// Of each split, the child that stands first, and the places in `leaves` of those below it.
    first: Vec<(Side, Range<usize>)>,
}

impl LeafOrder {
    fn of(tree: &Tree) -> Self {
        let mut sizes = vec![0; tree.splits().len()];
        count_leaves(tree, tree.root(), &mut sizes);
        let first = vec![(Side::Left, 0..0); tree.splits().len()];
        let mut order = Self { leaves: Vec::new(), first };
        order.visit(tree, tree.root(), &sizes);
        order
    }

    /// Recursion is no deeper than a tree of [`LEAVES_MAX`] leaves is.
    fn visit(&mut self, tree: &Tree, child: Child, sizes: &[usize]) {
        match child {
            Child::Leaf(leaf) => self.leaves.push(leaf),
            Child::Split(split) => {
                let Split { left, right, .. } = tree.splits()[split];
                let (side, first, second) = if size(left, sizes) <= size(right, sizes) {
                    (Side::Left, left, right)
                } else {
                    (Side::Right, right, left)
                };
                let begin = self.leaves.len();
                self.visit(tree, first, sizes);
                self.first[split] = (side, begin..self.leaves.len());
                self.visit(tree, second, sizes);
            }
        }
    }
}

/// Fills in the leaves below each split, and says how many there are below `child`.
fn count_leaves(tree: &Tree, child: Child, sizes: &mut [usize]) -> usize {
    if let Child::Split(split) = child {
        let Split { left, right, .. } = tree.splits()[split];
        sizes[split] = count_leaves(tree, left, sizes) + count_leaves(tree, right, sizes);
    }
    size(child, sizes)
}

fn size(child: Child, sizes: &[usize]) -> usize {
    match child {
        Child::Leaf(_) => 1,
        Child::Split(split) => sizes[split],
    }
}

/// Adds to each row's sums its leaf's values of the tree at `place`; `SINGLE` as in
/// [`plus`](super::plus). `columns` are those that [`fill`](super::bins::fill) gives.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn add<const ROWS: usize, const SINGLE: bool>(
    planes: &Planes,
    place: usize,
    columns: &[[i8; ROWS]],
    sums: &mut [[f64; ROWS]],
) {
    let tree = &planes.trees[place];
    let exits = exit_leaves(planes, tree, columns);
    let mut leaves = &planes.leaves[tree.first_leaf..];
    for sums in &mut sums[tree.outputs.clone()] {
        let table = leaves.first_chunk::<LEAVES_MAX>();
        let table = table.expect("a table of leaves follows each tree's first");
        for (sum, exit) in sums.iter_mut().zip(exits) {
            *sum = plus::<SINGLE>(*sum, table[usize::from(exit)]);
        }
        leaves = &leaves[tree.leaves..];
    }
}

/// Each row's leaf. Every step is a small loop of its own over the bytes of all rows: that is
/// what LLVM makes vector code of.
#[inline(always)]
fn exit_leaves<const ROWS: usize>(
    planes: &Planes,
    tree: &PlaneTree,
    columns: &[[i8; ROWS]],
) -> [u8; ROWS] {
    let mut first = [0_u8; ROWS];
    let mut leaf = [0_u8; ROWS];
    for plane in &planes.planes[tree.planes.clone()] {
        let mut left = [0xff_u8; ROWS];
        let [compares, mirrored] = &plane.compares;
        for &Compare { column, limit, keep } in &planes.compares[compares.clone()] {
            strike(&mut left, &columns[column as usize], keep, |byte| byte >= limit);
        }
        for &Compare { column, limit, keep } in &planes.compares[mirrored.clone()] {
            strike(&mut left, &columns[column as usize], keep, |byte| byte < limit);
        }
        let [lookups, mirrored] = &plane.lookups;
        for &Lookup { column, bit, keep } in &planes.lookups[lookups.clone()] {
            strike(&mut left, &columns[column as usize], keep, |byte| byte as u8 & bit == 0);
        }
        for &Lookup { column, bit, keep } in &planes.lookups[mirrored.clone()] {
            strike(&mut left, &columns[column as usize], keep, |byte| byte as u8 & bit != 0);
        }
        let base = 8 * plane.number;
        for (leaf, left) in leaf.iter_mut().zip(&left) {
            *leaf = if *left != 0 { base } else { *leaf };
        }
        for (first, left) in first.iter_mut().zip(&left) {
            *first = if *left != 0 { *left } else { *first };
        }
    }
    for (bits, leaf) in first.iter().zip(&mut leaf) {
        let lowest = bits & bits.wrapping_neg();
        *leaf |= if lowest & 0b1010_1010 != 0 { 1 } else { 0 };
        *leaf |= if lowest & 0b1100_1100 != 0 { 2 } else { 0 };
        *leaf |= if lowest & 0b1111_0000 != 0 { 4 } else { 0 };
    }
    leaf
}

/// Rows that are `struck` keep of a plane's leaves only `keep`.
#[inline(always)]
fn strike<const ROWS: usize>(
    left: &mut [u8; ROWS],
    column: &[i8; ROWS],
    keep: u8,
    struck: impl Fn(i8) -> bool,
) {
    for (left, byte) in left.iter_mut().zip(column) {
        *left &= if struck(*byte) { keep } else { 0xff };
    }
}
