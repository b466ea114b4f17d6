//! What the tour learns while it runs: everything that happens comes in on one channel, and one
//! loop (`tour.rs`) takes it out.

use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Instant;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::bus::Fatal;
use crate::bus::tail::Record;

#[derive(Debug)]
pub enum Fact {
    /// The reader has a record.
    Read(Read),
    /// The reader can read no more.
    Failed(Fatal),
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

/// A record, and when the reader had it.
#[derive(Debug)]
pub struct Read {
    pub topic: Topic,
    pub record: Record,
    pub at: Instant,
    /// The same moment on the clock that timestamps are of, in milliseconds.
    pub at_ms: i64,
}

impl Read {
    /// From the record's timestamp, which is its event's, to the moment the reader had it.
    pub fn latency_ms(&self) -> Option<u64> {
        let sent_ms = self.record.timestamp_ms?;
        // Two clocks may disagree by a little.
        Some(u64::try_from(self.at_ms - sent_ms).unwrap_or(0))
    }
}

/// The topics that the reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Events,
    Predictions,
    DeadLetters,
    Control,
}

/// From now on Ctrl-C and SIGTERM are facts, and end nothing by themselves.
pub fn catch_signals(facts: SyncSender<Fact>) -> std::io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut term) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = term.recv() => {}
            }
            if facts.send(Fact::Interrupted).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(wait))?;
    Ok(())
}
