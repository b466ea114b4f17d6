//! The engine: an ensemble of decision trees, evaluated a block of rows at a time.
//!
//! Trees come from importers in one neutral form ([`tree`]); here they get the form that is
//! fastest for them, and their leaf values are added in tree order, in the library's own precision:
//! the sums are LightGBM's and XGBoost's, bit for bit.

#[cfg(test)]
mod agreement;
pub mod bins;
pub mod census;
pub mod inputs;
pub mod nodes;
pub mod planes;
pub mod search;
pub mod single;
pub mod tree;

use ndarray::{ArrayView2, ArrayViewMut2, s};

use crate::model::columns::Column;
use crate::model::link::Link;
use inputs::Inputs;
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
    pub columns: Vec<Column>,
    pub trees: Vec<Tree>,
    pub sum: Sum,
    pub link: Link,
}

/// How leaf values become raw scores.
#[derive(Debug, Clone)]
pub struct Sum {
    /// What each output's sum begins with.
    pub start: Vec<f64>,
    pub precision: Precision,
    pub finish: Finish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    Double,
    /// Each sum is rounded to f32, as XGBoost's are.
    Single,
}

/// What becomes of the sums.
#[derive(Debug, Clone)]
pub enum Finish {
    Sum,
    /// The output is transformed from the sum divided by so many iterations; the raw score is the
    /// sum all the same (LightGBM's random forests).
    Mean(usize),
    /// Raw scores are the sums times `scale`, plus the output's `bias` (CatBoost).
    Scaled {
        scale: f64,
        bias: Vec<f64>,
    },
}

/// An ensemble, ready to score.
#[derive(Debug)]
pub struct Forest {
    columns: Vec<Column>,
    inputs: Inputs,
    /// Every tree, for few rows.
    nodes: Nodes,
    /// Those trees that have few enough leaves, for many rows.
    planes: Planes,
    /// Of each tree, its place among `planes`; without one it is walked down whatever the rows.
    places: Vec<Option<usize>>,
    sum: Sum,
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
        let fits = |tree: &&Tree| tree.leaves() <= LEAVES_MAX && tree.linear().is_empty();
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
        let Ensemble { columns, trees, sum, link } = ensemble;
        let mut place = 0..;
        let places = trees.iter().map(|tree| fits(&tree).then(|| place.next()).flatten()).collect();
        let inputs = Inputs::of(&trees);
        let nodes = Nodes::new(&trees, &inputs);
        Self { columns, inputs, nodes, planes, places, sum, link }
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub fn outputs(&self) -> usize {
        self.sum.start.len()
    }

    /// Where trees split numbers, by column: rising, distinct.
    pub fn thresholds(&self) -> Vec<Vec<f64>> {
        let mut thresholds = vec![Vec::new(); self.columns.len()];
        for (input, threshold) in self.nodes.thresholds() {
            thresholds[self.inputs.feature(input)].push(threshold);
        }
        for column in &mut thresholds {
            column.sort_unstable_by(f64::total_cmp);
            column.dedup();
        }
        thresholds
    }

    /// How many trees are evaluated as bit-planes where there are rows enough; the others are
    /// walked down.
    pub fn planes(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// Memory that both forms of the trees take.
    pub fn bytes(&self) -> usize {
        self.nodes.bytes() + self.planes.bytes()
    }

    /// As [`Model::predict`](crate::model::Model::predict).
    pub fn predict(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        mut out: ArrayViewMut2<'_, f64>,
    ) {
        self.predict_raw(x, scratch, out.view_mut());
        if let Finish::Mean(iterations) = self.sum.finish {
            out /= iterations as f64;
        }
        self.link.apply_to_rows(out);
    }

    /// As [`Model::predict_raw`](crate::model::Model::predict_raw).
    pub fn predict_raw(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        mut out: ArrayViewMut2<'_, f64>,
    ) {
        assert_eq!(x.ncols(), self.columns.len(), "columns of the matrix");
        assert_eq!(out.dim(), (x.nrows(), self.outputs()), "shape of the output");
        match self.sum.precision {
            Precision::Double => self.score::<false>(x, scratch, out.view_mut()),
            Precision::Single => self.score::<true>(x, scratch, out.view_mut()),
        }
        if let Finish::Scaled { scale, bias } = &self.sum.finish {
            for (mut column, bias) in out.columns_mut().into_iter().zip(bias) {
                column.mapv_inplace(|sum| sum * scale + bias);
            }
        }
    }

    /// Writes the sums of all rows, block by block.
    fn score<const SINGLE: bool>(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        mut out: ArrayViewMut2<'_, f64>,
    ) {
        let mut first = 0;
        while first < x.nrows() {
            let left = x.nrows() - first;
            let rows = left.min(if left > SMALL_BLOCKS_MAX { BLOCK } else { SMALL_BLOCK });
            let block = s![first..first + rows, ..];
            let (x, out) = (x.slice(block), out.slice_mut(block));
            if rows <= FEW {
                self.score_few::<SINGLE>(x, scratch, out);
            } else if rows <= SMALL_BLOCK {
                self.score_block::<SMALL_BLOCK, SINGLE>(x, scratch, out);
            } else {
                self.score_block::<BLOCK, SINGLE>(x, scratch, out);
            }
            first += rows;
        }
    }

    fn score_few<const SINGLE: bool>(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        out: ArrayViewMut2<'_, f64>,
    ) {
        let Scratch { rows, sums, .. } = scratch;
        self.inputs.read_rows(x, rows);
        let sums = begun::<FEW>(sums, &self.sum.start);
        for tree in 0..self.places.len() {
            self.nodes.add::<FEW, SINGLE>(tree, rows, sums);
        }
        write(sums, out);
    }

    /// Scores `ROWS` rows at most; those that a block lacks are computed and ignored.
    fn score_block<const ROWS: usize, const SINGLE: bool>(
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
        let sums = begun::<ROWS>(sums, &self.sum.start);
        for (tree, place) in self.places.iter().enumerate() {
            match place {
                Some(place) => planes::add::<ROWS, SINGLE>(&self.planes, *place, columns, sums),
                None => self.nodes.add::<ROWS, SINGLE>(tree, rows, sums),
            }
        }
        write(sums, out);
    }
}

/// A sum with one more leaf value. If `SINGLE`, as f32 adds: of two f32, the sum in f64 rounded to
/// f32 is the sum in f32, since f64 has more than twice the digits (Figueroa, "When is double
/// rounding innocuous?", 1995).
#[inline(always)]
pub(super) fn plus<const SINGLE: bool>(sum: f64, value: f64) -> f64 {
    let sum = sum + value;
    if SINGLE { f64::from(sum as f32) } else { sum }
}

/// A block's sums: for each output, what it begins with, once a row.
fn begun<'a, const ROWS: usize>(sums: &'a mut Vec<f64>, start: &[f64]) -> &'a mut [[f64; ROWS]] {
    sums.clear();
    start.iter().for_each(|start| sums.extend([*start; ROWS]));
    sums.as_chunks_mut().0
}

fn write<const ROWS: usize>(sums: &[[f64; ROWS]], mut out: ArrayViewMut2<'_, f64>) {
    for (mut column, sums) in out.columns_mut().into_iter().zip(sums) {
        column.iter_mut().zip(sums).for_each(|(slot, sum)| *slot = *sum);
    }
}
