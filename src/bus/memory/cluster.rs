//! The brokers, and all that a test may do to them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::faults::{Fault, Faults, Sight, Tally};
use super::group::{Client, Group};
use super::log::{Events, Output, Stored, Topic};
use super::transactions::{State, Transaction, Transactions};
use super::turns::Turns;
use crate::bus::Fatal;

/// The driver of a simulation takes its turns under this number; clients count from 1.
pub const WORLD: Client = 0;

/// A Kafka in memory, shared by all its clients.
#[derive(Debug, Clone)]
pub struct MemoryCluster(Arc<Mutex<Brokers>>);

/// Everything that is not on the clients' side.
#[derive(Debug)]
pub struct Brokers {
    /// Goes on by one at each step of anybody.
    pub clock: u64,
    pub events: Vec<Events>,
    pub outputs: Vec<Output>,
    pub group: Group,
    pub transactions: Transactions,
    pub faults: Faults,
    pub turns: Turns,
    clients: Client,
    /// Clients that do not survive their next step.
    doomed: Vec<Client>,
    /// Until then no broker answers.
    away_until: u64,
}

impl MemoryCluster {
    /// `faults` holds the seed of everything that happens here.
    pub fn new(partitions: usize, faults: Faults) -> Self {
        Self(Arc::new(Mutex::new(Brokers {
            clock: 0,
            events: (0..partitions).map(|_| Events::default()).collect(),
            outputs: Vec::new(),
            group: Group::new(partitions),
            transactions: Transactions::default(),
            faults,
            turns: Turns::default(),
            clients: 0,
            doomed: Vec::new(),
            away_until: 0,
        })))
    }

    pub fn look(&self) -> MutexGuard<'_, Brokers> {
        // A thread that panicked fails the test anyway; the others shall come to their end.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything a client or the driver does begins here: others may run first, time goes on, and
    /// what can happen by itself may happen.
    pub fn step(&self, who: Client) -> Result<MutexGuard<'_, Brokers>, Fatal> {
        let mut brokers = self.look();
        let Brokers { turns, faults, .. } = &mut *brokers;
        turns.pass(who, &mut faults.rng);
        let mut brokers = await_turn(brokers, who);
        brokers.tick();
        if brokers.doomed.contains(&who) {
            return Err(Fatal::Unavailable("killed".into()));
        }
        Ok(brokers)
    }

    /// A number for one more client.
    pub fn client(&self) -> Client {
        let mut brokers = self.look();
        brokers.clients += 1;
        brokers.clients
    }

    /// From now on `who` runs only in its turn, until the guard is dropped.
    pub fn take_turns(&self, who: Client) -> TakesTurns {
        self.look().turns.enter(who);
        TakesTurns { cluster: self.clone(), who }
    }

    /// How many take turns.
    pub fn takers(&self) -> usize {
        self.look().turns.len()
    }

    /// The client dies at its next step, wherever that is.
    pub fn kill(&self, client: Client) {
        self.thaw(client);
        self.look().doomed.push(client);
    }

    /// The client does nothing more until it is thawed, and does not know. For a client that takes turns.
    pub fn freeze(&self, client: Client) {
        let Brokers { turns, group, clock, .. } = &mut *self.look();
        turns.freeze(client);
        group.freeze(client, *clock);
    }

    pub fn thaw(&self, client: Client) {
        let Brokers { turns, group, faults, .. } = &mut *self.look();
        turns.thaw(client);
        group.thaw(client, faults);
    }

    /// No broker answers for so many steps.
    pub fn go_away(&self, steps: u64) {
        let brokers = &mut *self.look();
        brokers.away_until = brokers.clock + steps;
    }

    /// Publishes an event, leaving a gap of some offsets before it. Its offset.
    pub fn publish(&self, partition: i32, gap: i64, event: Stored) -> i64 {
        self.look().events[partition as usize].append(gap, event)
    }

    /// The fault strikes as soon as it can.
    pub fn strike_next(&self, fault: Fault) {
        self.look().faults.strike_next(fault);
    }

    /// From now on nothing goes wrong any more.
    pub fn calm(&self) {
        let brokers = &mut *self.look();
        brokers.away_until = 0;
        brokers.faults.calm();
    }

    pub fn tally(&self) -> Tally {
        self.look().faults.tally.clone()
    }

    /// Is every event settled, and every transaction at its end?
    pub fn is_settled(&self) -> bool {
        let brokers = self.look();
        let settled = |(partition, events): (usize, &Events)| {
            let next = brokers.transactions.settled(partition as i32);
            events.end() == next.map_or(0, |next| next.get())
        };
        brokers.transactions.all_ended() && brokers.events.iter().enumerate().all(settled)
    }

    /// What a `read_committed` reader sees of an output topic, in the order of the log, each with
    /// its transaction.
    pub fn committed(&self, topic: Topic) -> Vec<(Output, Transaction)> {
        let brokers = self.look();
        let with = |output: &Output| {
            (output.clone(), brokers.transactions.get(output.transaction).clone())
        };
        let outputs = brokers.outputs.iter().filter(|output| output.topic == topic).map(with);
        outputs.filter(|(_, t)| matches!(t.state, State::Committed { .. })).collect()
    }
}

impl Brokers {
    /// Time goes on by one.
    fn tick(&mut self) {
        let Self { clock, group, transactions, faults, away_until, .. } = self;
        *clock += 1;
        faults.brokers_are_away = *clock < *away_until;
        if faults.brokers_are_away {
            return;
        }
        transactions.tick(*clock, faults);
        group.tick(*clock, faults);
        if faults.strikes(Fault::Eviction) {
            group.evict(*clock, faults);
        }
        if faults.strikes(Fault::Revocation) {
            group.revoke(faults);
        }
    }

    /// A client is gone without a word.
    pub fn die(&mut self, client: Client, transactional_id: &str) {
        if self.transactions.is_open(transactional_id) {
            self.faults.see(Sight::DiedMidTransaction);
        }
        self.group.die(client, self.clock);
    }
}

/// Takes part in the turns for as long as it lives: a thread that panics does not stop the others.
#[derive(Debug)]
pub struct TakesTurns {
    cluster: MemoryCluster,
    who: Client,
}

impl TakesTurns {
    /// Waits for the first turn. A thread does nothing before it.
    pub fn begin(&self) {
        drop(await_turn(self.cluster.look(), self.who));
    }
}

impl Drop for TakesTurns {
    fn drop(&mut self) {
        let mut brokers = self.cluster.look();
        let Brokers { turns, faults, .. } = &mut *brokers;
        turns.leave(self.who, &mut faults.rng);
    }
}

fn await_turn(mut brokers: MutexGuard<'_, Brokers>, who: Client) -> MutexGuard<'_, Brokers> {
    while let Some(bell) = brokers.turns.bell(who) {
        brokers = bell.wait(brokers).unwrap_or_else(PoisonError::into_inner);
    }
    brokers
}
