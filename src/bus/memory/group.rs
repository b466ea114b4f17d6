//! The group coordinator: who is a member, in which generation, and who has which partition.
//!
//! Rebalancing is cooperative. A partition goes to its next owner only after the one before has
//! been told of the revoke and has polled again; only of a member that was taken for dead are the
//! partitions given away at once, and that member hears of it later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::faults::{Broken, Faults, Sight};
use crate::bus::context::Rebalanced;

/// How long a member that died counts as alive, in ticks.
const SESSION_TICKS: u64 = 150;
/// How long a member that was taken for dead does not hear of it, at most, in ticks.
const UNAWARE_TICKS_MAX: u64 = 120;

/// One end of the bus, by number.
pub type Client = usize;

#[derive(Debug)]
pub struct Group {
    generation: i32,
    /// Each partition's owner, until it has let go.
    owners: Vec<Option<Client>>,
    /// Who had each partition last.
    last_owners: Vec<Option<Client>>,
    /// Partitions whose owner is asked to let go.
    leaving: BTreeSet<i32>,
    members: BTreeMap<Client, Member>,
}

/// A member, as the coordinator and as the member's own client see it.
#[derive(Debug, Default)]
struct Member {
    standing: Standing,
    /// The latest generation that its client has heard of.
    generation: i32,
    /// What it was told to have, and not yet told to have lost.
    held: BTreeSet<i32>,
    /// What its next polls tell it.
    news: VecDeque<Rebalanced>,
    /// It is silent, but not dead: it may come back, and does not know of the time between.
    frozen: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Standing {
    #[default]
    Member,
    /// Its session ends `at`.
    Dead { at: u64 },
    /// It was taken for dead, and hears of it `at`.
    Evicted { at: u64 },
}

/// Why offsets are refused.
#[derive(Debug)]
pub enum Refused {
    UnknownMember,
    IllegalGeneration,
}

impl Group {
    pub fn new(partitions: usize) -> Self {
        Self {
            generation: 0,
            owners: vec![None; partitions],
            last_owners: vec![None; partitions],
            leaving: BTreeSet::new(),
            members: BTreeMap::new(),
        }
    }

    pub fn join(&mut self, client: Client, faults: &mut Faults) {
        self.members.insert(client, Member::default());
        self.rebalance(faults);
    }

    /// A member says good-bye.
    pub fn leave(&mut self, client: Client, faults: &mut Faults) {
        if let Some(member) = self.members.remove(&client)
            && !matches!(member.standing, Standing::Evicted { .. })
        {
            self.give_up_all(client);
            self.rebalance(faults);
        }
    }

    /// A member falls silent.
    pub fn die(&mut self, client: Client, clock: u64) {
        match self.members.get_mut(&client).map(|member| (member.standing, member)) {
            Some((Standing::Member, member)) => {
                member.standing = Standing::Dead { at: clock + SESSION_TICKS };
            }
            Some((Standing::Evicted { .. }, _)) => drop(self.members.remove(&client)),
            Some((Standing::Dead { .. }, _)) | None => {}
        }
    }

    /// A member falls silent, and may come back.
    pub fn freeze(&mut self, client: Client, clock: u64) {
        let Some(member) = self.members.get_mut(&client) else { return };
        member.frozen = true;
        if member.standing == Standing::Member {
            member.standing = Standing::Dead { at: clock + SESSION_TICKS };
        }
    }

    /// It comes back: a member as before, or, once its session has ended, one that hears of it.
    pub fn thaw(&mut self, client: Client, faults: &mut Faults) {
        let Some(member) = self.members.get_mut(&client).filter(|member| member.frozen) else {
            return;
        };
        member.frozen = false;
        match member.standing {
            Standing::Dead { .. } => member.standing = Standing::Member,
            Standing::Evicted { .. } => faults.see(Sight::Zombie),
            Standing::Member => {}
        }
    }

    /// Takes some live member for dead, if there is one.
    pub fn evict(&mut self, clock: u64, faults: &mut Faults) {
        let live: Vec<Client> = self.live().collect();
        let Some(&client) = faults.rng.choice(&live) else { return };
        tracing::debug!(client, "evicted");
        let at = clock + faults.rng.u64(0..UNAWARE_TICKS_MAX);
        if let Some(member) = self.members.get_mut(&client) {
            member.standing = Standing::Evicted { at };
            member.news.clear();
        }
        self.give_up_all(client);
        self.rebalance(faults);
    }

    /// Asks the owner of some partition to let go of it.
    pub fn revoke(&mut self, faults: &mut Faults) {
        let partition = faults.rng.usize(..self.owners.len());
        self.ask_back(partition);
    }

    fn ask_back(&mut self, partition: usize) {
        let Some(owner) = self.owners[partition] else { return };
        if self.leaving.insert(partition as i32)
            && let Some(member) = self.members.get_mut(&owner)
        {
            let revoked = vec![partition as i32];
            member.news.push_back(Rebalanced { revoked, assigned: Vec::new() });
        }
    }

