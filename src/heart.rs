//! A thread's heart: it beats at every step that has a bound, so that who listens can tell a thread that
//! is stuck from one that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Cloning shares.
#[derive(Debug, Clone)]
pub struct Heart {
    begin: Instant,
    /// Milliseconds from `begin` to the last beat, and one; 0: it has not beaten yet.
    last: Arc<AtomicU64>,
}

impl Default for Heart {
    fn default() -> Self {
        Self { begin: Instant::now(), last: Arc::default() }
    }
}

impl Heart {
    pub fn beat(&self) {
        let passed = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last.store(passed + 1, Ordering::Relaxed);
    }

    /// How long ago its last beat was; `None`: the thread has not begun.
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        let last = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.begin + Duration::from_millis(last)))
    }
}
