//! A worker's producer, as `bus/producer.rs` is on a real Kafka: sends, and commits or forgets what
//! was sent.

use super::cluster::{Brokers, MemoryCluster};
use super::faults::Fault;
use super::group::Client;
use super::log::{Output, Stored, Topic};
use crate::bus::producer::Trouble;
use crate::record::NextOffset;

/// How long after the decision to commit its markers are written, at most, in ticks.
const MARKERS_TICKS_MAX: u64 = 12;
/// How late a belated commit arrives, at most, in ticks.
const LATE_TICKS_MAX: u64 = 60;

pub struct Producer {
    cluster: MemoryCluster,
    client: Client,
    id: String,
    epoch: u32,
    open: bool,
}

impl Producer {
    /// A producer ready to begin: the transaction that a predecessor with the same id left open is
    /// aborted first.
    pub fn connect(cluster: &MemoryCluster, client: Client, id: &str) -> Result<Self, Trouble> {
        let mut brokers = cluster.step(client).map_err(Trouble::Fatal)?;
        let Brokers { transactions, faults, clock, .. } = &mut *brokers;
        if faults.strikes(Fault::NoProducer) {
            return Err(Trouble::Unknown("the producer does not get ready".into()));
        }
        let epoch = transactions.start(id, *clock, faults);
        Ok(Self { cluster: cluster.clone(), client, id: id.to_owned(), epoch, open: false })
    }

    /// Has something been sent within a transaction that has not ended?
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Sends a tile's records, opening the transaction if it is the first.
    pub fn send(
        &mut self,
        letters: impl Iterator<Item = (Topic, i32, Stored)>,
        letter_bytes_max: usize,
    ) -> Result<(), Trouble> {
        let mut brokers = self.cluster.step(self.client).map_err(Trouble::Fatal)?;
        let mut letters = letters.peekable();
        if letters.peek().is_none() {
            return Ok(());
        }
        let transaction = self.current(&mut brokers)?;
        self.open = true;
        for (topic, partition, record) in letters {
            if record.bytes() > letter_bytes_max {
                return Err(Trouble::Abort(format!("a record of {} bytes", record.bytes())));
            }
            if brokers.faults.strikes(Fault::SendRefused) {
                return Err(Trouble::Abort("a record was not taken".into()));
            }
            brokers.outputs.push(Output { topic, partition, transaction, record });
        }
        Ok(())
    }

    /// Waits until the brokers have everything that was sent.
    pub fn flush(&self) -> Result<(), Trouble> {
        let mut brokers = self.cluster.step(self.client).map_err(Trouble::Fatal)?;
        if brokers.faults.strikes(Fault::NotDelivered) {
            return Err(Trouble::Abort("not delivered".into()));
        }
        if brokers.faults.strikes(Fault::FlushUnheard) {
            return Err(Trouble::Unknown("the brokers do not take what was sent".into()));
        }
        Ok(())
    }

    /// Commits the offsets with everything that was sent and flushed since the transaction began.
    pub fn commit(&mut self, offsets: &[(i32, NextOffset)]) -> Result<(), Trouble> {
        self.send_offsets(offsets)?;
        self.end()?;
        self.open = false;
        Ok(())
    }

    fn send_offsets(&mut self, offsets: &[(i32, NextOffset)]) -> Result<(), Trouble> {
        let generation = {
            let brokers = &mut *self.cluster.look();
            brokers.group.generation_of(self.client, &mut brokers.faults)
        };
        let mut brokers = self.cluster.step(self.client).map_err(Trouble::Fatal)?;
        let transaction = self.current(&mut brokers)?;
        self.open = true;
        let Brokers { group, transactions, faults, .. } = &mut *brokers;
        if faults.strikes(Fault::OffsetsRefused) {
            return Err(Trouble::Abort("the offsets were not taken".into()));
        }
        group.check(self.client, generation, faults).map_err(|refused| {
            Trouble::Abort(format!("the offsets were not taken: {refused:?}"))
        })?;
        transactions.add_offsets(transaction, offsets);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Trouble> {
        let mut brokers = self.cluster.step(self.client).map_err(Trouble::Fatal)?;
        let transaction = self.current(&mut brokers)?;
        let Brokers { transactions, faults, clock, .. } = &mut *brokers;
        let unheard = || Trouble::Unknown("nobody answers whether the commit was done".into());
        if faults.strikes(Fault::CommitRefused) {
            return Err(Trouble::Abort("the commit was refused".into()));
        }
        if faults.strikes(Fault::CommitLost) {
            return Err(unheard());
        }
        if faults.strikes(Fault::CommitLate) {
            transactions.commit_later(transaction, *clock + faults.rng.u64(1..=LATE_TICKS_MAX));
            return Err(unheard());
        }
        transactions.commit(transaction, *clock + faults.rng.u64(0..=MARKERS_TICKS_MAX));
        if faults.strikes(Fault::CommitUnheard) {
            return Err(unheard());
        }
        Ok(())
    }

    /// Forgets everything that was sent since the transaction began.
    pub fn abort(&mut self) -> Result<(), Trouble> {
        if !self.open {
            return Ok(());
        }
        let mut brokers = self.cluster.step(self.client).map_err(Trouble::Fatal)?;
        let transaction = self.current(&mut brokers)?;
        brokers.transactions.abort(transaction);
        if brokers.faults.strikes(Fault::AbortUnheard) {
            return Err(Trouble::Unknown("nobody answers whether the abort was done".into()));
        }
        self.open = false;
        Ok(())
    }

    /// Its transaction, begun if there is none, unless somebody else has the id by now.
    fn current(&self, brokers: &mut Brokers) -> Result<usize, Trouble> {
        let Brokers { transactions, faults, clock, .. } = brokers;
        if faults.strikes(Fault::Fencing) {
            transactions.fence(&self.id);
        }
        transactions
            .current(self.client, &self.id, self.epoch, *clock, faults)
            .map_err(|_| Trouble::Fenced(format!("`{}` has another producer", self.id)))
    }
}
