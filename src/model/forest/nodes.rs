//! Trees as flat nodes: for few rows, and for trees with too many leaves for bit-planes.
//!
//! A node is 16 bytes, its children stand side by side, and a step is `next + right`. A leaf
//! steps onto itself, so rows walk in lockstep without asking which of them have arrived: sixteen
//! walks at once hide each other's cache misses.
//!
//! Nodes are counted in u32: a model file of less than 4 GiB has no more.

use std::ops::Range;

use super::inputs::{Input, Inputs};
use super::plus;
use super::tree::{CategorySet, Child, Linear, Side, Split, Term, Test, Tree, ZERO, contains};

/// Rows that walk down a tree together.
const LANES: usize = 16;

/// All trees of an ensemble.
#[derive(Debug)]
pub struct Nodes {
    nodes: Vec<Node>,
    /// Of each tree, by number.
    roots: Vec<Root>,
    /// Of each split by category.
    sets: Vec<CategorySet>,
    linear: Vec<LinearLeaf>,
    /// The values of leaves that have several, leaf after leaf.
    vectors: Vec<f64>,
    width: usize,
}

#[derive(Debug)]
struct Root {
    node: u32,
    outputs: Range<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// Numeric split: the threshold. Categorical split: the number of its set. Leaf: its value.
    /// Linear leaf: the number of its function. Leaf of several values: where they begin.
    value: f64,
    /// The left child; the right one stands after it. Of a leaf, itself.
    next: u32,
    /// The input to test, and in the bits above what kind of node this is.
    bits: u32,
}

/// A leaf that is a linear function of a row.
#[derive(Debug)]
struct LinearLeaf {
    intercept: f64,
    /// Input and coefficient.
    terms: Vec<(usize, f64)>,
    /// The value where an input is missing.
    value: f64,
}

const LINEAR: u32 = 1 << 28;
const MISSING_GOES_RIGHT: u32 = 1 << 29;
const CATEGORY: u32 = 1 << 30;
const LEAF: u32 = 1 << 31;
const INPUT: u32 = LINEAR - 1;

impl Node {
    fn is(&self, kind: u32) -> bool {
        self.bits & kind != 0
    }

    fn leaf(value: f64, place: usize) -> Self {
        Self { value, next: place as u32, bits: LEAF }
    }
}

impl Nodes {
    pub fn new(trees: &[Tree], inputs: &Inputs) -> Self {
        let mut all = Self {
            nodes: Vec::new(),
            roots: Vec::new(),
            sets: Vec::new(),
            linear: Vec::new(),
            vectors: Vec::new(),
            width: inputs.width(),
        };
        for tree in trees {
            all.push(tree, inputs);
        }
        all
    }

    /// Memory taken.
    pub fn bytes(&self) -> usize {
        let linear = self.linear.iter().map(|leaf| size_of_val(leaf.terms.as_slice()));
        size_of_val(self.nodes.as_slice())
            + size_of_val(self.roots.as_slice())
            + size_of_val(self.sets.as_slice())
            + size_of_val(self.vectors.as_slice())
            + size_of_val(self.linear.as_slice())
            + linear.sum::<usize>()
    }

    /// Each numeric split: the place of its input, and its threshold.
    pub fn thresholds(&self) -> impl Iterator<Item = (usize, f64)> {
        let numeric = self.nodes.iter().filter(|node| !node.is(LEAF | CATEGORY));
        numeric.map(|node| ((node.bits & INPUT) as usize, node.value))
    }

    /// Appends a tree level by level: what is walked first stands together.
    fn push(&mut self, tree: &Tree, inputs: &Inputs) {
        let root = self.nodes.len();
        self.roots.push(Root { node: root as u32, outputs: tree.outputs() });
        self.nodes.push(Node::leaf(0.0, root));
        let mut level = vec![(tree.root(), root)];
        while !level.is_empty() {
            let mut below = Vec::new();
            for (child, place) in level {
                match child {
                    Child::Leaf(leaf) => self.nodes[place] = self.leaf(tree, leaf, place, inputs),
                    Child::Split(split) => {
                        let split = &tree.splits()[split];
                        let next = self.nodes.len();
                        self.nodes[place] = self.split(split, next, inputs);
                        self.nodes.extend([Node::leaf(0.0, next), Node::leaf(0.0, next + 1)]);
                        below.extend([(split.left, next), (split.right, next + 1)]);
                    }
                }
            }
            level = below;
        }
    }

