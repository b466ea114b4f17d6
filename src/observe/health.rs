//! Health: whether an instance may be given work (ready), and whether a restart would help (live).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bus::Stand;
use crate::heart::Heart;
use crate::record::NextOffset;

/// A loader that has not come round for so long is stuck: it may be reading a large bundle over a
/// slow network.
pub const LOADER_STUCK_AFTER: Duration = Duration::from_secs(1_800);

/// A worker whose heart has not beaten for so long is stuck. It beats before each step of its bus, which takes
/// a third of this at most, and while the brokers are away it beats on; the rest is for scoring a tile. One that
/// stays stuck ends its instance (`app/threads.rs`).
pub const WORKER_STUCK_AFTER: Duration = Duration::from_secs(60);

/// What holds an instance back from being ready.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Latch {
    /// The control log has been read to its end.
    ControlLogRead,
    /// A version serves.
    VersionServes,
    /// Every worker has joined the group.
    WorkersJoined,
    /// No worker holds events back because too many of them would become dead letters.
    NothingHeldBack,
    /// No partition stands still although events wait in it.
    PartitionsMove,
    /// Nobody has asked the instance to stop.
    NotStopping,
}

/// A latch that is still up, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    pub latch: Latch,
    /// For people: lower case, what and where.
    pub why: String,
}

/// The latches of the start that have not dropped yet; one that dropped stays down, because what serves
/// goes on serving. The others (`NothingHeldBack`, `PartitionsMove`, `NotStopping`) come and go: they are
/// found out when somebody asks (`Facts::waits_for`). When there is none of either the instance is ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Vec<Waiting>);

impl Readiness {
    /// Holds the instance back, or says anew why.
    pub fn hold(&mut self, latch: Latch, why: impl Into<String>) {
        let why = why.into();
        match self.0.iter_mut().find(|waiting| waiting.latch == latch) {
            Some(waiting) => waiting.why = why,
            None => self.0.push(Waiting { latch, why }),
        }
    }

    /// Says anew why a latch is up, if it is.
    pub fn explain(&mut self, latch: Latch, why: impl FnOnce() -> String) {
        if let Some(waiting) = self.0.iter_mut().find(|waiting| waiting.latch == latch) {
            waiting.why = why();
        }
    }

    pub fn release(&mut self, latch: Latch) {
        self.0.retain(|waiting| waiting.latch != latch);
    }

    pub fn waits_for(&self) -> &[Waiting] {
        &self.0
    }
}

/// The heart of one thread, and what is expected of it.
#[derive(Debug)]
pub struct Pulse {
    thread: String,
    stuck_after: Duration,
    /// Before its first beat the thread may wait as long as it likes.
    pub heart: Heart,
    ended: bool,
}

impl Pulse {
    pub fn new(thread: impl Into<String>, stuck_after: Duration) -> Self {
        Self { thread: thread.into(), stuck_after, heart: Heart::default(), ended: false }
    }

    pub fn end(&mut self) {
        self.ended = true;
    }

    /// What is wrong with the thread.
    pub fn fault(&self, now: Instant) -> Option<String> {
        let thread = &self.thread;
        if self.ended {
            return Some(format!("{thread} has ended"));
        }
        let silent = self.heart.silence(now)?;
        let stuck = silent > self.stuck_after;
        stuck.then(|| format!("{thread} has been stuck in one step for {} s", silent.as_secs()))
    }
}

/// Since when each partition of one worker stands where it does although events wait in it.
#[derive(Debug, Default)]
pub struct Watch {
    waiting: BTreeMap<i32, Waits>,
    looks: u64,
}

#[derive(Debug)]
struct Waits {
    next: Option<NextOffset>,
    since: Instant,
    /// The look that has seen it last.
    seen: u64,
}

impl Watch {
    /// Takes in where the partitions stand. `may_stand`: there is another reason for it, which is known.
    pub fn look(&mut self, stand: &Stand, may_stand: bool, now: Instant) {
        if may_stand || stand.is_cut_off {
            return self.waiting.clear();
        }
        self.looks += 1;
        let seen = self.looks;
        let behind = stand.lags.iter().filter(|lag| lag.events > 0);
        let behind = behind.map(|lag| (lag.partition, Some(lag.next)));
        for (partition, next) in behind.chain(stand.placeless.iter().map(|&it| (it, None))) {
            let waits = self.waiting.entry(partition).or_insert(Waits { next, since: now, seen });
            waits.seen = seen;
            if waits.next != next {
                (waits.next, waits.since) = (next, now);
            }
        }
        self.waiting.retain(|_, waits| waits.seen == seen);
    }

