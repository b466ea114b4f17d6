//! The loader: reads the control log, keeps the registry, and puts into the slot what it wants.
//!
//! One thread of its own, and one for each version on its way (`fetches.rs`): fetching, importing
//! and gating a model never delay a batch, nor a message. It reads the log from its start to its
//! end before the first event is consumed, loads only what shall serve or waits then, and follows.
//! What the log brings at once is folded before anything is loaded: of a storm of announcements
//! only what stands at its end is fetched.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::alarm::Alarm;
use super::event::Event;
use super::fetches::{Fetched, Fetches};
use super::message::Message;
use super::refused::Refused;
use super::registry::{Configured, Effect, Registry, Source};
pub use super::setup::Setup;
use super::target::{Role, Target};
use super::trial::Trial;
use crate::bus::Fatal;
use crate::bus::tail::{Record, Step};
use crate::compare::Comparison;
use crate::model::gate::{Check, Refusal, Times};
use crate::model::store::Store;
use crate::model::traffic::Replay;
use crate::model::version::Version;
use crate::recent::Recent;
use crate::serving::{Served, Serving};
use crate::shadow::Shadow;

/// How long one look at the log waits: a wish to stop is seen within it.
const TICK: Duration = Duration::from_millis(100);
/// The same while a version is on its way.
const SHORT_TICK: Duration = Duration::from_millis(5);
/// Of many that wait, so many of the newest are loaded, and the shadow.
const CANDIDATES_MAX: usize = 4;
/// On fewer recent events nothing is judged: one that differs would be too many.
const REPLAY_ROWS_MIN: usize = 100;
/// So many events are scored by a shadow before what it costs counts.
const SHADOW_ROWS_MIN: u64 = 10_000;

/// What became of the wish for a version.
enum Load {
    Ready(Arc<Version>),
    OnItsWay,
    /// Now or before.
    Refused,
}

/// `log`: what comes next of the control log, for which it waits at most as long as it is told.
/// `tell`: takes what happens.
pub struct Loader<L, F> {
    setup: Setup,
    log: L,
    registry: Registry,
    fetches: Fetches,
    serving: Serving,
    recent: Recent,
    /// Oldest use first.
    loaded: Vec<Arc<Version>>,
    refused: Refused,
    trial: Trial,
    alarm: Alarm,
    /// Nothing has been done yet about what the log said before the start.
    is_unsettled: bool,
    /// The version that has just proven itself.
    proven: Option<String>,
    /// Versions that were too much to keep since the last swap.
    let_go: BTreeSet<String>,
    tell: F,
    messages: u64,
}

