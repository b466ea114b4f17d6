//! The reference: how the features and the predictions were distributed when a version was trained. Drift is
//! how far the stream's own distributions are from these.

mod edges;
pub mod grid;

use std::collections::HashSet;

use ndarray::{ArrayView1, ArrayView2};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Model;
use super::manifest::{Task, TaskKind};
use crate::features::contract::{Feature, Kind};
use grid::Grid;

/// Fewer rows say too little: between two samples of so many rows of one distribution there is a PSI of
/// about 0.02 already.
pub const ROWS_MIN: usize = 1_000;
/// The first features of a wider contract are watched. Reports and metrics name each of them.
pub const FEATURES_MAX: usize = 256;
/// Bins of a number, about: of equal shares of the rows.
const BINS: usize = 10;
/// The most frequent categories have a bin of their own; all others share one.
const CODES_MAX: usize = 31;
/// What a manifest may bring along, whoever made it.
const BINS_MAX: usize = 64;

/// The distributions of the rows that a version was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// How many rows there were, or how many were taken of them.
    pub rows: u64,
    /// One for each feature that is watched, in the contract's order.
    pub features: Vec<Histogram>,
    /// One for each output of the model, in their order.
    pub outputs: Vec<Histogram>,
}

/// How many rows fell into which bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Histogram {
    /// The feature's name; of an output the class' label, or what it is.
    pub name: String,
    #[serde(flatten)]
    pub bins: Bins,
    /// Rows in each bin, and last those beyond the last edge or of all other codes.
    pub counts: Vec<u64>,
    /// Rows without a value.
    #[serde(default)]
    pub missing: u64,
    /// Rows with a category that is not in the vocabulary, as far as the contract lets it count as
    /// missing or gives it the code of its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown: u64,
}

/// What the bins are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bins {
    /// Of a number: rising. A value is in the first bin whose edge it does not exceed.
    Edges(Vec<f64>),
    /// Of a category: the places in the vocabulary that have a bin of their own, rising.
    Codes(Vec<u32>),
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Bins {
    /// Bins that have a place of their own, the last one not counted.
    fn len(&self) -> usize {
        match self {
            Self::Edges(edges) => edges.len(),
            Self::Codes(codes) => codes.len(),
        }
    }

    fn is_rising(&self) -> bool {
        match self {
            Self::Edges(edges) => {
                edges.is_sorted_by(|a, b| a < b) && edges.iter().all(|edge| edge.is_finite())
            }
            Self::Codes(codes) => codes.is_sorted_by(|a, b| a < b),
        }
    }
}

impl Histogram {
    /// All counts in one row: the bins, then what is missing, then what is unknown.
    pub fn cells(&self) -> Vec<u64> {
        [self.counts.as_slice(), &[self.missing, self.unknown]].concat()
    }

    /// Counts in one row, as [`Self::cells`] has them, of bins named so.
    fn of_cells(name: String, bins: Bins, cells: &[u64]) -> Self {
        let (counts, others) = cells.split_at(bins.len() + 1);
        Self { name, bins, counts: counts.into(), missing: others[0], unknown: others[1] }
    }
}