    fn leaf(&mut self, tree: &Tree, leaf: usize, place: usize, inputs: &Inputs) -> Node {
        let values = tree.leaf(leaf);
        let &[value] = values else {
            self.vectors.extend(values);
            return Node::leaf((self.vectors.len() - values.len()) as f64, place);
        };
        let Some(Linear { intercept, terms }) = tree.linear().get(leaf) else {
            return Node::leaf(value, place);
        };
        let input = |term: &Term| inputs.place(Input::number(term.feature));
        let terms = terms.iter().map(|term| (input(term), term.coefficient)).collect();
        self.linear.push(LinearLeaf { intercept: *intercept, terms, value });
        let number = (self.linear.len() - 1) as f64;
        Node { bits: LEAF | LINEAR, ..Node::leaf(number, place) }
    }

    fn split(&mut self, split: &Split, next: usize, inputs: &Inputs) -> Node {
        let input = inputs.place(Input::of(split)) as u32;
        let (value, kind) = match &split.test {
            Test::Number { threshold, missing: Side::Left, .. } => (*threshold, 0),
            Test::Number { threshold, missing: Side::Right, .. } => {
                (*threshold, MISSING_GOES_RIGHT)
            }
            Test::Category { set, missing, .. } => {
                self.sets.push(set.clone());
                let side = if *missing == Side::Right { MISSING_GOES_RIGHT } else { 0 };
                ((self.sets.len() - 1) as f64, CATEGORY | side)
            }
        };
        Node { value, next: next as u32, bits: input | kind }
    }

    /// Adds to each row's sums its leaf's values of tree number `tree`; `SINGLE` as in [`plus`].
    /// `rows` is as many rows of [`Inputs::read_rows`] as there are sums, or fewer.
    pub fn add<const ROWS: usize, const SINGLE: bool>(
        &self,
        tree: usize,
        rows: &[f64],
        sums: &mut [[f64; ROWS]],
    ) {
        let Root { node, outputs } = &self.roots[tree];
        let sums = &mut sums[outputs.clone()];
        for (group, rows) in rows.chunks(LANES * self.width).enumerate() {
            let exits = self.exits(*node, rows);
            let rows = rows.chunks_exact(self.width);
            for ((lane, exit), row) in exits.into_iter().enumerate().zip(rows) {
                let leaf = &self.nodes[exit as usize];
                let sums = sums.iter_mut().map(|sums| &mut sums[group * LANES + lane]);
                for (output, sum) in sums.enumerate() {
                    let value = match outputs.len() {
                        1 => self.value(leaf, row),
                        _ => self.vectors[leaf.value as usize + output],
                    };
                    *sum = plus::<SINGLE>(*sum, value);
                }
            }
        }
    }

    /// The leaf that each of up to [`LANES`] rows reaches from the root at `node`.
    fn exits(&self, node: u32, rows: &[f64]) -> [u32; LANES] {
        let mut places = [node; LANES];
        loop {
            let mut moved = 0;
            for (place, row) in places.iter_mut().zip(rows.chunks_exact(self.width)) {
                let next = self.step(&self.nodes[*place as usize], row);
                moved |= *place ^ next;
                *place = next;
            }
            if moved == 0 {
                return places;
            }
        }
    }

    #[inline]
    fn step(&self, node: &Node, row: &[f64]) -> u32 {
        let v = row[(node.bits & INPUT) as usize];
        let beyond = if node.is(CATEGORY) {
            !v.is_nan() && !self.set_holds(node.value as usize, v)
        } else {
            v > node.value
        };
        let right = beyond | (v.is_nan() & node.is(MISSING_GOES_RIGHT));
        node.next + u32::from(right & !node.is(LEAF))
    }

    fn value(&self, leaf: &Node, row: &[f64]) -> f64 {
        if leaf.is(LINEAR) { self.linear[leaf.value as usize].at(row) } else { leaf.value }
    }

    fn set_holds(&self, set: usize, code: f64) -> bool {
        contains(self.sets[set].words(), code as u32)
    }
}

impl LinearLeaf {
    fn at(&self, row: &[f64]) -> f64 {
        let mut sum = self.intercept;
        for (input, coefficient) in &self.terms {
            let v = row[*input];
            if v.is_nan() {
                return self.value;
            }
            sum += coefficient * if v.abs() <= ZERO { 0.0 } else { v };
        }
        sum
    }
}
