//! The engine: an ensemble of decision trees, evaluated a block of rows at a time.
//!
//! Trees come from importers in one neutral form ([`tree`]); here they get the form that is
//! fastest for them, and their leaf values are added in tree order, from 0.0, in f64: the sums
//! are those of LightGBM, bit for bit.

#[cfg(test)]
mod agreement;
pub mod bins;
pub mod inputs;
pub mod link;
pub mod nodes;
pub mod planes;
pub mod search;
pub mod tree;

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
    /// Every tree, for few rows.
    nodes: Nodes,
    /// Those trees that have few enough leaves, for many rows.
    planes: Planes,
    /// Of each tree, its place among `planes`; without one it is walked down whatever the rows.
    places: Vec<Option<usize>>,
    outputs: usize,
    average: bool,
    link: Link,
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
        let fits = |tree: &&Tree| tree.leaves().len() <= LEAVES_MAX && tree.linear().is_empty();
        let planes = Planes::new(ensemble.trees.iter().filter(fits));
        match planes {
            Some(planes) => Self::with_planes(ensemble, planes, fits),
            None => Self::of_nodes(ensemble),
        }
    }

    /// All trees as nodes: what tests and benches compare with.
    pub fn of_nodes(ensemble: Ensemble) -> Self {
        Self::with_planes(ensemble, Planes::default(), |_| false)
    }

    /// `planes` holds the trees that `fits`.
    fn with_planes(ensemble: Ensemble, planes: Planes, fits: impl Fn(&&Tree) -> bool) -> Self {
        let Ensemble { features, trees, outputs, average, link } = ensemble;
        let mut place = 0..;
        let places = trees.iter().map(|tree| fits(&tree).then(|| place.next()).flatten()).collect();
        let inputs = Inputs::of(&trees);
        let nodes = Nodes::new(&trees, &inputs);
        Self { features, inputs, nodes, planes, places, outputs, average, link }
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
        let iterations = self.places.len() / self.outputs;
        for mut row in out.rows_mut() {
            if self.average {
                row /= iterations as f64;
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
            if rows <= FEW {
                self.score_few(x, scratch, out);
            } else if rows <= SMALL_BLOCK {
                self.score_block::<SMALL_BLOCK>(x, scratch, out);
            } else {
                self.score_block::<BLOCK>(x, scratch, out);
            }
            first += rows;
        }
    }

    fn score_few(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        out: ArrayViewMut2<'_, f64>,
    ) {
        let Scratch { rows, sums, .. } = scratch;
        self.inputs.read_rows(x, rows);
        let sums = cleared::<FEW>(sums, self.outputs);
        for tree in 0..self.places.len() {
            self.nodes.add(tree, rows, &mut sums[tree % self.outputs][..x.nrows()]);
        }
        write(sums, out);
    }

    /// Scores `ROWS` rows at most; those that a block lacks are computed and ignored.
    fn score_block<const ROWS: usize>(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        out: ArrayViewMut2<'_, f64>,
    ) {
        let Scratch { rows, columns, sums } = scratch;
        if self.places.contains(&None) {
            self.inputs.read_rows(x, rows);
        }
        columns.resize(self.planes.bins().columns() * ROWS, 0);
        let columns = columns.as_chunks_mut::<ROWS>().0;
        bins::fill(self.planes.bins(), x, columns);
        let sums = cleared::<ROWS>(sums, self.outputs);
        for (tree, place) in self.places.iter().enumerate() {
            let sums = &mut sums[tree % self.outputs];
            match place {
                Some(place) => planes::add(&self.planes, *place, columns, sums),
                None => self.nodes.add(tree, rows, &mut sums[..x.nrows()]),
            }
        }
        write(sums, out);
    }
}

/// A block's sums: for each output, a zero a row.
fn cleared<const ROWS: usize>(sums: &mut Vec<f64>, outputs: usize) -> &mut [[f64; ROWS]] {
    sums.clear();
    sums.resize(outputs * ROWS, 0.0);
    sums.as_chunks_mut().0
}

fn write<const ROWS: usize>(sums: &[[f64; ROWS]], mut out: ArrayViewMut2<'_, f64>) {
    for (mut column, sums) in out.columns_mut().into_iter().zip(sums) {
        column.iter_mut().zip(sums).for_each(|(slot, sum)| *slot = *sum);
    }
}