    /// Sessions end.
    pub fn tick(&mut self, clock: u64, faults: &mut Faults) {
        let ended =
            |member: &Member| matches!(member.standing, Standing::Dead { at } if at <= clock);
        let gone: Vec<Client> =
            self.members.iter().filter(|(_, m)| ended(m)).map(|(client, _)| *client).collect();
        for client in gone {
            tracing::debug!(client, "its session has ended");
            if let Some(member) = self.members.get_mut(&client).filter(|member| member.frozen) {
                member.standing = Standing::Evicted { at: clock };
                member.news.clear();
            } else {
                self.members.remove(&client);
            }
            self.give_up_all(client);
            self.rebalance(faults);
        }
    }

    /// What a client's poll tells it, one piece of news at a time.
    pub fn news(&mut self, client: Client, clock: u64, faults: &mut Faults) -> Option<Rebalanced> {
        let member = self.members.get_mut(&client)?;
        if let Standing::Evicted { at } = member.standing {
            if clock < at {
                return None;
            }
            // Its partitions are lost, and it joins anew.
            let revoked = std::mem::take(&mut member.held).into_iter().collect();
            self.join(client, faults);
            return Some(Rebalanced { revoked, assigned: Vec::new() });
        }
        member.generation = self.generation;
        let news = member.news.pop_front()?;
        member.held.extend(&news.assigned);
        member.held.retain(|partition| !news.revoked.contains(partition));
        for &partition in &news.revoked {
            self.leaving.remove(&partition);
            self.owners[partition as usize] = None;
        }
        if !news.revoked.is_empty() {
            self.rebalance(faults);
        }
        Some(news)
    }

    /// What a client states with the offsets it sends. Its own thread may have heard of a new
    /// generation without a poll.
    pub fn generation_of(&mut self, client: Client, faults: &mut Faults) -> i32 {
        let Some(member) = self.members.get_mut(&client) else { return -1 };
        if member.standing == Standing::Member && faults.rng.bool() {
            member.generation = self.generation;
        }
        member.generation
    }

    /// May this client commit offsets in the name of that generation?
    pub fn check(
        &self,
        client: Client,
        generation: i32,
        faults: &mut Faults,
    ) -> Result<(), Refused> {
        if faults.is(Broken::AnyMemberCommits) {
            return Ok(());
        }
        let standing = self.members.get(&client).map(|member| member.standing);
        if standing.is_none_or(|standing| matches!(standing, Standing::Evicted { .. })) {
            faults.see(Sight::UnknownMember);
            return Err(Refused::UnknownMember);
        }
        if generation != self.generation {
            faults.see(Sight::StaleGeneration);
            return Err(Refused::IllegalGeneration);
        }
        Ok(())
    }

    fn live(&self) -> impl Iterator<Item = Client> {
        let live = self.members.iter().filter(|(_, m)| m.standing == Standing::Member);
        live.map(|(client, _)| *client)
    }

    fn give_up_all(&mut self, client: Client) {
        for (partition, owner) in self.owners.iter_mut().enumerate() {
            if *owner == Some(client) {
                *owner = None;
                self.leaving.remove(&(partition as i32));
            }
        }
    }

    /// A new generation. Members keep what they have up to their share, are asked for the rest, and
    /// what nobody has goes to whoever has room.
    fn rebalance(&mut self, faults: &mut Faults) {
        self.generation += 1;
        let enrolled = |member: &Member| !matches!(member.standing, Standing::Evicted { .. });
        let members = self.members.iter().filter(|(_, member)| enrolled(member));
        let mut room: BTreeMap<Client, usize> = members.map(|(client, _)| (*client, 0)).collect();
        if room.is_empty() {
            return;
        }
        let share = self.owners.len().div_ceil(room.len());
        room.values_mut().for_each(|room| *room = share);
        for partition in 0..self.owners.len() {
            let Some(owner) = self.owners[partition] else { continue };
            match room.get_mut(&owner) {
                _ if self.leaving.contains(&(partition as i32)) => {}
                Some(room) if *room > 0 => *room -= 1,
                _ => self.ask_back(partition),
            }
        }
        for partition in 0..self.owners.len() {
            if self.owners[partition].is_none() {
                let able: Vec<Client> =
                    room.iter().filter(|(_, room)| **room > 0).map(|(client, _)| *client).collect();
                let Some(&next) = faults.rng.choice(&able) else { break };
                room.entry(next).and_modify(|room| *room -= 1);
                self.give(partition, next, faults);
            }
        }
    }

    fn give(&mut self, partition: usize, client: Client, faults: &mut Faults) {
        if self.last_owners[partition] == Some(client) {
            faults.see(Sight::GivenBack);
        }
        self.owners[partition] = Some(client);
        self.last_owners[partition] = Some(client);
        if let Some(member) = self.members.get_mut(&client) {
            let assigned = vec![partition as i32];
            member.news.push_back(Rebalanced { revoked: Vec::new(), assigned });
        }
    }
}
