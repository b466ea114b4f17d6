//! The engine: an ensemble of decision trees, evaluated a block of rows at a time.
//!
//! Trees come from importers in one neutral form ([`tree`]); here they get the form that is
//! fastest for them, and their leaf values are added in tree order, from 0.0, in f64: the sums
//! are those of LightGBM, bit for bit.

pub mod inputs;
pub mod link;
pub mod nodes;
pub mod tree;

use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use crate::features::contract::Term;
use inputs::Inputs;
use link::Link;
use nodes::Nodes;
use tree::Tree;

/// Rows evaluated together.
const BLOCK: usize = 64;

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
    trees: usize,
    outputs: usize,
    average: bool,
    link: Link,
}

/// A worker's buffers for one block of rows.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Rows × inputs, row-major.
    rows: Vec<f64>,
    /// Outputs × [`BLOCK`].
    sums: Vec<f64>,
}

impl Forest {
    pub fn new(ensemble: Ensemble) -> Self {
        let Ensemble { features, trees, outputs, average, link } = ensemble;
        let inputs = Inputs::of(&trees);
        let nodes = Nodes::new(&trees, &inputs);
        Self { features, inputs, nodes, trees: trees.len(), outputs, average, link }
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
        let iterations = (self.trees / self.outputs) as f64;
        for mut row in out.rows_mut() {
            if self.average {
                row /= iterations;
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
            for (class, mut column) in out.columns_mut().into_iter().enumerate() {
                let sums = &scratch.sums[class * BLOCK..];
                column.iter_mut().zip(sums).for_each(|(slot, sum)| *slot = *sum);
            }
        }
    }

    fn sum_block(&self, x: ArrayView2<'_, f64>, scratch: &mut Scratch) {
        scratch.sums.clear();
        scratch.sums.resize(self.outputs * BLOCK, 0.0);
        self.inputs.read_rows(x, &mut scratch.rows);
        for tree in 0..self.trees {
            let class = tree % self.outputs;
            let sums = &mut scratch.sums[class * BLOCK..][..x.nrows()];
            self.nodes.add(tree, &scratch.rows, sums);
        }
    }
}
