//! One pass over a range of events: scored tile by tile, written where they shall go, and compared with
//! what was recorded of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::recorded::Recorded;
use super::sink::Sink;
use super::slices::{Mark, Slices};
use crate::batch::Batch;
use crate::bus::tail::Tail;
use crate::cli::failure::Failure;
use crate::cli::reading;
use crate::compare::{Comparison, Said};
use crate::config::Config;
use crate::encode::{Encoder, Scored};
use crate::model::manifest::Task;
use crate::model::version::Version;
use crate::outbox::{Destination, Outbox};
use crate::reject::Reason;
use crate::score::{Scorer, Scores};

/// What came of the pass.
pub struct Totals {
    /// Records with a value.
    pub events: u64,
    pub tombstones: u64,
    pub scored: u64,
    pub refused: BTreeMap<Reason, u64>,
    /// The first is what was recorded.
    pub comparison: Comparison,
    pub slices: Slices,
    pub took: Duration,
}

/// The pass under way. Its buffers are used again, tile after tile.
pub struct Pass<'a> {
    config: &'a Config,
    version: &'a Version,
    encoder: &'a Encoder,
    recorded: Option<&'a Recorded>,
    sink: Sink,
    scorer: Scorer,
    batch: Batch,
    outbox: Outbox,
    /// The rows of a tile: all of them.
    rows: Vec<usize>,
    marks: Vec<Mark>,
    totals: Totals,
}

impl<'a> Pass<'a> {
    pub fn new(
        config: &'a Config,
        version: &'a Version,
        encoder: &'a Encoder,
        recorded: Option<&'a Recorded>,
        sink: Sink,
    ) -> Self {
        let totals = Totals {
            events: 0,
            tombstones: 0,
            scored: 0,
            refused: BTreeMap::new(),
            comparison: Comparison::default(),
            slices: Slices::new(&version.contract),
            took: Duration::ZERO,
        };
        Self {
            config,
            version,
            encoder,
            recorded,
            sink,
            scorer: Scorer::new(config.batch.tile_rows),
            batch: Batch::default(),
            outbox: Outbox::forwarding(&config.output.forward_headers),
            rows: Vec::new(),
            marks: Vec::new(),
            totals,
        }
    }

    /// Reads the events to the end of their range.
    ///
    /// # Errors
    /// They cannot be read, or their predictions not be written.
    pub fn run(mut self, events: &mut Tail) -> Result<Totals, Failure> {
        let began = Instant::now();
        let Config { kafka, topics, batch, .. } = self.config;
        let is_published = matches!(self.sink, Sink::Topic { .. });
        reading::to_end(events, &topics.events, kafka, "replaying", |record, headers| {
            if record.value.is_none() {
                self.totals.tombstones += 1;
                return Ok(());
            }
            // Headers are for those predictions alone that have some.
            self.batch.push(record, headers.take_while(|_| is_published));
            if self.batch.len() == batch.tile_rows { self.tile() } else { Ok(()) }
        })?;
        self.tile()?;
        self.sink.finish()?;
        self.totals.took = began.elapsed();
        Ok(self.totals)
    }

    /// Deals with the events that were collected.
    fn tile(&mut self) -> Result<(), Failure> {
        let Self { version, encoder, recorded, sink, batch, outbox, rows, totals, .. } = self;
        rows.clear();
        rows.extend(0..batch.len());
        let events = rows.iter().map(|&row| batch.record(row).value.unwrap_or_default());
        let scores = self.scorer.score(version, events);
        totals.count(&scores);
        if !sink.is_none() {
            outbox.clear();
            let scored =
                Scored { scores: &scores, version, control_offset: None, is_shadow: false };
            encoder.encode(batch, rows, scored, sink.letter_bytes_max(), outbox);
            totals.count_too_large(outbox);
            sink.write(batch, outbox)?;
        }
        if let Some(recorded) = recorded {
            totals.compare(&version.task, recorded, batch, &scores, &mut self.marks);
        }
        batch.clear();
        Ok(())
    }
}

impl Totals {
    fn count(&mut self, scores: &Scores<'_>) {
        self.events += scores.len() as u64;
        for event in 0..scores.len() {
            match scores.outputs(event) {
                Ok(_) => self.scored += 1,
                Err(reject) => *self.refused.entry(reject.reason).or_default() += 1,
            }
        }
    }

    /// What was scored and cannot be sent; the other reasons are the scorer's, and counted.
    fn count_too_large(&mut self, outbox: &Outbox) {
        let reason = Reason::PredictionTooLarge;
        let letters = outbox.letters().iter();
        let count = letters.filter(|letter| letter.to == Destination::DeadLetters(reason)).count();
        if count > 0 {
            self.scored -= count as u64;
            *self.refused.entry(reason).or_default() += count as u64;
        }
    }

    fn compare(
        &mut self,
        task: &Task,
        recorded: &Recorded,
        batch: &Batch,
        scores: &Scores<'_>,
        marks: &mut Vec<Mark>,
    ) {
        marks.clear();
        for event in 0..scores.len() {
            let record = batch.record(event);
            let before = recorded.said(record.partition, record.offset);
            let outputs = scores.outputs(event).ok();
            let now = outputs.map(|outputs| Said { class: task.class(outputs), outputs });
            let difference = self.comparison.add_said(before, now);
            let weight = difference.and_then(|difference| match task.is_classifier() {
                true => Some(f64::from(u8::from(difference.is_flip))),
                false => difference.size,
            });
            if let (Some(weight), Some(row)) = (weight, scores.row(event)) {
                marks.push(Mark { row, weight });
            }
        }
        self.slices.add(scores.features(), marks);
    }
}
