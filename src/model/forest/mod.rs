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

use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use crate::features::contract::Term;
use inputs::Inputs;
use link::Link;
use nodes::Nodes;
use planes::{LEAVES_MAX, Planes};
use tree::Tree;

/// Rows evaluated together.
const BLOCK: usize = 256;

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
    iterations: usize,
    outputs: usize,
    average: bool,
    link: Link,
}

/// Trees that follow each other and have the same form.
#[derive(Debug)]
enum Run {
    /// Numbers of trees among all.
    Nodes(Range<usize>),
    /// Numbers of trees among those that are bit-planes.
    Planes(Range<usize>),
}

/// A worker's buffers for one block of rows.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Rows × inputs, row-major.
    rows: Vec<f64>,
    /// The columns of bins.
    columns: Vec<[i8; BLOCK]>,
    /// One for each output.
    sums: Vec<[f64; BLOCK]>,
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
                flat.push((tree, number % outputs));
                match runs.last_mut() {
                    Some(Run::Planes(run)) => run.end += 1,
                    _ => runs.push(Run::Planes(flat.len() - 1..flat.len())),
                }
            } else {
                match runs.last_mut() {
                    Some(Run::Nodes(run)) => run.end += 1,
                    _ => runs.push(Run::Nodes(number..number + 1)),
                }
            }
        }
        let inputs = Inputs::of(&trees);
        let nodes = Nodes::new(&trees, &inputs);
        let planes = Planes::new(&flat);
        let iterations = trees.len() / outputs;
        Self { features, inputs, nodes, planes, runs, iterations, outputs, average, link }
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
        let blocks = x.axis_chunks_iter(Axis(0), BLOCK);
        for (x, mut out) in blocks.zip(out.axis_chunks_iter_mut(Axis(0), BLOCK)) {
            self.sum_block(x, scratch);
            for (mut column, sums) in out.columns_mut().into_iter().zip(&scratch.sums) {
                column.iter_mut().zip(sums).for_each(|(slot, sum)| *slot = *sum);
            }
        }
    }

    fn sum_block(&self, x: ArrayView2<'_, f64>, scratch: &mut Scratch) {
        scratch.sums.clear();
        scratch.sums.resize(self.outputs, [0.0; BLOCK]);
        if self.runs.iter().any(|run| matches!(run, Run::Nodes(_))) {
            self.inputs.read_rows(x, &mut scratch.rows);
        }
        scratch.columns.resize(self.planes.bins().columns(), [0; BLOCK]);
        bins::fill(self.planes.bins(), x, &mut scratch.columns);
        for run in &self.runs {
            match run {
                Run::Nodes(trees) => {
                    for tree in trees.clone() {
                        let sums = &mut scratch.sums[tree % self.outputs][..x.nrows()];
                        self.nodes.add(tree, &scratch.rows, sums);
                    }
                }
                Run::Planes(trees) => {
                    let (columns, sums) = (&scratch.columns, &mut scratch.sums);
                    planes::add(&self.planes, trees.clone(), columns, sums);
                }
            }
        }
    }
}
