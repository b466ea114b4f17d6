//! The status of an instance: its threads tell each fact here, once, and every face reads it here.
//!
//! One lock, held for microseconds: a worker takes it once a batch, and those who read take a
//! copy and let go before they format anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::facts::Facts;
use super::health::{Latch, Waiting};
use super::metrics::Metrics;
use super::reports::{
    Agreement, CheckReport, LastGate, LastRefusal, LastSkipped, Report, Serves, rfc3339,
};
use crate::bus::Stand;
use crate::compare::Comparison;
use crate::control::registry::Configured;
use crate::heart::Heart;
use crate::model::gate::{Check, Refusal, Times};
use crate::serving::Served;
use crate::stop::Stop;
use crate::worker::Turn;

/// Shared by everything that runs. Cloning shares.
#[derive(Debug, Clone)]
pub struct Status(Arc<Shared>);

/// Who an instance is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Unique among all instances of all groups.
    pub instance: String,
    pub host: String,
    /// The name of the model it follows.
    pub model: String,
    pub configured: Option<Configured>,
}

#[derive(Debug)]
struct Shared {
    identity: Identity,
    started: Timestamp,
    stop: Stop,
    metrics: Metrics,
    facts: Mutex<Facts>,
}

/// Where one worker tells its facts.
#[derive(Debug, Clone)]
pub struct WorkerStatus {
    status: Status,
    index: usize,
}

/// What the loader tells.
impl Status {
    /// The loader has come round once more.
    pub fn loader_beat(&self) {
        self.facts().loader.heart.beat();
    }

    /// The loader's thread has ended.
    pub fn loader_ended(&self) {
        self.facts().loader.end();
    }

    /// A record was read from the control topic. `kind`: its type, `unknown` or `malformed`.
    pub fn control_message(&self, offset: i64, kind: &'static str) {
        self.0.metrics.control_message(kind);
        let mut facts = self.facts();
        facts.control_offset = Some(offset);
        facts.readiness.explain(Latch::ControlLogRead, || format!("read up to offset {offset}"));
    }

    /// A record of the control topic was passed over.
    pub fn skipped(&self, offset: i64, why: &str) {
        let at = rfc3339(Timestamp::now());
        let mut facts = self.facts();
        facts.last_skipped = Some(LastSkipped { control_offset: offset, why: why.into(), at });
        facts.changed();
    }

    /// All is read that was in the control log when the instance started.
    pub fn control_log_read(&self) {
        let mut facts = self.facts();
        facts.readiness.release(Latch::ControlLogRead);
        facts.changed();
    }

    /// Another version serves.
    pub fn swapped(&self, served: &Served) {
        self.0.metrics.swapped();
        let serves = Serves {
            version: served.version.version.clone(),
            digest: served.version.digest.clone(),
            control_offset: served.control_offset,
            since: rfc3339(Timestamp::now()),
        };
        let mut facts = self.facts();
        facts.served = Some(serves);
        facts.shadow = served.shadow.clone();
        facts.drift = served.drift.clone();
        facts.readiness.release(Latch::VersionServes);
        facts.changed();
    }

    /// A version went through the gate. `comparison`: with what serves, on recent events.
    pub fn judged(
        &self,
        version: &str,
        times: &Times,
        refusal: Option<&Refusal>,
        comparison: Option<&Comparison>,
    ) {
        self.0.metrics.judged(times, refusal.map(|refusal| refusal.check));
        let at = rfc3339(Timestamp::now());
        let check =
            |&(check, time): &(Check, Duration)| CheckReport { check, seconds: time.as_secs_f64() };
        let mut facts = self.facts();
        facts.last_gate = Some(LastGate {
            version: version.into(),
            passed: refusal.is_none(),
            checks: times.0.iter().map(check).collect(),
            agreement: comparison.map(Agreement::from),
            at: at.clone(),
        });
        if let Some(refusal) = refusal {
            let Refusal { check, message, is_transient } = refusal.clone();
            let why = || format!("version `{version}` was refused: {refusal}");
            facts.readiness.explain(Latch::VersionServes, why);
            let version = version.into();
            facts.last_refusal = Some(LastRefusal { version, check, message, is_transient, at });
        }
        facts.changed();
    }

    /// What serves has another shadow, or none any more.
    pub fn shadowed(&self, served: &Served) {
        let mut facts = self.facts();
        facts.shadow = served.shadow.clone();
        facts.changed();
    }

    /// The instance asks for something by itself, with a message of this type.
    pub fn asked(&self, kind: &'static str) {
        self.0.metrics.asked(kind);
    }

    /// The versions that wait for `promote`, all of them.
    pub fn candidates(&self, versions: Vec<String>) {
        let mut facts = self.facts();
        if facts.candidates != versions {
            facts.candidates = versions;
            facts.changed();
        }
    }
}

