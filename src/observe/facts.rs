//! The facts behind an instance's status: plain data under one lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::drift::DriftReport;
use super::health::{
    LOADER_STUCK_AFTER, Latch, Pulse, Readiness, WORKER_STUCK_AFTER, Waiting, Watch,
};
use super::rates::Meter;
use super::reports::{
    Agreement, HeldReport, LastGate, LastRefusal, LastSkipped, PartitionReport, Serves,
    ShadowReport, Totals, WorkerReport, rfc3339,
};
use crate::bus::{Lag, Stand};
use crate::drift::Drift;
use crate::shadow::Shadow;
use crate::worker::{Held, Turn};

#[derive(Debug)]
pub struct Facts {
    /// Counts the changes that are worth a report of their own.
    pub revision: u64,
    pub readiness: Readiness,
    /// A partition in which events wait, and that has not moved for so long, stands still.
    patience: Duration,
    pub loader: Pulse,
    pub workers: Vec<Worker>,
    pub served: Option<Serves>,
    pub candidates: Vec<String>,
    pub shadow: Option<Arc<Shadow>>,
    pub drift: Option<Arc<Drift>>,
    pub last_gate: Option<LastGate>,
    pub last_refusal: Option<LastRefusal>,
    pub last_skipped: Option<LastSkipped>,
    pub control_offset: Option<i64>,
    pub totals: Totals,
    pub meter: Meter,
}

/// What one worker told.
#[derive(Debug)]
pub struct Worker {
    pub pulse: Pulse,
    came_round: Option<Instant>,
    pub joined: bool,
    pub lags: Vec<Lag>,
    watch: Watch,
    /// It holds a batch back: since when, as reports spell it, and why.
    held: Option<(String, Arc<Held>)>,
    pub events: u64,
    pub rebalances: u64,
}

impl Facts {
    /// Of an instance of `model` that has done nothing yet.
    pub fn new(model: &str, workers: usize, patience: Duration, started: Timestamp) -> Self {
        let mut readiness = Readiness::default();
        readiness.hold(Latch::ControlLogRead, "nothing has been read yet");
        readiness.hold(
            Latch::VersionServes,
            format!("no version of model `{model}` is configured or has been announced"),
        );
        readiness.hold(Latch::WorkersJoined, joined(0, workers));
        Self {
            revision: 0,
            readiness,
            patience,
            loader: Pulse::new("the control loader", LOADER_STUCK_AFTER),
            workers: (0..workers).map(Worker::new).collect(),
            served: None,
            candidates: Vec::new(),
            shadow: None,
            drift: None,
            last_gate: None,
            last_refusal: None,
            last_skipped: None,
            control_offset: None,
            totals: Totals::default(),
            meter: Meter::new(started),
        }
    }

    /// Something changed that is worth a report of its own.
    pub fn changed(&mut self) {
        self.revision += 1;
    }

    /// Drops the latch of the group when the last worker has joined it.
    pub fn count_joined(&mut self) {
        let all = self.workers.len();
        let members = self.workers.iter().filter(|worker| worker.joined).count();
        if members == all {
            self.readiness.release(Latch::WorkersJoined);
        } else {
            self.readiness.explain(Latch::WorkersJoined, || joined(members, all));
        }
        self.changed();
    }

    /// What holds the instance back at this moment, in the order of the latches.
    pub fn waits_for(&self, now: Instant) -> Vec<Waiting> {
        let mut waits_for = self.readiness.waits_for().to_vec();
        let mut add = |latch, whys: Vec<String>| {
            if !whys.is_empty() {
                waits_for.push(Waiting { latch, why: whys.join("; ") });
            }
        };
        let workers = || self.workers.iter().enumerate();
        let held = workers().filter_map(|(index, worker)| {
            let (_, held) = worker.held.as_ref()?;
            Some(format!("worker {index} has stopped: {held}"))
        });
        add(Latch::NothingHeldBack, held.collect());
        let stalled = workers().filter_map(|(index, worker)| {
            let (partitions, stood) = worker.watch.stalled(self.patience, now);
            let names: Vec<_> = partitions.iter().map(i32::to_string).collect();
            let what = match names.len() {
                0 => return None,
                1 => format!("partition {} stands", names[0]),
                _ => format!("partitions {} stand", names.join(", ")),
            };
            let why = match worker.came_round {
                Some(last) if now.saturating_duration_since(last) > self.patience => {
                    ": it does not come round; it is stuck, or the brokers do not let it settle its batch"
                }
                _ => ": \"A partition stands still\" in README.md says what to do",
            };
            Some(format!("{what} still at worker {index} for {} s{why}", stood.as_secs()))
        });
        add(Latch::PartitionsMove, stalled.collect());
        waits_for
    }

