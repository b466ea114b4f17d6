//! The grid: a reference's bins, made for counting. What trained the version and what serves it count by the same code.

use std::ops::Range;

use multiversion::multiversion;
use ndarray::{ArrayView1, ArrayView2};

use super::{Bins, Reference};
use crate::features::contract::{Feature, Kind, Unknown};
use crate::features::is_unknown;

/// Rows counted at a time, from a column that stands elsewhere with gaps between its values.
const CHUNK_ROWS: usize = 256;

/// The bins of all features and outputs. Their counts stand in one row of cells, column after column: of each the
/// bins, then what is missing, then what is unknown.
#[derive(Debug)]
pub struct Grid {
    features: Vec<Column>,
    outputs: Vec<Column>,
    cells: usize,
}

#[derive(Debug)]
struct Column {
    /// Which column of the matrix, or of the outputs.
    place: usize,
    cells: Range<usize>,
    ruler: Ruler,
}

/// Where a value belongs.
#[derive(Debug)]
enum Ruler {
    /// Behind as many edges as it exceeds.
    Edges(Vec<f64>),
    /// The cell of each code; what is no code is in cell `others`.
    Codes { table: Vec<u8>, others: u8 },
}

impl Grid {
    /// `reference` is one of `contract`: what its `fault` says is what this relies on.
    pub fn new(reference: &Reference, contract: &[Feature]) -> Self {
        let mut end = 0;
        let mut column = |place: usize, bins: &Bins, kind: Option<&Kind>| {
            let begin = end;
            end += bins.len() + 3;
            Column { place, cells: begin..end, ruler: Ruler::new(bins, kind) }
        };
        let features = reference.features.iter().filter_map(|histogram| {
            let place = contract.iter().position(|feature| feature.name == histogram.name)?;
            Some(column(place, &histogram.bins, Some(&contract[place].kind)))
        });
        let features = features.collect();
        let outputs = reference.outputs.iter().enumerate();
        let outputs = outputs.map(|(place, histogram)| column(place, &histogram.bins, None));
        let outputs = outputs.collect();
        Self { features, outputs, cells: end }
    }

    /// How many counts there are.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// The counts of each column: features first, then outputs.
    pub fn columns<'a>(&'a self, cells: &'a [u64]) -> impl Iterator<Item = &'a [u64]> {
        self.features.iter().chain(&self.outputs).map(|column| &cells[column.cells.clone()])
    }

    /// Adds rows (rows × features, rows × outputs) to the counts in `cells`.
    pub fn count(&self, x: ArrayView2<'_, f64>, outputs: ArrayView2<'_, f64>, cells: &mut [u64]) {
        let features = self.features.iter().map(|column| (column, x.column(column.place)));
        let results = self.outputs.iter().map(|column| (column, outputs.column(column.place)));
        for (column, values) in features.chain(results) {
            column.ruler.count(values, &mut cells[column.cells.clone()]);
        }
    }
}

impl Ruler {
    fn new(bins: &Bins, kind: Option<&Kind>) -> Self {
        match (bins, kind) {
            (Bins::Codes(codes), Some(Kind::Category { vocabulary, unknown })) => {
                let others = codes.len() as u8;
                let mut table = vec![others; vocabulary.len()];
                for (cell, code) in codes.iter().enumerate() {
                    if let Some(slot) = table.get_mut(*code as usize) {
                        *slot = cell as u8;
                    }
                }
                if *unknown == Unknown::Code {
                    // The code behind the vocabulary; the cell behind what is missing.
                    table.push(others + 2);
                }
                Self::Codes { table, others }
            }
            (Bins::Codes(_), _) => Self::Edges(Vec::new()),
            (Bins::Edges(edges), _) => Self::Edges(edges.clone()),
        }
    }

    fn count(&self, values: ArrayView1<'_, f64>, cells: &mut [u64]) {
        if let Some(values) = values.to_slice() {
            return self.count_slice(values, cells);
        }
        let mut chunk = [0.0; CHUNK_ROWS];
        for values in values.axis_chunks_iter(ndarray::Axis(0), CHUNK_ROWS) {
            chunk.iter_mut().zip(&values).for_each(|(slot, v)| *slot = *v);
            self.count_slice(&chunk[..values.len()], cells);
        }
    }

    fn count_slice(&self, values: &[f64], cells: &mut [u64]) {
        match self {
            Self::Edges(edges) => count_numbers(edges, values, cells),
            Self::Codes { table, others } => count_codes(table, *others, values, cells),
        }
    }
}

/// Counts how many values exceed each edge: a loop without branches over what stands side by side, which
/// is less than looking up each value's bin. The bins are the differences.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn count_numbers(edges: &[f64], values: &[f64], cells: &mut [u64]) {
    let missing: u64 = values.iter().map(|v| u64::from(v.is_nan())).sum();
    let mut above = values.len() as u64 - missing;
    for (edge, cell) in edges.iter().zip(&mut *cells) {
        let beyond: u64 = values.iter().map(|v| u64::from(*v > *edge)).sum();
        *cell += above - beyond;
        above = beyond;
    }
    cells[edges.len()] += above;
    cells[edges.len() + 1] += missing;
}

fn count_codes(table: &[u8], others: u8, values: &[f64], cells: &mut [u64]) {
    let codes = table.len() as f64;
    for v in values {
        let cell = if *v >= 0.0 && *v < codes {
            table[*v as usize]
        } else if !v.is_nan() {
            others
        } else {
            others + 1 + u8::from(is_unknown(*v))
        };
        cells[usize::from(cell)] += 1;
    }
}
