//! Versions on their way: each is fetched, read and let through the gate on a thread of its own, so
//! that a store that hangs delays no message of the log. What has passed proves itself on recent
//! events with the loader, which knows what serves by then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::target::{Role, Target};
use crate::model::gate::{self, Check, Expected, Refusal, Settings, Times};
use crate::model::store::Store;
use crate::model::version::Version;

/// Fetches at a time. More are begun only when the log has changed its mind about those before,
/// and each ends within `model.fetch_timeout_ms`.
const AT_A_TIME_MAX: usize = 4;

/// What came of a fetch.
pub struct Fetched {
    pub target: Target,
    pub role: Role,
    /// Of the checks that were made.
    pub times: Times,
    pub version: Result<Arc<Version>, Refusal>,
}

/// The fetches of one loader.
pub struct Fetches {
    model: String,
    store: Store,
    settings: Settings,
    done: (Sender<Fetched>, Receiver<Fetched>),
    under_way: Vec<Target>,
}

impl Fetches {
    pub fn new(model: &str, store: Store, settings: Settings) -> Self {
        Self { model: model.into(), store, settings, done: channel(), under_way: Vec::new() }
    }

    /// Is this version on its way?
    pub fn has(&self, target: &Target) -> bool {
        self.under_way.iter().any(|other| other.is_like(target))
    }

    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Begins to fetch a version that is not on its way. If there are too many, nothing is begun,
    /// and `false` is the answer: one of them ends soon. The cache keeps what is `loaded`, so that
    /// a restart finds what has served for long.
    pub fn begin(&mut self, target: &Target, role: Role, loaded: &[Arc<Version>]) -> bool {
        if self.under_way.len() >= AT_A_TIME_MAX {
            return false;
        }
        let (model, store, settings) =
            (self.model.clone(), self.store.clone(), self.settings.clone());
        let (wanted, done) = (target.clone(), self.done.0.clone());
        let digests: Vec<_> = loaded.iter().map(|version| version.digest.clone()).collect();
        let work = move || {
            digests.iter().for_each(|digest| store.still_uses(digest));
            let mut times = Times::default();
            let version = load(&model, &store, &settings, &wanted, &mut times).map(Arc::new);
            // Nobody listens only if the loader has ended.
            let _ = done.send(Fetched { target: wanted, role, times, version });
        };
        let begun = thread::Builder::new().name("fetch".into()).spawn(work).is_ok();
        if begun {
            self.under_way.push(target.clone());
        }
        begun
    }

    /// What has come of one, if one has ended.
    pub fn take(&mut self) -> Option<Fetched> {
        let fetched = self.done.1.try_recv().ok()?;
        self.under_way.retain(|target| !target.is_like(&fetched.target));
        Some(fetched)
    }
}

/// Fetches a version and lets it through the gate. A bug in an importer shall not take down what
/// serves, nor keep an instance from starting.
fn load(
    model: &str,
    store: &Store,
    settings: &Settings,
    target: &Target,
    times: &mut Times,
) -> Result<Version, Refusal> {
    let Some((uri, digest)) = &target.bundle else {
        return Err(Refusal::new(Check::Fetch, "the configured bundle is no longer in memory"));
    };
    let expected =
        Expected { model: Some(model), version: Some(&target.version), digest: Some(digest) };
    let admit = AssertUnwindSafe(|| {
        let bundle = times.of(Check::Fetch, || Ok(store.fetch(uri, digest)?))?;
        Ok(gate::judge(bundle, expected, settings, times)?.version)
    });
    catch_unwind(admit).unwrap_or_else(|_| {
        let message = "loading it panicked, which is a bug of foretell; the log says where";
        Err(Refusal::new(Check::Import, message))
    })
}
