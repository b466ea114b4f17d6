//! The bus: how a worker gets records and gives back what became of them, in one transaction.
//!
//! The loop that drives it, in full (`worker.rs`):
//!
//! ```text
//! loop {
//!     bus.collect(&mut batch)?;               // polls; a revoked partition's rows are forgotten
//!     loop {
//!         for tile in batch { bus.send(…)?; } // the first send opens the transaction
//!         match bus.settle(&mut batch)? {     // outputs and offsets become visible together
//!             Settled::Done => break,
//!             Settled::Again => continue,     // nothing became visible; what is still ours is in the batch
//!         }
//!     }
//! }
//! ```
//!
//! **Contract.** Between the first `send` and the end of `settle` the consumer is not polled, so
//! a rebalance can only meet records that have not been sent: `collect` forgets them, and handing
//! a partition over needs no further work. `settle` leaves nothing open: it returns `Done` only
//! when the transaction is known to be committed, and otherwise leaves in the batch the records that
//! this worker still owns and that the broker does not have as settled. Where these took longer than a
//! transaction may, it leaves the first half of them, and the next `collect` begins with the rest. A bus whose
//! worker dies at any moment loses nothing: what was not settled is delivered again to the next
//! owner.
//!
//! A worker that will not settle a batch, because it would be a flood of dead letters, calls `hold`
//! again and again instead: nothing of the batch becomes visible, and the worker stays in the group.
//!
//! Two implementations: [`kafka::KafkaBus`] and [`memory::MemoryBus`], which plays every fault
//! from a seed.

pub mod admin;
mod bounded;
mod client;
pub mod consumer;
pub mod context;
pub mod embedded;
pub mod group;
pub mod joint;
pub mod kafka;
mod look;
pub mod memory;
mod native;
mod newest;
pub mod options;
mod parting;
pub mod producer;
pub mod publish;
pub mod range;
pub mod refusal;
mod reset;
pub mod stable;
pub mod statistics;
pub mod tail;
pub mod writer;

use crate::batch::Batch;
use crate::outbox::Outbox;
use crate::record::NextOffset;

/// One worker's end of the bus.
pub trait Bus {
    /// Fills the empty `batch` with what is there: returns when it is full or old enough, or,
    /// with an empty batch, after a short wait, so that the caller can look for other work.
    fn collect(&mut self, batch: &mut Batch) -> Result<(), Fatal>;

    /// Hands a tile's letters to the producer. Delivery is asked for by `settle`.
    fn send(&mut self, batch: &Batch, outbox: &Outbox) -> Result<(), Fatal>;

    /// Commits what was sent and the offsets of `batch`, or forgets what was sent.
    fn settle(&mut self, batch: &mut Batch) -> Result<Settled, Fatal>;

    /// Keeps `batch` unsettled for a short while: forgets what was sent of it, which without a transaction
    /// cannot be taken back, and polls, so that the group does not lose sight of us. What is
    /// revoked meanwhile is forgotten.
    fn hold(&mut self, batch: &mut Batch) -> Result<(), Fatal>;

    /// Fills the empty `newest` with about `rows` of the last records on the partitions of `batch`; with fewer,
    /// or none, where the brokers do not give them soon.
    fn newest(&mut self, batch: &Batch, rows: usize, newest: &mut Batch) -> Result<(), Fatal>;

    /// Where the assigned partitions stand.
    fn stand(&mut self) -> Stand;

    /// Rebalances that this member has taken part in.
    fn rebalances(&self) -> u64;

    /// The longest prediction that `send` takes, in bytes, key included.
    fn letter_bytes_max(&self) -> usize;

    /// Is there a topic for what a shadow would have said?
    fn wants_shadow(&self) -> bool;

    /// Leaves the group and lets go of everything, within the drain time-out.
    fn close(&mut self);
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Committed: outputs and offsets are visible.
    Done,
    /// Not committed. The batch now holds what is still to be scored and sent first, perhaps nothing.
    Again,
}

/// Where the partitions of a worker stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stand {
    /// Those of which it is known.
    pub lags: Vec<Lag>,
    /// Those that wait for a place to read from.
    pub placeless: Vec<i32>,
    /// No broker can be reached: nothing will move.
    pub is_cut_off: bool,
}

impl Stand {
    /// Counts the records of a batch that was polled and is not settled: they wait, too.
    pub fn add_unsettled(&mut self, batch: &Batch) {
        for row in 0..batch.len() {
            let partition = batch.record(row).partition;
            if let Some(lag) = self.lags.iter_mut().find(|lag| lag.partition == partition) {
                lag.events += 1;
            }
        }
    }
}

/// Where an assigned partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    pub partition: i32,
    pub next: NextOffset,
    /// Records between `next` and the end of the partition, as last told by the broker.
    pub events: u64,
}

/// What ends the process: no retry by this instance can help. The text names what, where, and
/// after `hint:` what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// Exit code 69.
    #[error("{0}")]
    Unavailable(String),
    /// Exit code 77.
    #[error("{0}")]
    NotPermitted(String),
    /// Exit code 78.
    #[error("{0}")]
    Configuration(String),
    /// Exit code 65.
    #[error("{0}")]
    Data(String),
    /// Exit code 70: a broken promise of ours or of the client library.
    #[error("{0}")]
    Bug(String),
}