    /// The partitions that stand still although events wait in them.
    pub fn stalled(&self, now: Instant) -> Vec<i32> {
        let patience = self.patience;
        let stalled = |worker: &Worker| worker.watch.stalled(patience, now).0;
        let mut stalled: Vec<i32> = self.workers.iter().flat_map(stalled).collect();
        stalled.sort_unstable();
        stalled.dedup();
        stalled
    }

    pub fn add(&mut self, worker: usize, turn: &Turn) {
        self.workers[worker].events += turn.events();
        self.totals.events += turn.events();
        self.totals.predictions += turn.predictions;
        self.totals.tombstones += turn.tombstones;
        for (reason, events) in &turn.dead_letters {
            *self.totals.dead_letters.entry(*reason).or_default() += events;
        }
    }

    pub fn shadow(&self) -> Option<ShadowReport> {
        self.shadow.as_ref().map(|shadow| ShadowReport {
            version: shadow.version.version.clone(),
            control_offset: shadow.control_offset,
            agreement: Agreement::from(&shadow.comparison()),
        })
    }

    pub fn drift(&self) -> Option<DriftReport> {
        self.drift.as_deref().map(DriftReport::of)
    }

    pub fn workers(&self) -> Vec<WorkerReport> {
        let report = |(index, worker): (usize, &Worker)| WorkerReport {
            worker: index,
            joined: worker.joined,
            partitions: worker.lags.len(),
            events: worker.events,
            rebalances: worker.rebalances,
            held: worker.held.as_ref().map(|(since, held)| HeldReport::new(since, held)),
        };
        self.workers.iter().enumerate().map(report).collect()
    }

    /// By partition. While one moves between two workers of this instance, both may name it for a
    /// turn; the one that is further on has it.
    pub fn partitions(&self) -> Vec<PartitionReport> {
        let mut furthest = BTreeMap::new();
        for lag in self.workers.iter().flat_map(|worker| &worker.lags) {
            let known = furthest.entry(lag.partition).or_insert(lag);
            if lag.next > known.next {
                *known = lag;
            }
        }
        let report = |lag: &Lag| PartitionReport {
            partition: lag.partition,
            next_offset: lag.next.get(),
            lag: lag.events,
        };
        furthest.into_values().map(report).collect()
    }
}

impl Worker {
    fn new(index: usize) -> Self {
        Self {
            pulse: Pulse::new(format!("worker {index}"), WORKER_STUCK_AFTER),
            came_round: None,
            joined: false,
            lags: Vec::new(),
            watch: Watch::default(),
            held: None,
            events: 0,
            rebalances: 0,
        }
    }

    /// It has come round, holds a batch back or none, and its partitions stand like this; says whether it
    /// holds or has others than before.
    pub fn came_round(&mut self, held: Option<&Arc<Held>>, stand: Stand, now: Instant) -> bool {
        self.came_round = Some(now);
        self.watch.look(&stand, held.is_some(), now);
        let partitions = |lags: &[Lag]| lags.iter().map(|lag| lag.partition).collect::<Vec<_>>();
        let moved = partitions(&self.lags) != partitions(&stand.lags);
        self.lags = stand.lags;
        let is_news = held != self.held.as_ref().map(|(_, held)| held);
        if is_news {
            self.held = held.map(|held| (rfc3339(Timestamp::now()), Arc::clone(held)));
        }
        moved || is_news
    }

    /// Its thread has ended: it has no partitions, and nothing in hand.
    pub fn end(&mut self) {
        self.pulse.end();
        self.joined = false;
        self.lags.clear();
        self.watch = Watch::default();
        self.held = None;
    }
}

fn joined(members: usize, all: usize) -> String {
    format!("{members} of {all} workers have joined the group")
}
