//! What a worker does that the breaker has stopped: it holds the batch in hand back, stays in the group, and finds out by
//! and by whether it may go on.
//!
//! It goes on when
//! - the version that serves now would let the batch pass: another one was announced, or gone back to;
//! - the newest events of these partitions would pass: whoever sent garbage has stopped, and what there is of it is
//!   finite and belongs to the dead letters;
//! - a `resume` message says so: then, too, it belongs there.
//!
//! In the last two cases the breaker is disarmed until the share has been within the bound once. A version on probation
//! is told of what it refuses here (`Conduct::held`), since nothing of it is settled: so the instances can go back from
//! a version that refuses what the one before accepts (`control/trial.rs`), and the first case follows.

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::{Turn, Worker};
use crate::batch::Batch;
use crate::breaker::Verdicts;
use crate::bus::{Bus, Fatal};
use crate::encode::MESSAGE;
use crate::model::version::Version;
use crate::outbox::Destination;
use crate::record::Record;
use crate::serving::{Conduct, Served};

/// A look at whether to go on every so many calls of `Bus::hold`: on a real bus every three seconds.
const LOOK_EVERY: u32 = 30;
/// So many of the newest events are looked at, if the window has as many.
const NEWEST_ROWS: usize = 100;

/// Why a worker holds a batch back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The version that refuses.
    pub version: String,
    /// What the last events would come to.
    pub window: Verdicts,
    /// One that would be refused: its topic, partition and offset, and what is wrong with it.
    pub example: Option<Example>,
}

/// A refused event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub message: String,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, window, example } = self;
        let (rejects, events) = (window.rejects(), window.events);
        write!(
            f,
            "{rejects} of the last {events} events would become dead letters of version `{version}` ("
        )?;
        for (index, (reason, count)) in window.reasons().into_iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{reason} {count}")?;
        }
        f.write_str(")")?;
        let Some(Example { topic, partition, offset, message }) = example else { return Ok(()) };
        write!(f, ", such as {topic}-{partition}-{offset}: {message}")
    }
}

/// A batch in hand that is held back.
pub(super) struct Hold {
    held: Arc<Held>,
    version: Arc<Version>,
    /// How often `resume` had been said when it stopped.
    resumes: u64,
    rounds: u32,
}

impl Hold {
    pub fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held)
    }
}

impl<B: Bus> Worker<B> {
    /// Takes back what was sent of the batch, and holds it from now on.
    pub(super) fn stop(
        &mut self,
        served: &Served,
        attempt: &Turn,
        held: Held,
    ) -> Result<Arc<Held>, Fatal> {
        tracing::error!(
            "stopped before writing them: {held}\n\nhint: mend what sends them, or announce or go back to a version that \
             takes them, and it goes on by itself; `foretell resume` sends them to the dead letters"
        );
        self.refused(served, attempt);
        let (held, resumes) = (Arc::new(held), self.serving.resumes());
        let version = Arc::clone(&served.version);
        self.hold = Some(Hold { held: Arc::clone(&held), version, resumes, rounds: 0 });
        self.bus.hold(&mut self.batch)?;
        Ok(held)
    }

    /// Holds the batch for a moment more, and looks whether that shall go on.
    pub(super) fn hold_on(&mut self, mut hold: Hold) -> Result<Option<Hold>, Fatal> {
        self.bus.hold(&mut self.batch)?;
        hold.rounds += 1;
        let why = if self.batch.is_empty() {
            "its partitions are others' now"
        } else if self.serving.resumes() != hold.resumes {
            self.breaker.disarm();
            "`resume` was said"
        } else {
            let Some(served) = self.serving.load() else { return Ok(Some(hold)) };
            let is_other = !Arc::ptr_eq(&served.version, &hold.version);
            if !is_other && !hold.rounds.is_multiple_of(LOOK_EVERY) {
                return Ok(Some(hold));
            }
            let mut attempt = Turn::default();
            if let Some(held) = self.rehearse(&served, &mut attempt) {
                if is_other {
                    self.refused(&served, &attempt);
                }
                (hold.held, hold.version) = (Arc::new(held), Arc::clone(&served.version));
                if !self.newest_are_sound(&served)? {
                    return Ok(Some(hold));
                }
                self.breaker.disarm();
                "the newest events can be scored"
            } else {
                "what serves now takes them"
            }
        };
        tracing::warn!("goes on: {why}");
        Ok(None)
    }

    /// As [`Self::send`], and sends nothing. What is left of a batch some of which was revoked may be too little to
    /// fill the window: that does not make it any better.
    fn rehearse(&mut self, served: &Served, turn: &mut Turn) -> Option<Held> {
        self.breaker.begin();
        let mut batch = Verdicts::default();
        for start in (0..self.batch.len()).step_by(self.tile_rows) {
            let tile = self.score(served, start, turn);
            if let Some(window) = self.breaker.judge(&tile.verdicts) {
                return Some(self.describe(served, window));
            }
            batch.add(&tile.verdicts);
        }
        self.breaker.is_too_much(&batch).then(|| self.describe(served, batch))
    }

    /// Would the last events on the held partitions pass?
    fn newest_are_sound(&mut self, served: &Served) -> Result<bool, Fatal> {
        let rows = NEWEST_ROWS.min(self.breaker.window_rows());
        let mut newest = Batch::default();
        self.bus.newest(&self.batch, rows, &mut newest)?;
        mem::swap(&mut self.batch, &mut newest);
        let mut verdicts = Verdicts::default();
        for start in (0..self.batch.len()).step_by(self.tile_rows) {
            verdicts.add(&self.score(served, start, &mut Turn::default()).verdicts);
        }
        mem::swap(&mut self.batch, &mut newest);
        Ok(verdicts.events > 0 && !self.breaker.is_too_much(&verdicts))
    }

    /// Nothing of the batch is settled, but what it shows of the version counts all the same, and the
    /// gate and probation shall see its events.
    fn refused(&self, served: &Served, attempt: &Turn) {
        let conduct = attempt.conduct();
        served.did(Conduct { held: conduct.events, ..conduct });
        let values = (0..self.batch.len()).map(|row| self.batch.record(row).value);
        self.recent.keep_most(values.map(Option::unwrap_or_default));
    }

    /// Why the tile in the outbox is not sent.
    pub(super) fn describe(&self, served: &Served, window: Verdicts) -> Held {
        let Self { encoder, batch, outbox, .. } = self;
        let mut letters = outbox.letters().iter();
        let refused = letters.find(|letter| matches!(letter.to, Destination::DeadLetters(_)));
        let example = refused.map(|letter| {
            let Record { partition, offset, .. } = batch.record(letter.row);
            let mut headers = outbox.headers(batch, letter);
            let message = headers.find(|header| header.name == MESSAGE.as_bytes());
            let message = message.and_then(|header| header.value).unwrap_or_default();
            let message = String::from_utf8_lossy(message).into_owned();
            Example { topic: encoder.topic().to_owned(), partition, offset, message }
        });
        Held { version: served.version.version.clone(), window, example }
    }
}