    /// The partitions that have stood still for longer than `patience`, and the longest of these times.
    pub fn stalled(&self, patience: Duration, now: Instant) -> (Vec<i32>, Duration) {
        let mut longest = Duration::ZERO;
        let stalled = self.waiting.iter().filter_map(|(&partition, waits)| {
            let stood = now.saturating_duration_since(waits.since);
            (stood > patience).then(|| longest = longest.max(stood))?;
            Some(partition)
        });
        (stalled.collect(), longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Lag;

    #[test]
    fn an_instance_is_ready_when_every_latch_has_dropped() {
        let mut readiness = Readiness::default();
        readiness.hold(Latch::VersionServes, "nothing was announced");
        readiness.hold(Latch::WorkersJoined, "0 of 1");
        readiness.explain(Latch::VersionServes, || "version `2` was refused".into());
        readiness.release(Latch::WorkersJoined);
        let why = "version `2` was refused".to_owned();
        assert_eq!(readiness.waits_for(), [Waiting { latch: Latch::VersionServes, why }]);
        readiness.release(Latch::VersionServes);
        readiness.explain(Latch::VersionServes, || unreachable!("it has dropped"));
        assert!(readiness.waits_for().is_empty());
    }

    const PATIENCE: Duration = Duration::from_secs(40);

    /// Partition 0 at `next`, with `events` behind it, and those that have no place.
    fn stand(next: i64, events: u64, placeless: &[i32]) -> Stand {
        let lag = Lag { partition: 0, next: NextOffset::at(next), events };
        Stand { lags: vec![lag], placeless: placeless.to_vec(), is_cut_off: false }
    }

    #[test]
    fn a_partition_stands_still_while_events_wait_and_nothing_moves() {
        let (mut watch, begin) = (Watch::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        watch.look(&stand(5, 1, &[]), false, begin);
        watch.look(&stand(5, 9, &[3]), false, at(30));
        assert!(watch.stalled(PATIENCE, at(40)).0.is_empty());
        assert_eq!(watch.stalled(PATIENCE, at(41)), (vec![0], Duration::from_secs(41)));
        assert_eq!(watch.stalled(PATIENCE, at(71)).0, [0, 3]);
        // One moves, the other gets a place.
        watch.look(&stand(6, 8, &[]), false, at(71));
        assert!(watch.stalled(PATIENCE, at(80)).0.is_empty());
        // Where nothing waits nothing has to move.
        watch.look(&stand(14, 0, &[]), false, at(80));
        assert!(watch.stalled(PATIENCE, at(800)).0.is_empty());
    }

    #[test]
    fn what_is_held_back_or_cut_off_may_stand() {
        let (mut watch, begin) = (Watch::default(), Instant::now());
        let late = begin + 2 * PATIENCE;
        watch.look(&stand(5, 1, &[]), false, begin);
        watch.look(&stand(5, 1, &[]), true, late);
        assert!(watch.stalled(PATIENCE, late).0.is_empty());
        watch.look(&stand(5, 1, &[]), false, late);
        watch.look(&Stand { is_cut_off: true, ..stand(5, 1, &[]) }, false, late + PATIENCE);
        // From then on it has all the time again.
        watch.look(&stand(5, 1, &[]), false, late + PATIENCE);
        assert!(watch.stalled(PATIENCE, late + 2 * PATIENCE).0.is_empty());
        assert_eq!(watch.stalled(PATIENCE, late + 3 * PATIENCE).0, [0]);
    }

    #[test]
    fn a_thread_is_stuck_when_its_heart_stops_and_not_before_it_begins() {
        let limit = Duration::from_secs(300);
        let mut pulse = Pulse::new("worker 1", limit);
        let begin = Instant::now();
        assert_eq!(pulse.fault(begin + 10 * limit), None);
        pulse.heart.beat();
        assert_eq!(pulse.fault(begin + limit / 2), None);
        let stuck = "worker 1 has been stuck in one step for ";
        let fault = pulse.fault(Instant::now() + 2 * limit);
        assert!(fault.as_ref().is_some_and(|fault| fault.starts_with(stuck)), "{fault:?}");
        pulse.heart.beat();
        assert_eq!(pulse.fault(Instant::now()), None);
        pulse.end();
        assert_eq!(pulse.fault(Instant::now()).as_deref(), Some("worker 1 has ended"));
    }
}
