//! The bus in memory, on which every fault is played from a seed.
//!
//! What is tested with it is real: the worker, the batch, the encoder, and the contract between
//! them and a bus. [`MemoryBus`] therefore takes the very steps of [`KafkaBus`](super::kafka), under
//! the same names; what Kafka's brokers do stands in `cluster`, `group` and `transactions`, and what
//! goes wrong in `faults`. One seed reproduces a run, and threads do not change that: they take
//! turns (`turns`).
//!
//! Time is counted in steps. Nothing here sleeps or looks at a clock.

pub mod cluster;
mod consumer;
pub mod faults;
mod group;
pub mod log;
mod producer;
#[cfg(test)]
mod tests;
pub mod transactions;
mod turns;

use self::cluster::MemoryCluster;
use self::consumer::Consumer;
use self::faults::{Broken, Sight};
pub use self::group::Client;
use self::log::{Stored, Topic, copy};
use self::producer::Producer;
use self::transactions::TIMEOUT_TICKS;
use super::producer::Trouble;
use super::{Bus, Fatal, Settled, Stand};
use crate::batch::{Batch, Bounds};
use crate::outbox::{Destination, Letter, Outbox};

/// How many polls `collect` makes at most once it has a record, and without one.
const AGE_POLLS_MAX: usize = 60;
const IDLE_POLLS: usize = 3;
/// How many polls a batch is held for at a time.
const HOLD_POLLS: usize = 3;
/// How many polls pass before a batch is sent again, at most, after a first failure.
const BACK_OFF_POLLS_MAX: usize = 4;

/// What a worker's end of the bus is built from.
#[derive(Debug, Clone)]
pub struct Options {
    pub transactional_id: String,
    pub bounds: Bounds,
    /// The longest record the output topics take, in bytes.
    pub letter_bytes_max: usize,
}

pub struct MemoryBus {
    cluster: MemoryCluster,
    client: Client,
    options: Options,
    consumer: Option<Consumer>,
    producer: Option<Producer>,
    /// Records that were polled while a batch in hand was being settled again.
    spare: Batch,
    /// What went wrong while sending; `settle` deals with it.
    trouble: Option<Trouble>,
    failures_in_a_row: u32,
    /// When the first record was sent of what is not settled, in ticks.
    began: Option<u64>,
}

impl MemoryBus {
    /// Joins the group as `client`, a number that the cluster has given out.
    pub fn join(cluster: &MemoryCluster, client: Client, options: Options) -> Result<Self, Fatal> {
        let mut bus = Self {
            cluster: cluster.clone(),
            client,
            options,
            consumer: None,
            producer: None,
            spare: Batch::default(),
            trouble: None,
            failures_in_a_row: 0,
            began: None,
        };
        // The producer first: its start aborts what a predecessor left open.
        bus.renew_producer(&mut Batch::default())?;
        bus.consumer = Some(Consumer::join(cluster, client)?);
        Ok(bus)
    }

    fn consumer(&mut self) -> Result<&mut Consumer, Fatal> {
        self.consumer.as_mut().ok_or_else(|| Fatal::Bug("the bus is closed".into()))
    }

    fn producer(&mut self) -> Result<&mut Producer, Fatal> {
        self.producer.as_mut().ok_or_else(|| Fatal::Bug("the bus has no producer".into()))
    }

    /// Polls once into `batch` and forgets there, and among the spare records, what was revoked.
    fn poll(&mut self, batch: &mut Batch) -> Result<bool, Fatal> {
        let consumer = self.consumer()?;
        let came = consumer.poll(batch)?;
        if let Some(change) = consumer.take_rebalanced() {
            for partition in change.revoked {
                self.forget(partition, batch, Sight::RowsRevoked);
            }
        }
        self.consumer()?.find_positions();
        Ok(came)
    }

    fn forget(&mut self, partition: i32, batch: &mut Batch, sight: Sight) {
        if self.is(Broken::KeepsRevoked) {
            return;
        }
        if batch.forget(partition) + self.spare.forget(partition) > 0 {
            self.cluster.look().faults.see(sight);
        }
    }

    fn is(&self, broken: Broken) -> bool {
        self.cluster.look().faults.is(broken)
    }