impl Reference {
    /// Of rows (rows × features in the contract's order, NaN is missing) and what the model says of
    /// them (rows × outputs).
    pub fn of(
        contract: &[Feature],
        task: &Task,
        model: &Model,
        x: ArrayView2<'_, f64>,
        outputs: ArrayView2<'_, f64>,
    ) -> Self {
        let thresholds = model.thresholds();
        let features = contract.iter().take(FEATURES_MAX).enumerate().map(|(place, feature)| {
            let bins = match &feature.kind {
                Kind::Category { vocabulary, .. } => {
                    Bins::Codes(frequent(x.column(place), vocabulary.len()))
                }
                _ => {
                    let thresholds = thresholds.get(place).map_or(&[][..], Vec::as_slice);
                    Bins::Edges(edges::edges(x.column(place), thresholds, BINS))
                }
            };
            (feature.name.clone(), bins)
        });
        let results = outputs.columns().into_iter().enumerate().map(|(place, column)| {
            let name = output_name(task, outputs.ncols(), place);
            (name, Bins::Edges(edges::edges(column, &[], BINS)))
        });
        let empty = |(name, bins): (String, Bins)| {
            let cells = vec![0; bins.len() + 3];
            Histogram::of_cells(name, bins, &cells)
        };
        let mut reference = Self {
            rows: x.nrows() as u64,
            features: features.map(empty).collect(),
            outputs: results.map(empty).collect(),
        };
        let grid = Grid::new(&reference, contract);
        let mut cells = vec![0; grid.cells()];
        grid.count(x, outputs, &mut cells);
        let columns = reference.features.iter_mut().chain(&mut reference.outputs);
        for (histogram, cells) in columns.zip(grid.columns(&cells)) {
            let Histogram { name, bins, .. } = histogram.clone();
            *histogram = Histogram::of_cells(name, bins, cells);
        }
        reference
    }

    /// What keeps it from being one of this contract and so many outputs, if anything.
    pub fn fault(&self, contract: &[Feature], outputs: usize) -> Option<String> {
        if self.outputs.len() != outputs {
            let found = self.outputs.len();
            return Some(format!("it has {found} histograms of outputs, the model {outputs}"));
        }
        let mut names = HashSet::new();
        for histogram in &self.features {
            let name = &histogram.name;
            let Some(feature) = contract.iter().find(|feature| feature.name == *name) else {
                return Some(format!("`{name}` is no feature"));
            };
            if !names.insert(name) {
                return Some(format!("`{name}` stands there twice"));
            }
            let is_category = matches!(feature.kind, Kind::Category { .. });
            if is_category != matches!(histogram.bins, Bins::Codes(_)) {
                return Some(format!("`{name}`: categories have codes, all others edges"));
            }
        }
        if names.len() > FEATURES_MAX {
            return Some(format!("more than {FEATURES_MAX} features cannot be watched"));
        }
        let shapeless = self.features.iter().chain(&self.outputs).find(|histogram| {
            let Histogram { bins, counts, .. } = histogram;
            bins.len() >= BINS_MAX || counts.len() != bins.len() + 1 || !bins.is_rising()
        });
        let is_number = |histogram: &Histogram| matches!(histogram.bins, Bins::Edges(_));
        if let Some(histogram) = shapeless.or(self.outputs.iter().find(|it| !is_number(it))) {
            return Some(format!(
                "`{}`: expected rising edges or codes, fewer than {BINS_MAX}, and one count more",
                histogram.name
            ));
        }
        None
    }
}

/// The most frequent categories, rising.
fn frequent(column: ArrayView1<'_, f64>, vocabulary: usize) -> Vec<u32> {
    let mut counts: Vec<(u64, u32)> = (0..vocabulary as u32).map(|code| (0, code)).collect();
    for v in column {
        // What is no code is behind all of them.
        let code = if *v >= 0.0 { *v as usize } else { usize::MAX };
        if let Some((count, _)) = counts.get_mut(code) {
            *count += 1;
        }
    }
    counts.retain(|(count, _)| *count > 0);
    counts.sort_unstable_by_key(|(count, code)| (std::cmp::Reverse(*count), *code));
    let mut codes: Vec<u32> = counts.into_iter().take(CODES_MAX).map(|(_, code)| code).collect();
    codes.sort_unstable();
    codes
}

/// What an output is called: a class by its label.
fn output_name(task: &Task, outputs: usize, place: usize) -> String {
    match (task.kind, task.labels.get(place)) {
        (TaskKind::Binary, _) => "probability".into(),
        (TaskKind::Multiclass, Some(label)) => label.clone(),
        _ if outputs == 1 => "prediction".into(),
        _ => place.to_string(),
    }
}

#[cfg(test)]
mod tests;
