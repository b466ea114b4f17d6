//! Drift: how the features and predictions of the stream are distributed, in windows of so many events, beside
//! how they were in training.
//!
//! Counting is a by-product of scoring: the same matrix, the reference's own bins, and what a batch shows counts once the batch
//! is settled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::features::contract::Kind;
use crate::model::psi::psi;
use crate::model::reference::Histogram;
use crate::model::reference::grid::Grid;
use crate::model::version::Version;
use crate::score::Scores;

/// What a version that serves has seen since it began. Shared by workers, which add to it, and those who look.
#[derive(Debug)]
pub struct Drift {
    version: Arc<Version>,
    grid: Grid,
    window_rows: u64,
    /// Features that are expected to move.
    expected: Vec<String>,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// The window that is being filled.
    cells: Vec<u64>,
    events: u64,
    /// When its first batch was settled.
    since: Option<Timestamp>,
    partition: i32,
    last: Option<Arc<Window>>,
}

/// A whole window.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Windows of this version before it, here.
    pub number: u64,
    /// Settled events that could be decoded; as many as were wanted, or up to a batch more.
    pub events: u64,
    /// When its first batch was settled, and its last.
    pub since: Timestamp,
    pub until: Timestamp,
    /// One that some of its events are from. No other instance has the same, while none moves.
    pub partition: i32,
    cells: Vec<u64>,
}

/// A feature or an output, in training and in a window.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    pub reference: &'a Histogram,
    /// Counts of the window, as [`Histogram::cells`] has them.
    pub cells: &'a [u64],
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Feature,
    /// A feature that is a part of a time, and so moves by itself, or one that `drift.ignore` names: no reason to train.
    Expected,
    Output,
}

impl Column<'_> {
    pub fn psi(&self) -> f64 {
        psi(&self.reference.cells(), self.cells)
    }
}

impl Drift {
    /// Of a version that begins to serve; `None`: its bundle has no reference. A window has `window_rows` events;
    /// the features in `expected` may move.
    pub fn new(version: &Arc<Version>, window_rows: u64, expected: &[String]) -> Option<Self> {
        let grid = Grid::new(version.reference.as_ref()?, &version.contract);
        let cells = vec![0; grid.cells()];
        let counts = Counts { cells, events: 0, since: None, partition: i32::MAX, last: None };
        let (version, expected) = (Arc::clone(version), expected.to_vec());
        Some(Self { version, grid, window_rows, expected, counts: Mutex::new(counts) })
    }

    /// The last whole window.
    pub fn window(&self) -> Option<Arc<Window>> {
        self.counts().last.clone()
    }

    /// Events of the window that is not whole yet.
    pub fn events(&self) -> u64 {
        self.counts().events
    }

    /// All that is watched, in a window of this drift: features first, then outputs.
    pub fn columns<'a>(&'a self, window: &'a Window) -> impl Iterator<Item = Column<'a>> {
        let reference = self.version.reference.iter();
        let histograms = reference.flat_map(|reference| {
            let features =
                reference.features.iter().map(|histogram| (histogram, self.what(histogram)));
            features.chain(reference.outputs.iter().map(|histogram| (histogram, What::Output)))
        });
        let columns = histograms.zip(self.grid.columns(&window.cells));
        columns.map(|((reference, what), cells)| Column { reference, cells, what })
    }

    fn what(&self, histogram: &Histogram) -> What {
        let is_its = |name: &str| name == histogram.name;
        let feature = self.version.contract.iter().find(|feature| is_its(&feature.name));
        match feature.map(|feature| &feature.kind) {
            Some(Kind::Timestamp { .. }) => What::Expected,
            _ if self.expected.contains(&histogram.name) => What::Expected,
            _ => What::Feature,
        }
    }

    /// Adds what a settled batch has shown. A window that it fills is whole.
    fn add(&self, live: &Live) {
        let mut counts = self.counts();
        let now = Timestamp::now();
        let since = *counts.since.get_or_insert(now);
        counts.events += live.events;
        counts.partition = counts.partition.min(live.partition);
        counts.cells.iter_mut().zip(&live.cells).for_each(|(cell, more)| *cell += more);
        if counts.events < self.window_rows {
            return;
        }
        let window = Window {
            number: counts.last.as_ref().map_or(0, |last| last.number + 1),
            events: counts.events,
            since,
            until: now,
            partition: counts.partition,
            cells: counts.cells.clone(),
        };
        counts.last = Some(Arc::new(window));
        counts.cells.fill(0);
        (counts.events, counts.since, counts.partition) = (0, None, i32::MAX);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one worker counts of the batch in hand.
#[derive(Debug, Default)]
pub struct Live {
    cells: Vec<u64>,
    events: u64,
    partition: i32,
}

impl Live {
    /// A batch begins, or begins again. `partition`: that of its first event.
    pub fn begin(&mut self, drift: &Drift, partition: i32) {
        self.cells.clear();
        self.cells.resize(drift.grid.cells(), 0);
        (self.events, self.partition) = (0, partition);
    }

    /// Counts a tile that the drift's version has scored.
    pub fn count(&mut self, drift: &Drift, scores: &Scores<'_>) {
        let (x, outputs) = (scores.features(), scores.results());
        drift.grid.count(x, outputs, &mut self.cells);
        self.events += x.nrows() as u64;
    }

    /// The batch is settled: what it showed counts.
    pub fn settled(&self, drift: &Drift) {
        drift.add(self);
    }
}

#[cfg(test)]
mod tests;
