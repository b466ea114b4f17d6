//! The facts behind an instance's status: plain data under one lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::health::{LOADER_STUCK_AFTER, Latch, Pulse, Readiness, WORKER_STUCK_AFTER};
use super::rates::Meter;
use super::reports::{
    Agreement, LastGate, LastRefusal, LastSkipped, PartitionReport, Serves, ShadowReport, Totals,
    WorkerReport,
};
use crate::bus::Lag;
use crate::shadow::Shadow;
use crate::worker::Turn;

#[derive(Debug)]
pub struct Facts {
    /// Counts the changes that are worth a report of their own.
    pub revision: u64,
    pub readiness: Readiness,
    pub loader: Pulse,
    pub workers: Vec<Worker>,
    pub served: Option<Serves>,
    pub candidates: Vec<String>,
    pub shadow: Option<Arc<Shadow>>,
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
    pub joined: bool,
    pub lags: Vec<Lag>,
    pub events: u64,
    pub rebalances: u64,
}

impl Facts {
    /// Of an instance of `model` that has done nothing yet.
    pub fn new(model: &str, workers: usize, started: Timestamp) -> Self {
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
            loader: Pulse::new("the control loader", LOADER_STUCK_AFTER),
            workers: (0..workers).map(Worker::new).collect(),
            served: None,
            candidates: Vec::new(),
            shadow: None,
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

    pub fn workers(&self) -> Vec<WorkerReport> {
        let report = |(index, worker): (usize, &Worker)| WorkerReport {
            worker: index,
            joined: worker.joined,
            partitions: worker.lags.len(),
            events: worker.events,
            rebalances: worker.rebalances,
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
            joined: false,
            lags: Vec::new(),
            events: 0,
            rebalances: 0,
        }
    }

    /// Where its partitions stand now; says whether they are others than before.
    pub fn stands(&mut self, lags: Vec<Lag>) -> bool {
        let partitions = |lags: &[Lag]| lags.iter().map(|lag| lag.partition).collect::<Vec<_>>();
        let moved = partitions(&self.lags) != partitions(&lags);
        self.lags = lags;
        moved
    }
}

fn joined(members: usize, all: usize) -> String {
    format!("{members} of {all} workers have joined the group")
}
