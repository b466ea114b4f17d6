//! A worker's consumer, as `bus/consumer.rs` is on a real Kafka: a member of the group that knows
//! where each of its partitions stands.

use std::collections::BTreeMap;

use super::cluster::{Brokers, MemoryCluster};
use super::faults::{Broken, Fault, Sight};
use super::group::Client;
use super::log::copy;
use crate::batch::Batch;
use crate::bus::context::Rebalanced;
use crate::bus::{Fatal, Lag, Stand};
use crate::record::NextOffset;

/// How far back a second delivery begins, in records.
const TWINS_MAX: usize = 3;

pub struct Consumer {
    cluster: MemoryCluster,
    client: Client,
    /// Where each assigned partition stands that has delivered something. A record below is
    /// dropped: it was delivered before.
    positions: BTreeMap<i32, NextOffset>,
    /// What the client library knows of each assigned partition.
    fetching: BTreeMap<i32, Option<Place>>,
    paused: bool,
    /// What the last poll told of the group.
    rebalanced: Option<Rebalanced>,
    rebalances: u64,
}

/// Where the library reads on.
#[derive(Debug, Clone, Copy)]
struct Place {
    next: i64,
    /// Where it began since the partition was assigned.
    first: i64,
}

/// The brokers did not say what is settled.
#[derive(Debug)]
pub struct NoAnswer;

impl Consumer {
    /// Joins the group. What comes of it is seen by polling.
    pub fn join(cluster: &MemoryCluster, client: Client) -> Result<Self, Fatal> {
        let mut brokers = cluster.step(client)?;
        let Brokers { group, faults, .. } = &mut *brokers;
        group.join(client, faults);
        Ok(Self {
            cluster: cluster.clone(),
            client,
            positions: BTreeMap::new(),
            fetching: BTreeMap::new(),
            paused: false,
            rebalanced: None,
            rebalances: 0,
        })
    }

    /// Polls once: what comes is news of the group or a record, which goes to the end of `batch`.
    /// Says whether there was a record.
    pub fn poll(&mut self, batch: &mut Batch) -> Result<bool, Fatal> {
        let cluster = self.cluster.clone();
        let mut brokers = cluster.step(self.client)?;
        let Brokers { group, faults, clock, .. } = &mut *brokers;
        if faults.brokers_are_away {
            return Ok(false);
        }
        if let Some(change) = group.news(self.client, *clock, faults) {
            for partition in &change.revoked {
                self.fetching.remove(partition);
            }
            self.fetching.extend(change.assigned.iter().map(|partition| (*partition, None)));
            self.rebalanced = Some(change);
            return Ok(false);
        }
        let Some((partition, from)) = self.choose(&mut brokers) else { return Ok(false) };
        let Brokers { events, faults, .. } = &mut *brokers;
        let Some((offset, event)) = events[partition as usize].read(from) else { return Ok(false) };
        if let Some(Some(place)) = self.fetching.get_mut(&partition) {
            place.next = offset + 1;
        }
        let known = self.positions.get(&partition);
        if known.is_some_and(|next| next.covers(offset)) && !faults.is(Broken::TakesTwins) {
            faults.see(Sight::DroppedTwin);
            return Ok(true);
        }
        copy(partition, offset, event, batch);
        self.positions.insert(partition, NextOffset::after(offset));
        Ok(true)
    }

    /// The partition whose record the library delivers next, and from where it reads.
    fn choose(&mut self, brokers: &mut Brokers) -> Option<(i32, i64)> {
        let events = &brokers.events;
        let waits = |(partition, place): (&i32, &Option<Place>)| {
            let next = (*place)?.next;
            (events[*partition as usize].end() > next).then_some(*partition)
        };
        let able: Vec<i32> = self.fetching.iter().filter_map(waits).collect();
        let partition = *brokers.faults.rng.choice(&able).filter(|_| !self.paused)?;
        let place = self.fetching.get_mut(&partition)?.as_mut()?;
        if brokers.faults.strikes(Fault::SecondDelivery) {
            let back = brokers.faults.rng.usize(1..=TWINS_MAX);
            place.next = brokers.events[partition as usize].before(place.next, back, place.first);
        }
        Some((partition, place.next))
    }

    /// What the group has changed since the last call. The caller forgets the records of revoked
    /// partitions.
    pub fn take_rebalanced(&mut self) -> Option<Rebalanced> {
        let change = self.rebalanced.take()?;
        self.rebalances += 1;
        for partition in &change.revoked {
            if !self.is(Broken::RemembersPositions) {
                self.positions.remove(partition);
            }
        }
        Some(change)
    }

    /// Finds a place for partitions that have none: what is settled for them, and only once that
    /// is stable. A partition with nothing settled is read from its start.
    pub fn find_positions(&mut self) {
        let brokers = &mut *self.cluster.look();
        if brokers.faults.brokers_are_away {
            return;
        }
        for (partition, place) in self.fetching.iter_mut().filter(|(_, place)| place.is_none()) {
            let stable = match brokers.transactions.stable(*partition) {
                Err(_) if brokers.faults.is(Broken::ReadsUnstable) => {
                    Ok(brokers.transactions.settled(*partition))
                }
                stable => stable,
            };
            match stable {
                Ok(next) => {
                    let first = next.map_or(0, NextOffset::get);
                    *place = Some(Place { next: first, first });
                }
                Err(_) => brokers.faults.see(Sight::UnstableOffset),
            }
        }
    }

    /// Stops delivery while a batch in hand cannot be settled and no more can be held.
    pub fn pause(&mut self) {
        if !self.paused {
            self.paused = true;
            self.cluster.look().faults.see(Sight::Paused);
        }
    }

    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// What the brokers have as settled for these partitions.
    pub fn committed(
        &self,
        partitions: &[i32],
    ) -> Result<Result<Vec<(i32, NextOffset)>, NoAnswer>, Fatal> {
        let mut brokers = self.cluster.step(self.client)?;
        if brokers.faults.strikes(Fault::NoAnswer) {
            return Ok(Err(NoAnswer));
        }
        let mut settled = Vec::new();
        for &partition in partitions {
            match brokers.transactions.stable(partition) {
                Ok(next) => settled.extend(next.map(|next| (partition, next))),
                Err(_) if brokers.faults.is(Broken::AsksTooEarly) => {
                    settled.extend(brokers.transactions.settled(partition).map(|n| (partition, n)));
                }
                Err(_) => return Ok(Err(NoAnswer)),
            }
        }
        Ok(Ok(settled))
    }

    pub fn rebalances(&self) -> u64 {
        self.rebalances
    }

    /// Where each assigned partition stands, and which have no place.
    pub fn stand(&self) -> Stand {
        let brokers = self.cluster.look();
        let mut stand = Stand::default();
        for (&partition, place) in &self.fetching {
            let known = self.positions.get(&partition).copied();
            match known.or_else(|| place.map(|place| NextOffset::at(place.next))) {
                Some(next) => {
                    let events = brokers.events[partition as usize].end() - next.get();
                    let events = u64::try_from(events).unwrap_or(0);
                    stand.lags.push(Lag { partition, next, events });
                }
                None => stand.placeless.push(partition),
            }
        }
        stand
    }

    pub fn is(&self, broken: Broken) -> bool {
        self.cluster.look().faults.is(broken)
    }

    /// Leaves the group.
    pub fn close(self) {
        if let Ok(mut brokers) = self.cluster.step(self.client) {
            let Brokers { group, faults, .. } = &mut *brokers;
            group.leave(self.client, faults);
        }
    }
}
