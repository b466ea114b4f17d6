//! The engine: an ensemble of decision trees, evaluated a block of rows at a time.
//!
//! Trees come from importers in one neutral form ([`tree`]); here they get the form that is
//! fastest for them, and their leaf values are added in tree order, from 0.0, in f64: the sums
//! are those of LightGBM, bit for bit.

pub mod bins;
pub mod inputs;
pub mod link;
pub mod nodes;
pub mod planes;
pub mod search;
pub mod tree;

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, s};

use crate::features::contract::Term;
use inputs::Inputs;
use link::Link;
use nodes::Nodes;
use planes::{LEAVES_MAX, Planes};
use tree::Tree;

/// Rows evaluated together: the longer a block, the less it matters that each split is looked up
/// once a block; at 256 a plane still is held in the registers of AVX2.
const BLOCK: usize = 256;

/// Rows evaluated together where fewer are left.
const SMALL_BLOCK: usize = 64;

/// As many rows are cheaper in small blocks.
const SMALL_BLOCKS_MAX: usize = 2 * SMALL_BLOCK;

/// As many rows are cheaper by walking down the trees.
const FEW: usize = 6;

/// What an importer gives: trees, and how their sum becomes an output.
#[derive(Debug, Clone)]
pub struct Ensemble {
    pub features: Features,
    /// Tree t belongs to output t % `outputs`; a whole number of iterations.
    pub trees: Vec<Tree>,
    /// Numbers a row: 1, or one a class.
    pub outputs: usize,
    /// The output is transformed from the mean over iterations, not from the sum.
    pub average: bool,
    pub link: Link,
}

/// What the model file says of its columns.
#[derive(Debug, Clone)]
pub struct Features {
    pub names: Vec<String>,
    /// Columns marked as categories.
    pub categorical: Vec<usize>,
    /// The categories of each column that training was given as such, in column order.
    pub vocabularies: Vec<Vec<Term>>,
}

/// An ensemble, ready to score.
#[derive(Debug)]
pub struct Forest {
    features: Features,
    inputs: Inputs,
    nodes: Nodes,
    planes: Planes,
    /// All trees in their order, as runs of one form.
    runs: Vec<Run>,
    has_nodes: bool,
    iterations: usize,
    outputs: usize,
    average: bool,
    link: Link,
}

/// Trees that follow each other and have the same form.
#[derive(Debug)]
enum Run {
    Nodes {
        trees: Range<usize>,
    },
    /// `among_planes` numbers the same trees among those that are bit-planes.
    Planes {
        trees: Range<usize>,
        among_planes: Range<usize>,
    },
}

/// A worker's buffers for one block of rows.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Rows × inputs, row-major.
    rows: Vec<f64>,
    /// Columns of bins × rows of a block.
    columns: Vec<i8>,
    /// Outputs × rows of a block.
    sums: Vec<f64>,
}

impl Forest {
    pub fn new(ensemble: Ensemble) -> Self {
        Self::with_planes(ensemble, |tree| tree.leaves().len() <= LEAVES_MAX)
    }

    /// All trees as nodes: what tests and benches compare with.
    pub fn of_nodes(ensemble: Ensemble) -> Self {
        Self::with_planes(ensemble, |_| false)
    }

    fn with_planes(ensemble: Ensemble, fits: impl Fn(&Tree) -> bool) -> Self {
        let Ensemble { features, trees, outputs, average, link } = ensemble;
        let mut flat = Vec::new();
        let mut runs: Vec<Run> = Vec::new();
        for (number, tree) in trees.iter().enumerate() {
            if fits(tree) {
                let place = flat.len();
                flat.push((tree, number % outputs));
                match runs.last_mut() {
                    Some(Run::Planes { trees, among_planes }) => {
                        trees.end += 1;
                        among_planes.end += 1;
                    }
                    _ => runs.push(Run::Planes {
                        trees: number..number + 1,
                        among_planes: place..place + 1,
                    }),
                }
            } else {
                match runs.last_mut() {
                    Some(Run::Nodes { trees }) => trees.end += 1,
                    _ => runs.push(Run::Nodes { trees: number..number + 1 }),
                }
            }
        }
        let inputs = Inputs::of(&trees);
        Self {
            nodes: Nodes::new(&trees, &inputs),
            planes: Planes::new(&flat),
            has_nodes: flat.len() < trees.len(),
            inputs,
            features,
            runs,
            iterations: trees.len() / outputs,
            outputs,
            average,
            link,
        }
    }

    pub fn features(&self) -> &Features {
        &self.features
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// As [`Model::predict`](crate::model::Model::predict).
    pub fn predict(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        mut out: ArrayViewMut2<'_, f64>,
    ) {
        self.predict_raw(x, scratch, out.view_mut());
        for mut row in out.rows_mut() {
            if self.average {
                row /= self.iterations as f64;
            }
            let row = row.as_slice_mut().expect("`out` is row-major");
            self.link.apply(row);
        }
    }

    /// As [`Model::predict_raw`](crate::model::Model::predict_raw).
    pub fn predict_raw(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        mut out: ArrayViewMut2<'_, f64>,
    ) {
        assert_eq!(x.ncols(), self.features.names.len(), "columns of the matrix");
        assert_eq!(out.dim(), (x.nrows(), self.outputs), "shape of the output");
        let mut first = 0;
        while first < x.nrows() {
            let left = x.nrows() - first;
            let rows = left.min(if left > SMALL_BLOCKS_MAX { BLOCK } else { SMALL_BLOCK });
            let block = s![first..first + rows, ..];
            let (x, out) = (x.slice(block), out.slice_mut(block));
            if rows <= SMALL_BLOCK {
                self.score_block::<SMALL_BLOCK>(x, scratch, out);
            } else {
                self.score_block::<BLOCK>(x, scratch, out);
            }
            first += rows;
        }
    }

    /// Scores `ROWS` rows at most; those that a block lacks are computed and ignored.
    fn score_block<const ROWS: usize>(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        mut out: ArrayViewMut2<'_, f64>,
    ) {
        let Scratch { rows, columns, sums } = scratch;
        sums.clear();
        sums.resize(self.outputs * ROWS, 0.0);
        let sums = sums.as_chunks_mut::<ROWS>().0;
        let few = x.nrows() <= FEW;
        if few || self.has_nodes {
            self.inputs.read_rows(x, rows);
        }
        columns.resize(self.planes.bins().columns() * ROWS, 0);
        let columns = columns.as_chunks_mut::<ROWS>().0;
        if !few {
            bins::fill(self.planes.bins(), x, columns);
        }
        for run in &self.runs {
            match run {
                Run::Planes { among_planes, .. } if !few => {
                    planes::add(&self.planes, among_planes.clone(), columns, sums);
                }
                Run::Planes { trees, .. } | Run::Nodes { trees } => {
                    for tree in trees.clone() {
                        let sums = &mut sums[tree % self.outputs][..x.nrows()];
                        self.nodes.add(tree, rows, sums);
                    }
                }
            }
        }
        for (mut column, sums) in out.columns_mut().into_iter().zip(sums) {
            column.iter_mut().zip(sums).for_each(|(slot, sum)| *slot = *sum);
        }
    }
}
