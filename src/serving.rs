//! The version that serves: a slot that the loader fills and workers read once a batch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::drift::Drift;
use crate::model::version::Version;
use crate::shadow::Shadow;
use crate::stop::Stop;

/// A version, and what chose it. Every prediction of a batch names both.
#[derive(Debug)]
pub struct Served {
    pub version: Arc<Version>,
    /// Offset of the control message that chose this version; `None`: the configuration did.
    pub control_offset: Option<i64>,
    /// The candidate that scores beside it.
    pub shadow: Option<Arc<Shadow>>,
    /// How its events are distributed; `None`: its bundle does not say how they were in training.
    pub drift: Option<Arc<Drift>>,
    conduct: Arc<Mutex<Conduct>>,
}

/// What a version has done since it began to serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conduct {
    pub events: u64,
    /// Events it could not score, for whatever reason.
    pub rejects: u64,
    /// Of those, events for which its result was no number.
    pub non_finite: u64,
    /// Events of batches that were held back, because too many of them would have been dead letters. They
    /// count above, too, and once more should they be settled after all.
    pub held: u64,
    /// Time that decoding and scoring took.
    pub cost: Duration,
}

impl Conduct {
    pub fn add(&mut self, more: Self) {
        self.events += more.events;
        self.rejects += more.rejects;
        self.non_finite += more.non_finite;
        self.held += more.held;
        self.cost += more.cost;
    }
}

impl Served {
    /// A version without a shadow.
    pub fn alone(version: Arc<Version>, control_offset: Option<i64>) -> Self {
        Self { version, control_offset, shadow: None, drift: None, conduct: Arc::default() }
    }

    /// The same, with its drift looked for in windows of so many events; the features in `expected` may move.
    pub fn watched(self, window_rows: u64, expected: &[String]) -> Self {
        let drift = Drift::new(&self.version, window_rows, expected).map(Arc::new);
        Self { drift, ..self }
    }

    /// The same version under the same choice, with another shadow or none.
    pub fn beside(&self, shadow: Option<Arc<Shadow>>) -> Self {
        Self {
            version: Arc::clone(&self.version),
            control_offset: self.control_offset,
            shadow,
            drift: self.drift.clone(),
            conduct: Arc::clone(&self.conduct),
        }
    }

    /// What it has done so far.
    pub fn conduct(&self) -> Conduct {
        *self.conduct.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has done this as well: a batch that is settled, or held back.
    pub fn did(&self, more: Conduct) {
        self.conduct.lock().unwrap_or_else(PoisonError::into_inner).add(more);
    }
}

/// Shared by the loader, which swaps, and the workers, which look. A swap waits for nobody: a
/// batch in hand is finished with the version it began with.
#[derive(Debug, Clone, Default)]
pub struct Serving(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot {
    served: ArcSwapOption<Served>,
    filled: Mutex<bool>,
    first: Condvar,
    resumes: AtomicU64,
}

impl Serving {
    /// What serves now.
    pub fn load(&self) -> Option<Arc<Served>> {
        self.0.served.load_full()
    }

    /// From now on this serves. Once filled, the slot is never empty again.
    pub fn swap(&self, served: Arc<Served>) {
        self.0.served.store(Some(served));
        *self.0.filled.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.first.notify_all();
    }

    /// Workers that hold a batch back by now shall go on.
    pub fn resume(&self) {
        self.0.resumes.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was said. A worker compares it with what it was when it stopped: what was said before, also
    /// before the start, means nothing to it.
    pub fn resumes(&self) -> u64 {
        self.0.resumes.load(Ordering::Relaxed)
    }

    /// Waits until something serves; says `false` if the wish to stop came first.
    pub fn wait(&self, stop: &Stop) -> bool {
        let mut filled = self.0.filled.lock().unwrap_or_else(PoisonError::into_inner);
        while !*filled && !stop.is_requested() {
            // A wish to stop does not notify; looking ten times a second is soon enough.
            let tick = Duration::from_millis(100);
            filled =
                self.0.first.wait_timeout(filled, tick).unwrap_or_else(PoisonError::into_inner).0;
        }
        *filled
    }
}
