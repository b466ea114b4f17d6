//! The loader: reads the control log, keeps the registry, and puts into the slot what it wants.
//!
//! One thread of its own: fetching, importing and gating a model never delay a batch. It reads the
//! log from its start to its end before the first event is consumed, loads only what shall serve
//! or waits then, and follows. What the log brings at once is folded before anything is loaded: of a
//! storm of announcements only what stands at its end is fetched.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{Message, Unread};
use super::refused::Refused;
use super::registry::{Configured, Effect, Registry, Source};
use super::target::{Role, Target};
use super::trial::Trial;
use crate::bus::Fatal;
use crate::bus::tail::{Record, Step, Tail};
use crate::compare::Comparison;
use crate::config::{Gate, Probation};
use crate::model::gate::{self, Check, Expected, Refusal, Settings, Times};
use crate::model::store::Store;
use crate::model::traffic::{Bounds, Replay};
use crate::model::version::Version;
use crate::recent::Recent;
use crate::serving::{Served, Serving};
use crate::shadow::Shadow;
use crate::stop::Stop;

/// How long one look at the log waits: a wish to stop is seen within it.
const TICK: Duration = Duration::from_millis(100);

/// Versions that are fetched at most before what is in memory serves.
const FETCHES_MAX: usize = 2;
/// Of many that wait, so many of the newest are loaded, and the shadow.
const CANDIDATES_MAX: usize = 4;
/// On fewer recent events nothing is judged: one that differs would be too many.
const REPLAY_ROWS_MIN: usize = 100;
/// So many events are scored by a shadow before what it costs counts.
const SHADOW_ROWS_MIN: u64 = 10_000;

/// What the loader tells: for logs, metrics and reports.
#[derive(Debug, Clone)]
pub enum Event {
    /// The loader has come round once more.
    Round,
    /// A control record was read: its type, `unknown` or `malformed`.
    Message { offset: i64, kind: &'static str },
    /// A control record was passed over: unknown, malformed, or against what was said before.
    Skipped { offset: i64, why: String },
    /// The versions that have passed the gate and wait for `promote`, all of them.
    Candidates(Vec<String>),
    /// A version went through the gate: what each check took, what it failed if it did, and how it
    /// compared with what serves if it came so far.
    Judged {
        version: String,
        times: Times,
        refusal: Option<Refusal>,
        comparison: Option<Box<Comparison>>,
    },
    /// Another version serves.
    Swapped { served: Arc<Served>, load_seconds: f64 },
    /// What serves has another shadow, or none any more.
    Shadowed { served: Arc<Served> },
    /// This instance asks for something by itself; it has to be published.
    Asks(Message),
    /// The log has been read to the end it had at the start.
    CaughtUp { messages: u64 },
}

/// What a loader is set up with.
#[derive(Debug, Clone)]
pub struct Setup {
    pub model: String,
    /// The bundle that serves before anything is announced, loaded.
    pub configured: Option<Arc<Version>>,
    pub settings: Settings,
    pub gate: Gate,
    pub probation: Probation,
    /// What the model files of versions that served before may come to, in bytes.
    pub kept_bytes_max: u64,
    pub stop: Stop,
}

impl Setup {
    fn bounds(&self) -> Bounds {
        let Gate { lost_max, flips_max, cost_ratio_max, .. } = self.gate;
        Bounds { lost_max, non_finite_max: 0.0, flips_max, cost_ratio_max }
    }
}

pub struct Loader<F> {
    setup: Setup,
    tail: Tail,
    registry: Registry,
    store: Store,
    serving: Serving,
    recent: Recent,
    /// Oldest use first.
    loaded: Vec<Arc<Version>>,
    refused: Refused,
    trial: Trial,
    /// Something that may be asked for next is not loaded yet.
    is_unsettled: bool,
    /// Versions that were too much to keep since the last swap.
    let_go: BTreeSet<String>,
    tell: F,
    messages: u64,
}

impl<F: FnMut(Event)> Loader<F> {
    pub fn new(
        setup: Setup,
        tail: Tail,
        store: Store,
        serving: Serving,
        recent: Recent,
        tell: F,
    ) -> Self {
        let configured = setup.configured.clone();
        let named = configured.as_ref().map(|version| Configured {
            version: version.version.clone(),
            digest: version.digest.clone(),
        });
        Self {
            registry: Registry::new(&setup.model, named.as_ref()),
            setup,
            tail,
            store,
            serving,
            recent,
            loaded: configured.into_iter().collect(),
            refused: Refused::default(),
            trial: Trial::none(),
            is_unsettled: false,
            let_go: BTreeSet::new(),
            tell,
            messages: 0,
        }
    }