impl<L, F> Loader<L, F>
where
    L: FnMut(Duration) -> Result<Step, Fatal>,
    F: FnMut(Event),
{
    pub fn new(
        setup: Setup,
        log: L,
        store: Store,
        serving: Serving,
        recent: Recent,
        tell: F,
    ) -> Self {
        let configured = setup.configured.clone();
        let named = configured.as_deref().map(named);
        Self {
            registry: Registry::new(&setup.model, named.as_ref()),
            fetches: Fetches::new(&setup.model, store, setup.settings.clone()),
            alarm: Alarm::new(&setup.drift),
            setup,
            log,
            serving,
            recent,
            loaded: configured.into_iter().collect(),
            refused: Refused::default(),
            trial: Trial::none(),
            is_unsettled: false,
            proven: None,
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
            let has_version = self.take_fetched();
            let is_due = self.refused.has_due(Instant::now());
            if has_news || has_version || is_due || self.is_unsettled {
                self.settle();
            }
            self.judge();
        }
        Ok(())
    }

    /// Reads to the end; what shall serve after all of it is loaded then, and versions that came and
    /// went meanwhile are not even fetched.
    fn catch_up(&mut self) -> Result<(), Fatal> {
        while !self.setup.stop.is_requested() {
            match (self.log)(TICK)? {
                Step::Record(record) => self.fold(&record),
                Step::End => {
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
        let mut wait = match self.is_unsettled {
            true => Duration::ZERO,
            false if self.fetches.is_empty() => TICK,
            false => SHORT_TICK,
        };
        while let Step::Record(record) = (self.log)(wait)?
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
                let kind = unread.kind();
                (self.tell)(Event::Message { offset, kind });
                (self.tell)(Event::Skipped { offset, why: unread.to_string() });
                return;
            }
        };
        (self.tell)(Event::Message { offset, kind: message.kind() });
        if message.model() != self.setup.model {
            return;
        }
        if let Message::Resume { .. } = message {
            self.serving.resume();
        }
        self.alarm.read(&message, record.timestamp_ms);
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
        self.refused.retain(|version| self.registry.has_use_for(version));
        self.is_unsettled = false;
        self.serve();
        self.stand_by();
        self.set_shadow();
        self.forget_old();
        self.proven = None;
    }

    /// Puts into the slot the first of the wanted versions that passes the gate. What serves goes on
    /// while that is on its way, unless it was rolled back: then, and where nothing serves and the
    /// first cannot, what is in memory serves meanwhile.
    fn serve(&mut self) {
        let wanted: Vec<_> = self.registry.wanted().map(Target::of).collect();
        let served = self.serving.load();
        let is_harmful = served.map(|it| self.registry.is_rolled_back(&it.version.version));
        let mut is_any_on_its_way = false;
        for (place, target) in wanted.iter().enumerate() {
            // What served before needs to prove nothing, least of all beside what does harm.
            let is_new = place == 0 && !target.is_return && !self.serves(target);
            let role = if is_new { Role::New } else { Role::Known };
            if is_any_on_its_way && !self.has(target) {
                continue;
            }
            match self.load(target, role) {
                Load::Ready(version) => {
                    if !is_any_on_its_way || is_harmful != Some(false) {
                        self.swap(version, target);
                    }
                    return;
                }
                Load::OnItsWay if place == 0 && is_harmful != Some(true) => return,
                Load::OnItsWay => is_any_on_its_way = true,
                Load::Refused => {}
            }
        }
    }

    fn has(&self, target: &Target) -> bool {
        self.loaded.iter().any(|version| target.is(version))
    }

    fn serves(&self, target: &Target) -> bool {
        self.serving.load().is_some_and(|served| target.is(&served.version))
    }

    fn swap(&mut self, version: Arc<Version>, target: &Target) {
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
        let served = Served::alone(version, target.control_offset);
        let drift = &self.setup.drift;
        let served = Arc::new(served.watched(drift.window_rows, &drift.ignore));
        self.serving.swap(Arc::clone(&served));
        (self.tell)(Event::Swapped { served });
    }

    /// Loads what may be asked to serve next, one after another: what waits for `promote`, which so
    /// is known to be able to, and what a rollback would go to.
    fn stand_by(&mut self) {
        let mut targets = self.waiting();
        let waiting = targets.len();
        let before = self.registry.wanted().nth(1).map(Target::of);
        targets.extend(before.filter(|before| !self.let_go.contains(&before.version)));
        let now = Instant::now();
        let missing = targets
            .iter()
            .position(|target| !self.has(target) && !self.refused.stands(&target.version, now));
        if let Some(at) = missing.filter(|_| self.fetches.is_empty()) {
            let role = if at < waiting { Role::New } else { Role::StandsBy };
            self.fetches.begin(&targets[at], role, &self.loaded);
        }
        let passed = targets[..waiting].iter().filter(|target| self.has(target));
        let passed = passed.map(|target| target.version.clone()).collect();
        (self.tell)(Event::Candidates(passed));
        if let Some(before) = targets.get(waiting).filter(|before| !self.serves(before))
            && let Some(version) = self.loaded.iter().find(|version| before.is(version))
        {
            self.trial.compare_with(version);
        }
    }

    /// Of what waits for `promote`, what is kept loaded: the newest, and the shadow.
    fn waiting(&self) -> Vec<Target> {
        let mut newest: Vec<_> = self.registry.candidates().collect();
        newest.sort_by_key(|candidate| Reverse(candidate.control_offset));
        newest.truncate(CANDIDATES_MAX);
        let shadow = self.registry.shadow();
        let other = shadow.filter(|shadow| newest.iter().all(|new| new.version != shadow.version));
        newest.into_iter().chain(other).map(Target::waiting).collect()
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

    /// A version by its digest: from memory, or else it is fetched.
    fn load(&mut self, target: &Target, role: Role) -> Load {
        if self.refused.stands(&target.version, Instant::now()) {
            return Load::Refused;
        }
        let Some(at) = self.loaded.iter().position(|version| target.is(version)) else {
            // Where too many are on their way, the end of one of them leads back here.
            let _ = self.fetches.has(target) || self.fetches.begin(target, role, &self.loaded);
            return Load::OnItsWay;
        };
        let version = self.loaded.remove(at);
        if role == Role::New && self.proven.as_ref() != Some(&version.digest) {
            let (target, times, version) = (target.clone(), Times::default(), Ok(version));
            let judged = self.conclude(Fetched { target, role, times, version });
            return judged.map_or(Load::Refused, Load::Ready);
        }
        self.loaded.push(Arc::clone(&version));
        Load::Ready(version)
    }

    /// Takes in what has been fetched, and says whether anything was. What the log does not want
    /// any more is let go.
    fn take_fetched(&mut self) -> bool {
        let mut is_any = false;
        while let Some(fetched) = self.fetches.take() {
            is_any = true;
            if self.registry.has_use_for(&fetched.target.version) {
                self.conclude(fetched);
            }
        }
        is_any
    }

    /// A version that has passed the gate, or has not, is kept or refused: a new one has to prove
    /// itself on what this instance has seen lately as well.
    fn conclude(&mut self, fetched: Fetched) -> Option<Arc<Version>> {
        let Fetched { target, role, mut times, version } = fetched;
        let mut comparison = None;
        let judged = version.and_then(|version| {
            if role == Role::New {
                self.prove(&version, &mut times, &mut comparison)?;
            }
            Ok(version)
        });
        // What a wish to stop interrupted was not refused.
        if judged.is_err() && self.setup.stop.is_requested() {
            return None;
        }
        let refusal = judged.as_ref().err().cloned();
        let is_news = match &refusal {
            Some(refusal) => self.refused.note(&target.version, refusal, Instant::now()),
            None => {
                self.refused.forget(&target.version);
                true
            }
        };
        // Nobody has asked for what only stands by; its store may have forgotten it.
        if is_news && (refusal.is_none() || role != Role::StandsBy) {
            let version = target.version;
            (self.tell)(Event::Judged { version, times, refusal, comparison });
        }
        let version = judged.ok()?;
        self.proven = Some(version.digest.clone()).filter(|_| role == Role::New);
        self.loaded.push(Arc::clone(&version));
        Some(version)
    }

    /// Compares a version with what serves, unless that is known to do harm, on recent events.
    fn prove(
        &self,
        version: &Version,
        times: &mut Times,
        comparison: &mut Option<Box<Comparison>>,
    ) -> Result<(), Refusal> {
        let served = self.serving.load().filter(|served| {
            let is_good = !self.registry.is_rolled_back(&served.version.version);
            is_good && served.version.digest != version.digest
        });
        let Some(served) = served else { return Ok(()) };
        let events = self.recent.events();
        if events.len() < REPLAY_ROWS_MIN {
            return Ok(());
        }
        times.of(Check::Traffic, || {
            let replay = Replay::of(&served.version, version, &events);
            let judged = replay.judge(self.setup.bounds());
            *comparison = Some(Box::new(replay.comparison));
            judged
        })
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
        let said = trial.verdict(&served, promote_when, probation, gate.lost_max, recent);
        let now = Instant::now();
        // One that may not serve here answers nothing.
        let is_waited = self.registry.candidates().any(|it| {
            Some(it.control_offset) > served.control_offset && !self.refused.stands(it.version, now)
        });
        said.into_iter()
            .chain(self.alarm.verdict(&served, is_waited))
            .for_each(|message| (self.tell)(Event::Asks(message)));
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
        let waiting = self.waiting();
        let is_needed = |version: &Arc<Version>| {
            let configured =
                matches!(registry.source(&version.version), Some(Source::Configured { .. }));
            let waits = waiting.iter().any(|target| target.is(version));
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

/// A configured version as the registry and reports name it.
pub fn named(Version { version, digest, .. }: &Version) -> Configured {
    Configured { version: version.clone(), digest: digest.clone() }
}