/// What HTTP tells.
impl Status {
    /// A request to be scored was answered with `code`, so many of its events with predictions and with
    /// rejections.
    pub fn requested(&self, code: u16, predicted: usize, rejected: usize, time: Duration) {
        self.0.metrics.requested(code, predicted, rejected, time);
    }
}

/// What a worker tells.
impl WorkerStatus {
    /// It is a member of the group.
    pub fn joined(&self) {
        let mut facts = self.status.facts();
        facts.workers[self.index].joined = true;
        facts.count_joined();
    }

    /// It has come round once more, and its partitions stand like this.
    pub fn turned(&self, turn: &Turn, stand: Stand) {
        self.status.0.metrics.turned(turn);
        let mut facts = self.status.facts();
        facts.add(self.index, turn);
        let worker = &mut facts.workers[self.index];
        if worker.came_round(turn.held.as_ref(), stand, Instant::now()) {
            facts.changed();
        }
    }

    /// Its heart, to beat before each step that may take long.
    pub fn heart(&self) -> Heart {
        self.status.facts().workers[self.index].pulse.heart.clone()
    }

    /// It took part in so many rebalances since it joined.
    pub fn rebalances(&self, so_far: u64) {
        let mut facts = self.status.facts();
        let worker = &mut facts.workers[self.index];
        self.status.0.metrics.rebalanced(so_far.saturating_sub(worker.rebalances));
        worker.rebalances = so_far;
    }

    /// Its thread has ended; it has no partitions any more.
    pub fn ended(&self) {
        let mut facts = self.status.facts();
        facts.workers[self.index].end();
        facts.changed();
    }
}

/// What everyone may ask.
impl Status {
    /// The status of an instance that has done nothing yet. `patience`: how long a partition may stand where
    /// it does although events wait in it; longer than a dead member's transaction may hold it.
    pub fn new(identity: Identity, workers: usize, patience: Duration, stop: Stop) -> Self {
        let started = Timestamp::now();
        let facts = Mutex::new(Facts::new(&identity.model, workers, patience, started));
        Self(Arc::new(Shared { identity, started, stop, metrics: Metrics::new(), facts }))
    }

    /// # Panics
    /// If there are not so many workers.
    pub fn worker(&self, index: usize) -> WorkerStatus {
        assert!(index < self.facts().workers.len(), "there is no worker {index}");
        WorkerStatus { status: self.clone(), index }
    }

    /// The instance's name.
    pub fn instance(&self) -> &str {
        &self.0.identity.instance
    }

    /// Grows with each change that is worth a report of its own.
    pub fn revision(&self) -> u64 {
        self.facts().revision
    }

    /// What holds the instance back from being ready; nothing: it is.
    pub fn waits_for(&self, now: Instant) -> Vec<Waiting> {
        let mut waits_for = self.facts().waits_for(now);
        if self.0.stop.is_requested() {
            let why = "what is in hand is finished, nothing new is taken".into();
            waits_for.push(Waiting { latch: Latch::NotStopping, why });
        }
        waits_for
    }

    /// What only a restart can mend; nothing: the instance lives. A thread that ends because it
    /// was asked to is no fault.
    pub fn faults(&self, now: Instant) -> Vec<String> {
        if self.0.stop.is_requested() {
            return Vec::new();
        }
        let facts = self.facts();
        let workers = facts.workers.iter().map(|worker| &worker.pulse);
        workers.chain([&facts.loader]).filter_map(|pulse| pulse.fault(now)).collect()
    }

    /// All of it, at this moment.
    pub fn report(&self, now: Timestamp) -> Report {
        // Every instance makes a report every few seconds, whether it is scraped or not.
        self.0.metrics.upkeep();
        let Identity { instance, host, model, configured } = self.0.identity.clone();
        let moment = Instant::now();
        let waits_for = self.waits_for(moment);
        let facts = &mut *self.facts();
        Report {
            instance,
            host,
            at: rfc3339(now),
            started: rfc3339(self.0.started),
            model,
            configured,
            served: facts.served.clone(),
            candidates: facts.candidates.clone(),
            shadow: facts.shadow(),
            drift: facts.drift(),
            last_gate: facts.last_gate.clone(),
            last_refusal: facts.last_refusal.clone(),
            last_skipped: facts.last_skipped.clone(),
            control_offset: facts.control_offset,
            ready: waits_for.is_empty(),
            waits_for,
            rates: facts.meter.read(&facts.totals, now),
            totals: facts.totals.clone(),
            workers: facts.workers(),
            partitions: facts.partitions(),
            stalled: facts.stalled(moment),
        }
    }

    /// Prometheus's text format.
    pub fn metrics(&self) -> String {
        self.0.metrics.render(&self.report(Timestamp::now()))
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        // A thread that panicked leaves at worst one fact untold.
        self.0.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
