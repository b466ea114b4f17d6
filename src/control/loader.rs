//! The loader: reads the control log, keeps the registry, and puts into the slot what it wants.
//!
//! One thread of its own: fetching, importing and gating a model never delay a batch. It reads the
//! log from its start to its end before the first event is consumed, loads only what shall serve
//! then, and follows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{Message, Unread};
use super::registry::{Effect, Registry, Source, Wanted};
use crate::bus::Fatal;
use crate::bus::tail::{Record, Step, Tail};
use crate::model::gate::{self, Check, Expected, Refusal, Settings};
use crate::model::store::Store;
use crate::model::version::Version;
use crate::serving::{Served, Serving};
use crate::stop::Stop;

/// How long one look at the log waits: a wish to stop is seen within it.
const TICK: Duration = Duration::from_millis(100);
/// Versions that stay loaded besides the one that serves, so that going back needs no fetch.
const KEPT: usize = 2;

/// What the loader tells: for logs, metrics and reports.
#[derive(Debug, Clone)]
pub enum Event {
    /// The loader has come round once more.
    Round,
    /// A control record was read: its type, `unknown` or `malformed`.
    Message { offset: i64, kind: &'static str },
    /// A control record was passed over: unknown, malformed, or against what was said before.
    Skipped { offset: i64, why: String },
    /// The versions that wait for `promote`, all of them.
    Candidates(Vec<String>),
    /// A version did not pass the gate; what served before goes on.
    Refused { version: String, refusal: Refusal },
    /// Another version serves.
    Swapped { served: Arc<Served>, load_seconds: f64 },
    /// The log has been read to the end it had at the start.
    CaughtUp { messages: u64 },
}

pub struct Loader<F> {
    model: String,
    tail: Tail,
    registry: Registry,
    store: Store,
    settings: Settings,
    serving: Serving,
    loaded: Vec<Arc<Version>>,
    /// Versions that did not pass the gate: not fetched again until a message asks for them anew.
    refused: BTreeSet<String>,
    tell: F,
    messages: u64,
}

impl<F: FnMut(Event)> Loader<F> {
    /// `configured`: the bundle that serves before anything is announced, and its version once
    /// loaded.
    pub fn new(
        model: &str,
        configured: Option<Arc<Version>>,
        tail: Tail,
        store: Store,
        settings: Settings,
        serving: Serving,
        tell: F,
    ) -> Self {
        let name = configured.as_ref().map(|version| version.version.as_str());
        Self {
            model: model.into(),
            tail,
            registry: Registry::new(model, name),
            store,
            settings,
            serving,
            loaded: configured.into_iter().collect(),
            refused: BTreeSet::new(),
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
            if let Step::Record(record) = self.tail.next(TICK)?
                && self.fold(&record)
            {
                self.serve();
            }
        }
        Ok(())
    }

    /// Reads to the end and loads what shall serve after all of it: versions that came and went
    /// meanwhile are not even fetched.
    fn catch_up(&mut self, stop: &Stop) -> Result<(), Fatal> {
        while !stop.is_requested() {
            match self.tail.next(TICK)? {
                Step::Record(record) => {
                    self.fold(&record);
                }
                Step::End => {
                    self.serve();
                    (self.tell)(Event::CaughtUp { messages: self.messages });
                    return Ok(());
                }
                Step::Nothing => {}
            }
        }
        Ok(())
    }

    /// Folds a record in; says whether what shall serve may have changed.
    fn fold(&mut self, record: &Record) -> bool {
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
                return false;
            }
        };
        (self.tell)(Event::Message { offset, kind: message.kind() });
        let is_ours = message.model() == self.model;
        let asked_for = message.asks_for().filter(|_| is_ours);
        let again = asked_for.is_some_and(|version| self.refused.remove(version));
        let effect = self.registry.apply(offset, &message);
        if let Err(contradiction) = &effect {
            (self.tell)(Event::Skipped { offset, why: contradiction.to_string() });
        }
        let candidates = self.registry.candidates().map(str::to_owned).collect();
        (self.tell)(Event::Candidates(candidates));
        effect == Ok(Effect::Serves) || (again && effect.is_ok())
    }

    /// Puts into the slot the first of the wanted versions that passes the gate.
    fn serve(&mut self) {
        let wanted: Vec<_> = self.registry.wanted().map(Target::of).collect();
        for target in wanted {
            if self.refused.contains(&target.version) {
                continue;
            }
            let began = Instant::now();
            match self.load(&target) {
                Ok(version) => {
                    self.swap(version, target.control_offset, began.elapsed());
                    return;
                }
                Err(refusal) => {
                    self.refused.insert(target.version.clone());
                    (self.tell)(Event::Refused { version: target.version, refusal });
                }
            }
        }
    }

    fn swap(&mut self, version: Arc<Version>, control_offset: Option<i64>, took: Duration) {
        let same = |served: &Arc<Served>| {
            served.version.digest == version.digest && served.control_offset == control_offset
        };
        if self.serving.load().as_ref().is_some_and(same) {
            return;
        }
        let served = Arc::new(Served { version, control_offset });
        self.serving.swap(Arc::clone(&served));
        (self.tell)(Event::Swapped { served, load_seconds: took.as_secs_f64() });
    }

    /// A version by its digest, from memory or through the gate.
    fn load(&mut self, target: &Target) -> Result<Arc<Version>, Refusal> {
        if let Some(at) = self.loaded.iter().position(|version| target.is(version)) {
            let version = self.loaded.remove(at);
            self.loaded.push(Arc::clone(&version));
            return Ok(version);
        }
        let Some((uri, digest)) = &target.bundle else {
            return Err(Refusal::new(Check::Fetch, "the configured bundle is no longer in memory"));
        };
        let bundle = self.store.fetch(uri, digest)?;
        let expected = Expected {
            model: Some(&self.model),
            version: Some(&target.version),
            digest: Some(digest),
        };
        let admitted = gate::judge(bundle, expected, &self.settings)?;
        let version = Arc::new(admitted.version);
        self.loaded.push(Arc::clone(&version));
        self.forget_old();
        Ok(version)
    }

    /// The configured version has no announcement to fetch it by, so it stays.
    fn forget_old(&mut self) {
        while self.loaded.len() > KEPT + 1 {
            let registry = &self.registry;
            let is_configured = |version: &Version| {
                matches!(registry.source(&version.version), Some(Source::Configured))
            };
            match self.loaded.iter().position(|version| !is_configured(version)) {
                Some(at) => self.loaded.remove(at),
                None => return,
            };
        }
    }
}

/// A wanted version, free of the registry's borrow.
struct Target {
    version: String,
    control_offset: Option<i64>,
    /// URI and digest; `None`: the configured bundle.
    bundle: Option<(String, String)>,
}

impl Target {
    fn of(wanted: Wanted<'_>) -> Self {
        let bundle = match wanted.source {
            Source::Configured => None,
            Source::Announced { uri, digest } => Some((uri.clone(), digest.clone())),
        };
        let Wanted { version, control_offset, .. } = wanted;
        Self { version: version.into(), control_offset, bundle }
    }

    fn is(&self, version: &Version) -> bool {
        version.version == self.version
            && self.bundle.as_ref().is_none_or(|(_, digest)| *digest == version.digest)
    }
}
