//! The loop: a batch is collected, scored by exactly one version, and settled in exactly one
//! transaction. One worker is one thread, one group member and one producer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::bus::{Bus, Fatal, Lag, Settled};
use crate::encode::{Encoder, Scored};
use crate::outbox::{Destination, Outbox};
use crate::recent::Recent;
use crate::reject::Reason;
use crate::score::Scorer;
use crate::serving::{Conduct, Served, Serving};
use crate::shadow::{Beside, First};

pub struct Worker<B> {
    bus: B,
    serving: Serving,
    recent: Recent,
    encoder: Encoder,
    scorer: Scorer,
    /// Scores what a shadow would say.
    beside: Beside,
    batch: Batch,
    outbox: Outbox,
    /// Rows of the current tile that hold an event.
    rows: Vec<usize>,
    tile_rows: usize,
}

/// What one turn of the loop did. Counted when it is settled: what was aborted never happened.
#[derive(Debug, Default)]
pub struct Turn {
    pub predictions: u64,
    pub dead_letters: BTreeMap<Reason, u64>,
    /// Records without a value: counted and passed over.
    pub tombstones: u64,
    /// Times the batch was sent and not committed.
    pub retries: u64,
    /// The version that scored the batch; `None`: there was nothing to score.
    pub served: Option<Arc<Served>>,
    /// Time that decoding and scoring by that version took: a part of `times.score`.
    pub cost: Duration,
    pub times: Times,
}

/// Where the time of a turn went.
#[derive(Debug, Default, Clone, Copy)]
pub struct Times {
    pub collect: Duration,
    /// Decoding, scoring, encoding and handing to the producer, of the attempt that was committed;
    /// what a shadow takes as well.
    pub score: Duration,
    pub settle: Duration,
}

impl Turn {
    /// Records dealt with.
    pub fn events(&self) -> u64 {
        self.predictions + self.rejects() + self.tombstones
    }

    fn rejects(&self) -> u64 {
        self.dead_letters.values().sum()
    }

    /// What the version did that scored the batch.
    fn conduct(&self) -> Conduct {
        Conduct {
            events: self.predictions + self.rejects(),
            rejects: self.rejects(),
            non_finite: self.dead_letters.get(&Reason::NonFinite).copied().unwrap_or_default(),
            cost: self.cost,
        }
    }
}

impl<B: Bus> Worker<B> {
    /// `tile_rows`: how many events are decoded, scored and sent at a time. Small enough that their
    /// matrix stays in cache, and that the brokers take one tile while the next is scored.
    pub fn new(
        bus: B,
        serving: Serving,
        recent: Recent,
        encoder: Encoder,
        outbox: Outbox,
        tile_rows: usize,
    ) -> Self {
        Self {
            bus,
            serving,
            recent,
            encoder,
            scorer: Scorer::new(tile_rows),
            beside: Beside::new(tile_rows),
            batch: Batch::default(),
            outbox,
            rows: Vec::with_capacity(tile_rows),
            tile_rows,
        }
    }

    /// Collects one batch and sees it settled. Without a version to serve, nothing is collected,
    /// and the call returns at once: wait for one first.
    ///
    /// # Errors
    /// What ends this worker. Records that were not settled go to the next owner.
    pub fn turn(&mut self) -> Result<Turn, Fatal> {
        let mut turn = Turn::default();
        // What is collected has to be settled: the next `collect` would forget it.
        if self.serving.load().is_none() {
            return Ok(turn);
        }
        let began = Instant::now();
        self.bus.collect(&mut self.batch)?;
        turn.times.collect = began.elapsed();
        // Looked at once a batch, and after collecting: what was announced by now serves.
        let Some(served) = self.serving.load().filter(|_| !self.batch.is_empty()) else {
            return Ok(turn);
        };
        while !self.batch.is_empty() {
            let began = Instant::now();
            let mut attempt = Turn { retries: turn.retries, times: turn.times, ..Turn::default() };
            self.send(&served, &mut attempt)?;
            attempt.times.score = began.elapsed();
            let began = Instant::now();
            let settled = self.bus.settle(&mut self.batch)?;
            attempt.times.settle = began.elapsed();
            match settled {
                Settled::Done => {
                    self.tell(&served, &attempt);
                    attempt.served = Some(served);
                    return Ok(attempt);
                }
                Settled::Again => turn.retries += 1,
            }
        }
        Ok(turn)
    }

    /// Works through the batch tile by tile.
    fn send(&mut self, served: &Served, turn: &mut Turn) -> Result<(), Fatal> {
        if served.shadow.is_some() {
            self.beside.begin();
        }
        for start in (0..self.batch.len()).step_by(self.tile_rows) {
            let end = self.batch.len().min(start + self.tile_rows);
            self.rows.clear();
            self.rows.extend((start..end).filter(|&row| self.batch.record(row).value.is_some()));
            turn.tombstones += (end - start - self.rows.len()) as u64;
            self.tile(served, turn)?;
        }
        Ok(())
    }

    /// Scores and sends one tile; a shadow's turn is after that, so that no prediction waits for it.
    fn tile(&mut self, served: &Served, turn: &mut Turn) -> Result<(), Fatal> {
        let letter_bytes_max = self.bus.letter_bytes_max();
        let Self { bus, encoder, scorer, beside, batch, outbox, rows, .. } = self;
        let events = || rows.iter().map(|&row| batch.record(row).value.unwrap_or_default());
        let version = &*served.version;
        let began = Instant::now();
        scorer.decode(version, events());
        let decoding = began.elapsed();
        let scores = &scorer.predict(version);
        let predicting = began.elapsed() - decoding;
        turn.cost += decoding + predicting;
        outbox.clear();
        let control_offset = served.control_offset;
        let scored = Scored { scores, version, control_offset, is_shadow: false };
        encoder.encode(batch, rows, scored, letter_bytes_max, outbox);
        bus.send(batch, outbox)?;
        count(outbox, turn);
        let Some(shadow) = &served.shadow else { return Ok(()) };
        let first = First { version, scores, decoding, predicting };
        let scores = &beside.score(shadow, first, events());
        if bus.wants_shadow() {
            outbox.clear();
            let control_offset = Some(shadow.control_offset);
            let version = &shadow.version;
            let scored = Scored { scores, version, control_offset, is_shadow: true };
            encoder.encode(batch, rows, scored, letter_bytes_max, outbox);
            bus.send(batch, outbox)?;
        }
        Ok(())
    }

    /// A batch is settled: what it showed of the versions counts, and some of it is kept.
    fn tell(&mut self, served: &Served, turn: &Turn) {
        served.did(turn.conduct());
        if let Some(shadow) = &served.shadow {
            self.beside.settled(shadow);
        }
        let batch = &self.batch;
        let values = (0..batch.len()).map(|row| batch.record(row).value.unwrap_or_default());
        self.recent.keep(values);
    }

    /// How far behind each partition is that this worker has.
    pub fn lag(&mut self) -> Vec<Lag> {
        self.bus.lag()
    }

    /// Rebalances that this worker has taken part in.
    pub fn rebalances(&self) -> u64 {
        self.bus.rebalances()
    }

    /// Leaves the group.
    pub fn close(&mut self) {
        self.bus.close();
    }
}

fn count(outbox: &Outbox, turn: &mut Turn) {
    for letter in outbox.letters() {
        match letter.to {
            Destination::Predictions => turn.predictions += 1,
            Destination::DeadLetters(reason) => *turn.dead_letters.entry(reason).or_default() += 1,
            Destination::Shadow => {}
        }
    }
}
