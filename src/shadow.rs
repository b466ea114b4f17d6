//! A candidate that scores beside what serves: the same batch, the same matrix, and nothing that
//! it says reaches the predictions topic.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::compare::Comparison;
use crate::model::version::Version;
use crate::score::{Scorer, Scores};

/// The candidate, and how it has compared with what serves since it began. Shared by workers,
/// which add to it, and those who judge it.
#[derive(Debug)]
pub struct Shadow {
    pub version: Arc<Version>,
    /// Offset of its announcement.
    pub control_offset: i64,
    since: Instant,
    comparison: Mutex<Comparison>,
}

impl Shadow {
    pub fn new(version: Arc<Version>, control_offset: i64) -> Self {
        let comparison = Mutex::new(Comparison::default());
        Self { version, control_offset, since: Instant::now(), comparison }
    }

    /// A copy of the comparison so far: what serves is the first, this the second.
    pub fn comparison(&self) -> Comparison {
        self.comparison.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds what a batch has shown.
    pub fn add(&self, comparison: &Comparison) {
        self.comparison.lock().unwrap_or_else(PoisonError::into_inner).merge(comparison);
    }

    /// How long it has scored.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }
}

/// One worker's buffers for the shadow of what serves. What a batch shows counts once the batch is
/// settled.
#[derive(Debug)]
pub struct Beside {
    scorer: Scorer,
    /// Of the batch in hand.
    comparison: Comparison,
}

/// What was scored by what serves, and what that took.
#[derive(Debug, Clone, Copy)]
pub struct First<'a> {
    pub version: &'a Version,
    pub scores: &'a Scores<'a>,
    pub decoding: Duration,
    pub predicting: Duration,
}

impl Beside {
    /// For tiles of up to `rows_max` events.
    pub fn new(rows_max: usize) -> Self {
        Self { scorer: Scorer::new(rows_max), comparison: Comparison::default() }
    }

    /// A batch begins, or begins again.
    pub fn begin(&mut self) {
        self.comparison.clear();
    }

    /// Scores the events of a tile once more and compares.
    pub fn score<'s, 'e>(
        &'s mut self,
        shadow: &Shadow,
        first: First<'s>,
        events: impl ExactSizeIterator<Item = &'e [u8]>,
    ) -> Scores<'s> {
        let began = Instant::now();
        let (scores, decoding) = if shadow.version.reads_like(first.version) {
            (self.scorer.predict_again(&shadow.version, first.scores), first.decoding)
        } else {
            (self.scorer.score(&shadow.version, events), Duration::ZERO)
        };
        let took = began.elapsed() + decoding;
        self.comparison.add_cost(first.decoding + first.predicting, took);
        let tasks = (&first.version.task, &shadow.version.task);
        for event in 0..scores.len() {
            let one = first.scores.outputs(event).ok();
            self.comparison.add((tasks.0, one), (tasks.1, scores.outputs(event).ok()));
        }
        scores
    }

    /// The batch is settled: what it showed counts.
    pub fn settled(&self, shadow: &Shadow) {
        shadow.add(&self.comparison);
    }
}