    /// Runs until the wish to stop.
    ///
    /// # Errors
    /// The control log cannot be read.
    pub fn run(mut self) -> Result<(), Fatal> {
        self.catch_up()?;
        while !self.setup.stop.is_requested() {
            (self.tell)(Event::Round);
            let has_news = self.read()?;
            if has_news || self.is_unsettled || self.refused.has_due(Instant::now()) {
                self.settle();
            }
            self.judge();
        }
        Ok(())
    }

    /// Reads to the end and loads what shall serve after all of it: versions that came and went
    /// meanwhile are not even fetched, and what waits can wait until the first event.
    fn catch_up(&mut self) -> Result<(), Fatal> {
        while !self.setup.stop.is_requested() {
            match self.tail.next(TICK)? {
                Step::Record(record) => self.fold(&record),
                Step::End => {
                    self.serve();
                    self.is_unsettled = true;
                    (self.tell)(Event::CaughtUp { messages: self.messages });
                    return Ok(());
                }
                Step::Nothing => {}
            }
        }
        Ok(())
    }

    /// Folds in what the log has; says whether that was anything.
    fn read(&mut self) -> Result<bool, Fatal> {
        let mut has_news = false;
        let mut wait = TICK;
        while let Step::Record(record) = self.tail.next(wait)?
            && !self.setup.stop.is_requested()
        {
            self.fold(&record);
            has_news = true;
            wait = Duration::ZERO;
        }
        Ok(has_news)
    }

    fn fold(&mut self, record: &Record) {
        self.messages += 1;
        let offset = record.offset;
        let message = match Message::parse(record.value.as_deref().unwrap_or_default()) {
            Ok(message) => message,
            Err(unread) => {
                let kind = match unread {
                    Unread::UnknownType(_) => "unknown",
                    Unread::Malformed(_) => "malformed",
                };
                (self.tell)(Event::Message { offset, kind });
                (self.tell)(Event::Skipped { offset, why: unread.to_string() });
                return;
            }
        };
        (self.tell)(Event::Message { offset, kind: message.kind() });
        if message.model() != self.setup.model {
            return;
        }
        match self.registry.apply(offset, &message) {
            Ok(effect) => {
                // Asked for anew, by name or as what served before: it is tried again.
                let serves = self.registry.wanted().next().map(|wanted| wanted.version);
                let wanted = serves.filter(|_| effect == Effect::Serves);
                message.asks_for().into_iter().chain(wanted).for_each(|version| {
                    self.refused.forget(version);
                });
            }
            Err(contradiction) => {
                (self.tell)(Event::Skipped { offset, why: contradiction.to_string() });
            }
        }
    }

    /// Makes the slot hold what the registry wants, as far as that passes the gate.
    fn settle(&mut self) {
        let registry = &self.registry;
        self.refused.retain(|version| {
            let waits = || registry.candidates().any(|candidate| candidate.version == version);
            registry.wanted().any(|wanted| wanted.version == version) || waits()
        });
        self.serve();
        self.is_unsettled = self.stand_by();
        self.set_shadow();
        self.forget_old();
    }

    /// Puts into the slot the first of the wanted versions that passes the gate. While a store does
    /// not answer, few are asked of it: what is in memory serves meanwhile.
    fn serve(&mut self) {
        let wanted: Vec<_> = self.registry.wanted().map(Target::of).collect();
        let mut fetches = 0;
        for (place, target) in wanted.iter().enumerate() {
            let began = Instant::now();
            // What served before needs to prove nothing, least of all beside what does harm.
            let is_new = place == 0 && !target.is_return && !self.serves(target);
            let is_fetched = !self.has(target) && !self.refused.stands(&target.version, began);
            fetches += usize::from(is_fetched);
            if is_fetched && fetches > FETCHES_MAX {
                continue;
            }
            let role = if is_new { Role::New } else { Role::Known };
            if let Some(version) = self.load(target, role) {
                self.swap(version, target, began.elapsed());
                return;
            }
        }
    }

    fn has(&self, target: &Target) -> bool {
        self.loaded.iter().any(|version| target.is(version))
    }

    fn serves(&self, target: &Target) -> bool {
        self.serving.load().is_some_and(|served| target.is(&served.version))
    }

    fn swap(&mut self, version: Arc<Version>, target: &Target, took: Duration) {
        let before = self.serving.load();
        let same = |served: &Arc<Served>| {
            served.version.digest == version.digest
                && served.control_offset == target.control_offset
        };
        if before.as_ref().is_some_and(same) {
            return;
        }
        // Who went back is not sent back further by itself.
        let is_exempt = target.is_return || target.control_offset.is_none();
        self.trial = if is_exempt { Trial::none() } else { Trial::new(before.as_deref()) };
        self.let_go.clear();
        let served = Arc::new(Served::alone(version, target.control_offset));
        self.serving.swap(Arc::clone(&served));
        (self.tell)(Event::Swapped { served, load_seconds: took.as_secs_f64() });
    }