    /// Flushes and commits; the error says what state that leaves.
    fn commit(&mut self, batch: &Batch) -> Result<(), Trouble> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        let Some(producer) = &mut self.producer else {
            return Err(Trouble::Unknown("there is no producer".into()));
        };
        producer.flush()?;
        producer.commit(&batch.next_offsets())
    }

    /// After a batch that was not committed: leaves no transaction open, and in `batch` what is
    /// ours and not settled.
    fn recover(&mut self, trouble: Trouble, batch: &mut Batch) -> Result<(), Fatal> {
        let has_outlived = self.has_outlived_its_transaction();
        let trouble = match trouble {
            Trouble::Abort(why) => {
                tracing::debug!(%why, rows = batch.len(), "aborting the transaction");
                self.producer()?.abort().err()
            }
            trouble => Some(trouble),
        };
        match trouble {
            None if self.is(Broken::DropsAborted) => batch.clear(),
            None => self.back_off(batch)?,
            Some(trouble) => {
                let why = uncertain(trouble)?;
                tracing::debug!(%why, "the fate of a transaction is unknown; asking the brokers");
                if self.is(Broken::AsksTooEarly) {
                    self.forget_settled(batch)?;
                }
                self.producer = None;
                self.back_off(batch)?;
                self.renew_producer(batch)?;
                if !self.is(Broken::AsksTooEarly) {
                    self.forget_settled(batch)?;
                }
            }
        }
        self.failures_in_a_row += 1;
        if has_outlived {
            self.lighten(batch);
        }
        self.began = None;
        self.consumer()?.resume();
        Ok(())
    }

    /// Has what was sent been open for longer than the brokers allow?
    fn has_outlived_its_transaction(&self) -> bool {
        let now = self.cluster.look().clock;
        self.began.is_some_and(|began| now > began + TIMEOUT_TICKS)
    }

    /// A batch that takes longer than its transaction may be open would be sent again for ever: half of
    /// it goes back, to be collected next.
    fn lighten(&mut self, batch: &mut Batch) {
        let rows = batch.len();
        batch.halve(&mut self.spare);
        if batch.len() < rows {
            self.cluster.look().faults.see(Sight::Halved);
        }
    }

    /// Waits, longer after each failure in a row, and polls meanwhile: the group must not lose
    /// sight of us, and what it takes from us is forgotten.
    fn back_off(&mut self, batch: &mut Batch) -> Result<(), Fatal> {
        let polls_max = BACK_OFF_POLLS_MAX << self.failures_in_a_row.min(3);
        let polls = self.cluster.look().faults.rng.usize(1..=polls_max);
        for _ in 0..polls {
            self.poll_aside(batch)?;
        }
        Ok(())
    }

    /// Polls with a batch in hand: what arrives is kept aside, and when that is full, delivery is
    /// paused.
    fn poll_aside(&mut self, batch: &mut Batch) -> Result<(), Fatal> {
        let mut spare = std::mem::take(&mut self.spare);
        if spare.is_full(&self.options.bounds) {
            self.consumer()?.pause();
        }
        let consumer = self.consumer()?;
        consumer.poll(&mut spare)?;
        let change = consumer.take_rebalanced();
        self.spare = spare;
        for partition in change.into_iter().flat_map(|change| change.revoked) {
            self.forget(partition, batch, Sight::RowsRevokedInHand);
        }
        self.consumer()?.find_positions();
        Ok(())
    }

    /// A new producer with the same id: its start settles what the one before left open.
    fn renew_producer(&mut self, batch: &mut Batch) -> Result<(), Fatal> {
        self.producer = None;
        loop {
            let id = &self.options.transactional_id;
            match Producer::connect(&self.cluster, self.client, id) {
                Ok(producer) => {
                    self.producer = Some(producer);
                    return Ok(());
                }
                Err(trouble) => {
                    uncertain(trouble)?;
                    if self.consumer.is_some() {
                        self.failures_in_a_row += 1;
                        self.back_off(batch)?;
                    }
                }
            }
        }
    }

    /// Drops from `batch` what the broker has as settled: the commit that seemed to fail may have
    /// gone through.
    fn forget_settled(&mut self, batch: &mut Batch) -> Result<(), Fatal> {
        loop {
            let partitions: Vec<i32> = batch.next_offsets().iter().map(|(p, _)| *p).collect();
            if partitions.is_empty() || self.is(Broken::KeepsSettled) {
                return Ok(());
            }
            match self.consumer()?.committed(&partitions)? {
                Ok(settled) => {
                    for (partition, next) in settled {
                        if batch.forget_settled(partition, next) > 0 {
                            self.cluster.look().faults.see(Sight::RowsFoundSettled);
                        }
                    }
                    return Ok(());
                }
                Err(_) => self.poll_aside(batch)?,
            }
        }
    }
}

