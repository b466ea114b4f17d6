//! A worker's heart: it beats at every step that has a bound, so that who listens can tell a worker that
//! hangs from one that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Cloning shares.
#[derive(Debug, Clone, Default)]
pub struct Heart(Arc<AtomicU64>);

impl Heart {
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has beaten; 0: the worker has not begun.
    pub fn beats(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