    /// Loads what may be asked to serve next: what waits for `promote`, which so is known to be able
    /// to, and what a rollback would go to. One fetch at a time, so that the log is read between
    /// two; says whether there is more to do.
    fn stand_by(&mut self) -> bool {
        let mut waiting: Vec<_> = self.registry.candidates().collect();
        waiting.sort_by_key(|candidate| Reverse(candidate.control_offset));
        waiting.truncate(CANDIDATES_MAX);
        let waiting = self.registry.shadow().into_iter().chain(waiting);
        let mut targets: Vec<_> = waiting.map(Target::waiting).collect();
        let mut seen = BTreeSet::new();
        targets.retain(|target| seen.insert(target.version.clone()));
        let waiting = targets.len();
        let before = self.registry.wanted().nth(1).map(Target::of);
        targets.extend(before.filter(|before| !self.let_go.contains(&before.version)));
        let now = Instant::now();
        let missing = targets
            .iter()
            .position(|target| !self.has(target) && !self.refused.stands(&target.version, now));
        if let Some(at) = missing {
            self.load(&targets[at], if at < waiting { Role::New } else { Role::StandsBy });
        }
        let passed = targets[..waiting].iter().filter(|target| self.has(target));
        let passed = passed.map(|target| target.version.clone()).collect();
        (self.tell)(Event::Candidates(passed));
        if let Some(before) = targets.get(waiting).filter(|before| !self.serves(before))
            && let Some(version) = self.loaded.iter().find(|version| before.is(version))
        {
            self.trial.compare_with(version);
        }
        missing.is_some()
    }

    /// Gives what serves the shadow that the registry wants, if that is loaded.
    fn set_shadow(&mut self) {
        let Some(served) = self.serving.load() else { return };
        let wanted = self.registry.shadow().map(Target::waiting);
        let loaded = wanted.and_then(|target| {
            let version = self.loaded.iter().find(|version| target.is(version))?;
            Some((Arc::clone(version), target.control_offset?))
        });
        let wanted = loaded.as_ref().map(|(version, offset)| (&version.digest, *offset));
        let has = served.shadow.as_ref();
        if wanted == has.map(|shadow| (&shadow.version.digest, shadow.control_offset)) {
            return;
        }
        let shadow = loaded.map(|(version, offset)| Arc::new(Shadow::new(version, offset)));
        let served = Arc::new(served.beside(shadow));
        self.serving.swap(Arc::clone(&served));
        (self.tell)(Event::Shadowed { served });
    }

    /// A version by its digest, from memory or through the gate; `None`: it was refused, now or
    /// before.
    fn load(&mut self, target: &Target, role: Role) -> Option<Arc<Version>> {
        let is_new = role == Role::New;
        let at = self.loaded.iter().position(|version| target.is(version));
        let known = at.map(|at| self.loaded.remove(at));
        if let Some(version) = known.as_ref().filter(|_| !is_new) {
            self.loaded.push(Arc::clone(version));
            return known;
        }
        if self.refused.stands(&target.version, Instant::now()) {
            self.loaded.extend(known);
            return None;
        }
        let (mut times, mut comparison) = (Times::default(), None);
        // A bug in an importer shall not take down what serves, nor keep an instance from starting.
        let admit =
            AssertUnwindSafe(|| self.admit(target, known, is_new, &mut times, &mut comparison));
        let admitted = catch_unwind(admit).unwrap_or_else(|_| {
            let message = "loading it panicked, which is a bug of foretell; the log says where";
            Err(Refusal::new(Check::Import, message))
        });
        // What a wish to stop interrupted was not refused.
        if admitted.is_err() && self.setup.stop.is_requested() {
            return None;
        }
        let refusal = admitted.as_ref().err().cloned();
        let is_news = match &refusal {
            Some(refusal) => self.refused.note(&target.version, refusal, Instant::now()),
            None => {
                self.refused.forget(&target.version);
                true
            }
        };
        // Nobody has asked for what only stands by; its store may have forgotten it.
        if is_news && (refusal.is_none() || role != Role::StandsBy) {
            let version = target.version.clone();
            (self.tell)(Event::Judged { version, times, refusal, comparison });
        }
        let version = admitted.ok()?;
        self.loaded.push(Arc::clone(&version));
        Some(version)
    }

