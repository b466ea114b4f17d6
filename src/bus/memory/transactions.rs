//! The transaction coordinator, and the group's offsets, which only transactions change.

use std::collections::BTreeMap;

use super::faults::{Faults, Sight};
use super::group::Client;
use crate::record::NextOffset;

/// The oldest a transaction gets, in ticks; then the brokers abort it and fence its producer.
pub const TIMEOUT_TICKS: u64 = 300;

#[derive(Debug, Default)]
pub struct Transactions {
    producers: BTreeMap<String, Producer>,
    all: Vec<Transaction>,
    /// Numbers of those that are neither committed nor aborted.
    unfinished: Vec<usize>,
    settled: BTreeMap<i32, NextOffset>,
}

/// Who holds a transactional id: the producer with the latest epoch.
#[derive(Debug, Default)]
struct Producer {
    epoch: u32,
    current: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct Transaction {
    pub client: Client,
    pub transactional_id: String,
    pub began: u64,
    pub state: State,
    offsets: BTreeMap<i32, NextOffset>,
    /// When a belated request to commit arrives.
    commit_arrives: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    /// The decision to commit is written down; its markers are `due`. Nothing is visible yet, and
    /// the offsets are not stable.
    Committing {
        due: u64,
    },
    Committed {
        at: u64,
    },
    Aborted,
}

/// The producer's epoch is not the latest of its id.
#[derive(Debug)]
pub struct Fenced;

/// An open transaction holds offsets that were asked for.
#[derive(Debug)]
pub struct Unstable;

impl Transactions {
    /// A new producer takes the id: what is open under it ends first. The new epoch.
    pub fn start(&mut self, id: &str, clock: u64, faults: &mut Faults) -> u32 {
        if let Some(current) = self.producers.get(id).and_then(|producer| producer.current) {
            if self.all[current].state == State::Open {
                faults.see(Sight::AbortedAtStart);
            }
            self.finish(current, clock, faults);
        }
        self.fence(id)
    }

    /// Takes the id from its producer.
    pub fn fence(&mut self, id: &str) -> u32 {
        let producer = self.producers.entry(id.to_owned()).or_default();
        producer.epoch += 1;
        let (epoch, current) = (producer.epoch, producer.current.take());
        if let Some(current) = current {
            self.abort(current);
        }
        epoch
    }

    /// The producer's transaction; begun if it has none.
    pub fn current(
        &mut self,
        client: Client,
        id: &str,
        epoch: u32,
        clock: u64,
        faults: &mut Faults,
    ) -> Result<usize, Fenced> {
        let producer = self.producers.entry(id.to_owned()).or_default();
        if producer.epoch != epoch {
            faults.see(Sight::Fenced);
            return Err(Fenced);
        }
        match producer.current {
            Some(current) if self.all[current].state == State::Open => return Ok(current),
            // A client repeats its first request until the transaction before has its markers.
            Some(current) => self.finish(current, clock, faults),
            None => {}
        }
        let number = self.all.len();
        self.all.push(Transaction {
            client,
            transactional_id: id.to_owned(),
            began: clock,
            state: State::Open,
            offsets: BTreeMap::new(),
            commit_arrives: None,
        });
        self.unfinished.push(number);
        self.producers.entry(id.to_owned()).or_default().current = Some(number);
        Ok(number)
    }

    pub fn add_offsets(&mut self, number: usize, offsets: &[(i32, NextOffset)]) {
        self.all[number].offsets.extend(offsets.iter().copied());
    }

    /// Decides for commit; the markers follow.
    pub fn commit(&mut self, number: usize, due: u64) {
        assert_eq!(self.all[number].state, State::Open, "transaction {number} commits twice");
        self.all[number].state = State::Committing { due };
    }

    /// A commit is on its way, and nobody waits for it any more.
    pub fn commit_later(&mut self, number: usize, arrives: u64) {
        self.all[number].commit_arrives = Some(arrives);
    }

    /// Aborts what is open; what was decided stays decided.
    pub fn abort(&mut self, number: usize) {
        if self.all[number].state == State::Open {
            self.end(number, State::Aborted);
        }
    }

    /// Brings a transaction to its end: markers that are still to be written are written now.
    fn finish(&mut self, number: usize, clock: u64, faults: &mut Faults) {
        match self.all[number].state {
            State::Open => {
                if self.all[number].commit_arrives.is_some() {
                    faults.see(Sight::LateCommitFenced);
                }
                self.end(number, State::Aborted);
            }
            State::Committing { .. } => {
                for (partition, next) in std::mem::take(&mut self.all[number].offsets) {
                    self.settled.insert(partition, next);
                }
                self.end(number, State::Committed { at: clock });
            }
            State::Committed { .. } | State::Aborted => {}
        }
    }

    fn end(&mut self, number: usize, state: State) {
        tracing::debug!(number, ?state, "transaction ends");
        self.all[number].state = state;
        self.unfinished.retain(|unfinished| *unfinished != number);
        let id = &self.all[number].transactional_id;
        if let Some(producer) = self.producers.get_mut(id)
            && producer.current == Some(number)
        {
            producer.current = None;
        }
    }

    /// What happens by itself: belated commits arrive, markers are written, old transactions end.
    pub fn tick(&mut self, clock: u64, faults: &mut Faults) {
        for number in self.unfinished.clone() {
            let Transaction { state, began, commit_arrives, .. } = self.all[number];
            match state {
                State::Open if commit_arrives.is_some_and(|arrives| arrives <= clock) => {
                    faults.see(Sight::LateCommitDone);
                    self.commit(number, clock);
                }
                State::Open if clock > began + TIMEOUT_TICKS => {
                    faults.see(Sight::TimedOut);
                    let id = self.all[number].transactional_id.clone();
                    self.fence(&id);
                }
                State::Committing { due } if due <= clock => self.finish(number, clock, faults),
                _ => {}
            }
        }
    }

    /// What is settled for a partition, once no transaction holds offsets for it that may still
    /// count.
    pub fn stable(&self, partition: i32) -> Result<Option<NextOffset>, Unstable> {
        let holds = |number: &usize| self.all[*number].offsets.contains_key(&partition);
        if self.unfinished.iter().any(holds) {
            return Err(Unstable);
        }
        Ok(self.settled(partition))
    }

    /// What is settled for a partition so far.
    pub fn settled(&self, partition: i32) -> Option<NextOffset> {
        self.settled.get(&partition).copied()
    }

    pub fn get(&self, number: usize) -> &Transaction {
        &self.all[number]
    }

    pub fn is_open(&self, id: &str) -> bool {
        let current = self.producers.get(id).and_then(|producer| producer.current);
        current.is_some_and(|number| self.all[number].state == State::Open)
    }

    pub fn all_ended(&self) -> bool {
        self.unfinished.is_empty()
    }
}
