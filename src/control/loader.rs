//! The loader: reads the control log, keeps the registry, and puts into the slot what it wants.
//!
//! One thread of its own: fetching, importing and gating a model never delay a batch. It reads the
//! log from its start to its end before the first event is consumed, loads only what shall serve
//! or waits then, and follows. What the log brings at once is folded before anything is loaded: of a
//! storm of announcements only what stands at its end is fetched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{Message, Unread};
use super::refused::Refused;
use super::registry::{Candidate, Effect, Registry, Source, Wanted};
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
        let name = configured.as_ref().map(|version| version.version.as_str());
        Self {
            registry: Registry::new(&setup.model, name),
            setup,
            tail,
            store,
            serving,
            recent,
            loaded: configured.into_iter().collect(),
            refused: Refused::default(),
            trial: Trial::new(None),
            tell,
            messages: 0,
        }
    }

    /// Runs until the wish to stop.
    ///
    /// # Errors
    /// The control log cannot be read.
    pub fn run(mut self, stop: &Stop) -> Result<(), Fatal> {
        self.catch_up(stop)?;
        while !stop.is_requested() {
            (self.tell)(Event::Round);
            let has_news = self.read(stop)?;
            if has_news || self.refused.has_due(Instant::now()) {
                self.settle();
            }
            self.judge();
        }
        Ok(())
    }

    /// Reads to the end and loads what shall serve or wait after all of it: versions that came and
    /// went meanwhile are not even fetched.
    fn catch_up(&mut self, stop: &Stop) -> Result<(), Fatal> {
        while !stop.is_requested() {
            match self.tail.next(TICK)? {
                Step::Record(record) => self.fold(&record),
                Step::End => {
                    self.settle();
                    (self.tell)(Event::CaughtUp { messages: self.messages });
                    return Ok(());
                }
                Step::Nothing => {}
            }
        }
        Ok(())
    }

    /// Folds in what the log has; says whether that was anything.
    fn read(&mut self, stop: &Stop) -> Result<bool, Fatal> {
        let mut has_news = false;
        let mut wait = TICK;
        while let Step::Record(record) = self.tail.next(wait)?
            && !stop.is_requested()
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
        self.serve();
        self.admit_candidates();
        self.set_shadow();
        self.forget_old();
    }

    /// Puts into the slot the first of the wanted versions that passes the gate.
    fn serve(&mut self) {
        let wanted: Vec<_> = self.registry.wanted().map(Target::of).collect();
        for target in wanted {
            let began = Instant::now();
            if let Some(version) = self.load(&target) {
                self.swap(version, &target, began.elapsed());
                return;
            }
        }
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
        let returns = target.is_return || target.control_offset.is_none();
        self.trial = Trial::new(before.as_deref().filter(|_| !returns));
        let served = Arc::new(Served::alone(version, target.control_offset));
        self.serving.swap(Arc::clone(&served));
        (self.tell)(Event::Swapped { served, load_seconds: took.as_secs_f64() });
    }

    /// Lets through the gate what waits for `promote`, so that it can serve at once, and that it
    /// cannot is known before it is asked to.
    fn admit_candidates(&mut self) {
        let targets: Vec<_> = self.registry.candidates().map(Target::waiting).collect();
        let mut passed = Vec::new();
        for target in targets {
            if self.load(&target).is_some() {
                passed.push(target.version);
            }
        }
        (self.tell)(Event::Candidates(passed));
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
    fn load(&mut self, target: &Target) -> Option<Arc<Version>> {
        if let Some(at) = self.loaded.iter().position(|version| target.is(version)) {
            let version = self.loaded.remove(at);
            self.loaded.push(Arc::clone(&version));
            return Some(version);
        }
        if self.refused.stands(&target.version, Instant::now()) {
            return None;
        }
        let mut times = Times::default();
        let mut comparison = None;
        let admitted = self.admit(target, &mut times, &mut comparison);
        let refusal = admitted.as_ref().err().cloned();
        let is_news = match &refusal {
            Some(refusal) => self.refused.note(&target.version, refusal, Instant::now()),
            None => {
                self.refused.forget(&target.version);
                true
            }
        };
        if is_news {
            let version = target.version.clone();
            (self.tell)(Event::Judged { version, times, refusal, comparison });
        }
        let version = admitted.ok()?;
        self.loaded.push(Arc::clone(&version));
        Some(version)
    }

    /// Fetches a version and lets it through the gate; that it can score what this instance has
    /// seen lately is a part of it.
    fn admit(
        &self,
        target: &Target,
        times: &mut Times,
        comparison: &mut Option<Box<Comparison>>,
    ) -> Result<Arc<Version>, Refusal> {
        let Some((uri, digest)) = &target.bundle else {
            return Err(Refusal::new(Check::Fetch, "the configured bundle is no longer in memory"));
        };
        let bundle = times.of(Check::Fetch, || Ok(self.store.fetch(uri, digest)?))?;
        let Setup { model, settings, gate, .. } = &self.setup;
        let expected =
            Expected { model: Some(model), version: Some(&target.version), digest: Some(digest) };
        let version = gate::judge(bundle, expected, settings, times)?.version;
        let events = self.recent.events();
        if let Some(served) = self.serving.load().filter(|_| !events.is_empty()) {
            times.of(Check::Traffic, || {
                let replay = Replay::of(&served.version, &version, &events);
                let bounds = Bounds {
                    lost_max: gate.lost_max,
                    flips_max: gate.flips_max,
                    cost_ratio_max: gate.cost_ratio_max,
                };
                let judged = replay.judge(bounds);
                *comparison = Some(Box::new(replay.comparison));
                judged
            })?;
        }
        Ok(Arc::new(version))
    }

    /// Asks for what the conduct of the served version and its shadow call for.
    fn judge(&mut self) {
        let Some(served) = self.serving.load() else { return };
        let Setup { gate, probation, .. } = &self.setup;
        let promote_when = self.registry.shadow().and_then(|shadow| shadow.promote_when);
        let (trial, recent) = (&mut self.trial, &self.recent);
        if let Some(message) =
            trial.verdict(&served, promote_when, probation, gate.lost_max, recent)
        {
            (self.tell)(Event::Asks(message));
        }
    }

    /// Lets go of versions that neither serve nor wait, longest unused first, as long as they are
    /// too much to keep. The configured one has no announcement to fetch it by, so it stays.
    fn forget_old(&mut self) {
        let served = self.serving.load();
        let registry = &self.registry;
        let is_needed = |version: &Arc<Version>| {
            let configured = registry.source(&version.version) == Some(&Source::Configured);
            let waits = registry.candidates().any(|candidate| candidate.version == version.version);
            let serves = served.as_ref().is_some_and(|s| s.version.digest == version.digest);
            configured || waits || serves
        };
        let (needed, mut kept): (Vec<_>, Vec<_>) = self.loaded.drain(..).partition(is_needed);
        let mut bytes: u64 = kept.iter().map(|version| version.bytes).sum();
        while bytes > self.setup.kept_bytes_max && !kept.is_empty() {
            bytes -= kept.remove(0).bytes;
        }
        self.loaded = [kept, needed].concat();
    }
}

/// A version that shall serve or wait, free of the registry's borrow.
struct Target {
    version: String,
    control_offset: Option<i64>,
    is_return: bool,
    /// URI and digest; `None`: the configured bundle.
    bundle: Option<(String, String)>,
}

impl Target {
    fn of(wanted: Wanted<'_>) -> Self {
        let Wanted { version, source, control_offset, is_return } = wanted;
        Self { version: version.into(), control_offset, is_return, bundle: Self::bundle(source) }
    }

    fn waiting(candidate: Candidate<'_>) -> Self {
        let Candidate { version, source, control_offset, .. } = candidate;
        let control_offset = Some(control_offset);
        let bundle = Self::bundle(source);
        Self { version: version.into(), control_offset, is_return: false, bundle }
    }

    fn bundle(source: &Source) -> Option<(String, String)> {
        match source {
            Source::Configured => None,
            Source::Announced { uri, digest } => Some((uri.clone(), digest.clone())),
        }
    }

    fn is(&self, version: &Version) -> bool {
        version.version == self.version
            && self.bundle.as_ref().is_none_or(|(_, digest)| *digest == version.digest)
    }
}