    /// Fetches a version that is not known yet and lets it through the gate; that it can score what
    /// this instance has seen lately is a part of it for a new one.
    fn admit(
        &self,
        target: &Target,
        known: Option<Arc<Version>>,
        is_new: bool,
        times: &mut Times,
        comparison: &mut Option<Box<Comparison>>,
    ) -> Result<Arc<Version>, Refusal> {
        let version = match known {
            Some(version) => version,
            None => Arc::new(self.fetch(target, times)?),
        };
        let events = self.recent.events();
        let served = self.serving.load().filter(|served| {
            let is_good = !self.registry.is_rolled_back(&served.version.version);
            is_new && is_good && served.version.digest != version.digest
        });
        if let Some(served) = served.filter(|_| events.len() >= REPLAY_ROWS_MIN) {
            times.of(Check::Traffic, || {
                let replay = Replay::of(&served.version, &version, &events);
                let judged = replay.judge(self.setup.bounds());
                *comparison = Some(Box::new(replay.comparison));
                judged
            })?;
        }
        Ok(version)
    }

    fn fetch(&self, target: &Target, times: &mut Times) -> Result<Version, Refusal> {
        let Some((uri, digest)) = &target.bundle else {
            return Err(Refusal::new(Check::Fetch, "the configured bundle is no longer in memory"));
        };
        let Setup { model, settings, .. } = &self.setup;
        let bundle = times.of(Check::Fetch, || Ok(self.store.fetch(uri, digest)?))?;
        let expected =
            Expected { model: Some(model), version: Some(&target.version), digest: Some(digest) };
        Ok(gate::judge(bundle, expected, settings, times)?.version)
    }

    /// Asks for what the conduct of the served version and its shadow call for, as long as it is
    /// the log's own choice that serves: of what serves in its stead here others know nothing.
    fn judge(&mut self) {
        let Some(served) = self.serving.load() else { return };
        self.refuse_costly_shadow(&served);
        let wanted = self.registry.wanted().next();
        let is_wanted = wanted.is_some_and(|wanted| {
            wanted.version == served.version.version
                && wanted.control_offset == served.control_offset
        });
        if !is_wanted {
            return;
        }
        let Setup { gate, probation, .. } = &self.setup;
        let promote_when = self.registry.shadow().and_then(|shadow| shadow.promote_when);
        let (trial, recent) = (&mut self.trial, &self.recent);
        if let Some(message) =
            trial.verdict(&served, promote_when, probation, gate.lost_max, recent)
        {
            (self.tell)(Event::Asks(message));
        }
    }

    /// A shadow that was let through before there was traffic may turn out to cost too much.
    fn refuse_costly_shadow(&mut self, served: &Served) {
        let Some(shadow) = &served.shadow else { return };
        let (comparison, allowed) = (shadow.comparison(), self.setup.gate.cost_ratio_max);
        let Some(ratio) = comparison.cost_ratio().filter(|ratio| *ratio > allowed) else { return };
        if comparison.rows < SHADOW_ROWS_MIN {
            return;
        }
        let version = shadow.version.version.clone();
        let message = format!(
            "beside what serves an event costs it {ratio:.1} times as much, {allowed} are allowed"
        );
        let refusal = Refusal::new(Check::Traffic, message);
        self.refused.note(&version, &refusal, Instant::now());
        self.loaded.retain(|loaded| loaded.version != version);
        let (refusal, comparison) = (Some(refusal), Some(Box::new(comparison)));
        (self.tell)(Event::Judged { version, times: Times::default(), refusal, comparison });
        self.settle();
    }

    /// Lets go of versions that neither serve nor wait, longest unused first, as long as they are
    /// too much to keep. The configured one has no announcement to fetch it by, so it stays.
    fn forget_old(&mut self) {
        let served = self.serving.load();
        let registry = &self.registry;
        let mut waiting: Vec<_> = registry.candidates().collect();
        waiting.sort_by_key(|candidate| Reverse(candidate.control_offset));
        waiting.truncate(CANDIDATES_MAX);
        let is_needed = |version: &Arc<Version>| {
            let configured =
                matches!(registry.source(&version.version), Some(Source::Configured { .. }));
            let mut waiting = registry.shadow().into_iter().chain(waiting.iter().copied());
            let waits = waiting.any(|candidate| candidate.version == version.version);
            let serves = served.as_ref().is_some_and(|s| s.version.digest == version.digest);
            configured || waits || serves
        };
        let (needed, mut kept): (Vec<_>, Vec<_>) = self.loaded.drain(..).partition(is_needed);
        let mut bytes: u64 = kept.iter().map(|version| version.bytes).sum();
        while bytes > self.setup.kept_bytes_max && !kept.is_empty() {
            let let_go = kept.remove(0);
            bytes -= let_go.bytes;
            self.let_go.insert(let_go.version.clone());
        }
        self.loaded = [kept, needed].concat();
    }
}
