//! The wish to stop, and until when it must be granted.

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Shared by everything that runs. Cloning shares; it is never taken back.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    deadline: Arc<OnceLock<Instant>>,
}

impl Stop {
    /// Asks for an end: what is in hand is finished, for `drain` at most. The first wish counts.
    pub fn request(&self, drain: Duration) {
        let _ = self.deadline.set(Instant::now() + drain);
    }

    pub fn is_requested(&self) -> bool {
        self.deadline.get().is_some()
    }

    /// Is the time for finishing what is in hand over?
    pub fn is_overdue(&self) -> bool {
        self.deadline.get().is_some_and(|deadline| Instant::now() >= *deadline)
    }

    /// How long there is left to finish, at most `otherwise`.
    pub fn remaining(&self, otherwise: Duration) -> Duration {
        let left = self.deadline.get().map(|d| d.saturating_duration_since(Instant::now()));
        left.map_or(otherwise, |left| left.min(otherwise))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wish_counts() {
        let stop = Stop::default();
        let seen_elsewhere = stop.clone();
        assert!(!seen_elsewhere.is_requested());
        stop.request(Duration::ZERO);
        stop.request(Duration::from_secs(60));
        assert!(seen_elsewhere.is_requested() && seen_elsewhere.is_overdue());
        assert_eq!(stop.remaining(Duration::from_secs(5)), Duration::ZERO);
    }
}
