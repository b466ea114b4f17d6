//! The loop: a batch is collected, scored by exactly one version, and settled in exactly one
//! transaction. One worker is one thread, one group member and one producer.

mod hold;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::breaker::{Breaker, Verdicts};
use crate::bus::{Bus, Fatal, Settled, Stand};
use crate::drift::Live;
use crate::encode::{Encoder, Scored};
use crate::outbox::{Destination, Outbox};
use crate::recent::Recent;
use crate::reject::Reason;
use crate::score::Scorer;
use crate::serving::{Conduct, Served, Serving};
use crate::shadow::{Beside, First};
use hold::Hold;
pub use hold::{Example, Held};

pub struct Worker<B> {
    bus: B,
    serving: Serving,
    recent: Recent,
    encoder: Encoder,
    scorer: Scorer,
    /// Scores what a shadow would say.
    beside: Beside,
    /// What the batch in hand shows of drift.
    live: Live,
    breaker: Breaker,
    /// The batch in hand is held back.
    hold: Option<Hold>,
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
    /// The batch in hand is held back, and why.
    pub held: Option<Arc<Held>>,
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

    fn add(&mut self, tile: &Verdicts) {
        self.predictions += tile.events - tile.rejects();
        if tile.rejects() > 0 {
            for (reason, events) in tile.reasons() {
                *self.dead_letters.entry(reason).or_default() += events;
            }
        }
    }

    /// What the version did that scored the batch.
    fn conduct(&self) -> Conduct {
        Conduct {
            events: self.predictions + self.rejects(),
            rejects: self.rejects(),
            non_finite: self.dead_letters.get(&Reason::NonFinite).copied().unwrap_or_default(),
            held: 0,
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
        breaker: Breaker,
        tile_rows: usize,
    ) -> Self {
        Self {
            bus,
            serving,
            recent,
            encoder,
            scorer: Scorer::new(tile_rows),
            beside: Beside::new(tile_rows),
            live: Live::default(),
            breaker,
            hold: None,
            batch: Batch::default(),
            outbox,
            rows: Vec::with_capacity(tile_rows),
            tile_rows,
        }
    }

    /// Collects one batch and sees it settled, or holds it back for a moment if too many of its events would
    /// become dead letters: then call again. Without a version to serve, nothing is collected, and the
    /// call returns at once: wait for one first.
    ///
    /// # Errors
    /// What ends this worker. Records that were not settled go to the next owner.
    pub fn turn(&mut self) -> Result<Turn, Fatal> {
        let mut turn = Turn::default();
        // What is collected has to be settled: the next `collect` would forget it.
        if self.serving.load().is_none() {
            return Ok(turn);
        }
        if let Some(hold) = self.hold.take() {
            self.hold = self.hold_on(hold)?;
            turn.held = self.hold.as_ref().map(Hold::held);
            if turn.held.is_some() {
                return Ok(turn);
            }
        } else {
            let began = Instant::now();
            self.bus.collect(&mut self.batch)?;
            turn.times.collect = began.elapsed();
        }
        // Looked at once a batch, and after collecting: what was announced by now serves.
        let Some(served) = self.serving.load().filter(|_| !self.batch.is_empty()) else {
            return Ok(turn);
        };
        while !self.batch.is_empty() {
            let began = Instant::now();
            let mut attempt = Turn { retries: turn.retries, times: turn.times, ..Turn::default() };
            if let Some(held) = self.send(&served, &mut attempt)? {
                turn.held = Some(self.stop(&served, &attempt, held)?);
                return Ok(turn);
            }
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

    /// Works through the batch tile by tile. Says why it did not get to the end, if the breaker stopped it: what was sent
    /// by then has to be taken back.
    fn send(&mut self, served: &Served, turn: &mut Turn) -> Result<Option<Held>, Fatal> {
        if served.shadow.is_some() {
            self.beside.begin();
        }
        if let Some(drift) = &served.drift {
            self.live.begin(drift, self.batch.record(0).partition);
        }
        self.breaker.begin();
        for start in (0..self.batch.len()).step_by(self.tile_rows) {
            let tile = self.score(served, start, turn);
            if let Some(window) = self.breaker.judge(&tile.verdicts) {
                return Ok(Some(self.describe(served, window)));
            }
            self.bus.send(&self.batch, &self.outbox)?;
            if let Some(drift) = &served.drift {
                self.live.count(drift, &self.scorer.scores());
            }
            self.score_beside(served, &tile)?;
        }
        Ok(None)
    }

    /// Scores the tile from row `start` on, and puts its letters into the outbox.
    fn score(&mut self, served: &Served, start: usize, turn: &mut Turn) -> Tile {
        let letter_bytes_max = self.bus.letter_bytes_max();
        let Self { encoder, scorer, batch, outbox, rows, tile_rows, .. } = self;
        let end = batch.len().min(start + *tile_rows);
        rows.clear();
        rows.extend((start..end).filter(|&row| batch.record(row).value.is_some()));
        turn.tombstones += (end - start - rows.len()) as u64;
        let version = &*served.version;
        let began = Instant::now();
        scorer.decode(version, rows.iter().map(|&row| batch.record(row).value.unwrap_or_default()));
        let decoding = began.elapsed();
        let scores = &scorer.predict(version);
        let predicting = began.elapsed() - decoding;
        turn.cost += decoding + predicting;
        outbox.clear();
        let control_offset = served.control_offset;
        let scored = Scored { scores, version, control_offset, is_shadow: false };
        encoder.encode(batch, rows, scored, letter_bytes_max, outbox);
        let verdicts = verdicts(outbox);
        turn.add(&verdicts);
        Tile { verdicts, decoding, predicting }
    }

    /// A shadow's turn is after the tile was sent, so that no prediction waits for it.
    fn score_beside(&mut self, served: &Served, tile: &Tile) -> Result<(), Fatal> {
        let Some(shadow) = &served.shadow else { return Ok(()) };
        let letter_bytes_max = self.bus.letter_bytes_max();
        let Self { bus, encoder, scorer, beside, batch, outbox, rows, .. } = self;
        let Tile { decoding, predicting, .. } = *tile;
        let version = &*served.version;
        let first = First { version, scores: &scorer.scores(), decoding, predicting };
        let events = rows.iter().map(|&row| batch.record(row).value.unwrap_or_default());
        let scores = &beside.score(shadow, first, events);
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
        self.breaker.settle();
        if let Some(shadow) = &served.shadow {
            self.beside.settled(shadow);
        }
        if let Some(drift) = &served.drift {
            self.live.settled(drift);
        }
        let batch = &self.batch;
        let values = (0..batch.len()).map(|row| batch.record(row).value.unwrap_or_default());
        self.recent.keep(values);
    }

    /// Where the partitions stand that this worker has. What it holds back has not been dealt with.
    pub fn stand(&mut self) -> Stand {
        let mut stand = self.bus.stand();
        if self.hold.is_some() {
            stand.add_unsettled(&self.batch);
        }
        stand
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

/// What a tile came to that stands in the outbox.
struct Tile {
    verdicts: Verdicts,
    decoding: Duration,
    predicting: Duration,
}

fn verdicts(outbox: &Outbox) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for letter in outbox.letters() {
        match letter.to {
            Destination::Predictions => verdicts.answer(),
            Destination::DeadLetters(reason) => verdicts.reject(reason),
            Destination::Shadow => {}
        }
    }
    verdicts
}