/// Why a new producer is needed, unless the trouble is one that no new producer ends.
fn uncertain(trouble: Trouble) -> Result<String, Fatal> {
    match trouble {
        Trouble::Fatal(fatal) => Err(fatal),
        Trouble::Abort(why)
        | Trouble::Unknown(why)
        | Trouble::Fenced(why)
        | Trouble::TooLong(why) => Ok(why),
    }
}

impl Bus for MemoryBus {
    fn collect(&mut self, batch: &mut Batch) -> Result<(), Fatal> {
        batch.clear();
        std::mem::swap(batch, &mut self.spare);
        self.consumer()?.resume();
        let mut polls = IDLE_POLLS;
        let mut aging = false;
        while polls > 0 {
            self.poll(batch)?;
            polls -= 1;
            if batch.is_full(&self.options.bounds) {
                return Ok(());
            }
            if !aging && !batch.is_empty() {
                aging = true;
                polls = self.cluster.look().faults.rng.usize(..AGE_POLLS_MAX);
            }
        }
        Ok(())
    }

    fn send(&mut self, batch: &Batch, outbox: &Outbox) -> Result<(), Fatal> {
        if self.trouble.is_some() {
            return Ok(());
        }
        self.began.get_or_insert(self.cluster.look().clock);
        let post = |letter: &Letter| {
            let topic = match letter.to {
                Destination::Predictions => Topic::Predictions,
                Destination::DeadLetters(_) => Topic::DeadLetters,
                Destination::Shadow => Topic::Shadow,
            };
            let partition = batch.record(letter.row).partition;
            (topic, partition, Stored::letter(batch, outbox, letter))
        };
        let letter_bytes_max = self.options.letter_bytes_max;
        self.trouble = match &mut self.producer {
            Some(producer) => {
                producer.send(outbox.letters().iter().map(post), letter_bytes_max).err()
            }
            None => Some(Trouble::Unknown("there is no producer".into())),
        };
        Ok(())
    }

    fn settle(&mut self, batch: &mut Batch) -> Result<Settled, Fatal> {
        if batch.is_empty() {
            return Ok(Settled::Done);
        }
        match self.commit(batch) {
            Ok(()) => {
                (self.failures_in_a_row, self.began) = (0, None);
                Ok(Settled::Done)
            }
            Err(trouble) => {
                self.recover(trouble, batch)?;
                Ok(Settled::Again)
            }
        }
    }

    fn hold(&mut self, batch: &mut Batch) -> Result<(), Fatal> {
        let is_open = self.producer.as_ref().is_some_and(Producer::is_open);
        let is_open = is_open && !self.is(Broken::KeepsHeld);
        let aborts = is_open.then(|| Trouble::Abort("its batch is held".into()));
        if let Some(trouble) = self.trouble.take().or(aborts) {
            self.cluster.look().faults.see(Sight::HeldMidTransaction);
            return self.recover(trouble, batch);
        }
        for _ in 0..HOLD_POLLS {
            self.poll_aside(batch)?;
        }
        Ok(())
    }

    fn newest(&mut self, batch: &Batch, rows: usize, newest: &mut Batch) -> Result<(), Fatal> {
        let next = batch.next_offsets();
        let each = rows.div_ceil(next.len().max(1));
        let brokers = self.cluster.step(self.client)?;
        for (partition, _) in next {
            for (offset, event) in brokers.events[partition as usize].last(each) {
                copy(partition, *offset, event, newest);
            }
        }
        Ok(())
    }

    fn stand(&mut self) -> Stand {
        let mut stand = self.consumer.as_ref().map(Consumer::stand).unwrap_or_default();
        stand.add_unsettled(&self.spare);
        stand
    }

    fn rebalances(&self) -> u64 {
        self.consumer.as_ref().map_or(0, Consumer::rebalances)
    }

    fn letter_bytes_max(&self) -> usize {
        self.options.letter_bytes_max
    }

    fn wants_shadow(&self) -> bool {
        true
    }

    fn close(&mut self) {
        self.producer = None;
        if let Some(consumer) = self.consumer.take() {
            consumer.close();
        }
    }
}

/// Whoever is dropped without a good-bye has died.
impl Drop for MemoryBus {
    fn drop(&mut self) {
        if self.consumer.is_some() {
            self.cluster.look().die(self.client, &self.options.transactional_id);
        }
    }
}
