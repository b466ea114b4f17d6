//! Not faster than was asked for.

use std::num::NonZeroU32;
use std::thread;
use std::time::{Duration, Instant};

use crate::stop::Stop;

/// How long a wish to stop may go unnoticed.
const STEP: Duration = Duration::from_millis(50);

/// When the next events are due.
pub struct Pace {
    per_second: Option<NonZeroU32>,
    due: Instant,
}

impl Pace {
    /// `None`: as fast as it goes.
    pub fn new(per_second: Option<NonZeroU32>) -> Self {
        Self { per_second, due: Instant::now() }
    }

    /// So many events make a transaction: a second's worth at most, and no more than `otherwise`.
    pub fn events_max(&self, otherwise: usize) -> usize {
        self.per_second.map_or(otherwise, |rate| otherwise.min(rate.get() as usize))
    }

    /// Waits until the next events are due, of which there are so many; says whether they may go, or
    /// a stop is wished for.
    pub fn wait(&mut self, events: usize, stop: &Stop) -> bool {
        let Some(rate) = self.per_second else { return !stop.is_requested() };
        while !stop.is_requested() {
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.due = self.after(events, rate);
                return true;
            }
            thread::sleep(left.min(STEP));
        }
        false
    }

    /// What was not used is not saved up.
    fn after(&self, events: usize, rate: NonZeroU32) -> Instant {
        let took = Duration::from_secs_f64(events as f64 / f64::from(rate.get()));
        self.due.max(Instant::now()) + took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_holds_no_more_than_a_second_may() {
        let limited = Pace::new(NonZeroU32::new(20));
        assert_eq!(limited.events_max(500), 20);
        assert_eq!(Pace::new(NonZeroU32::new(9000)).events_max(500), 500);
        assert_eq!(Pace::new(None).events_max(500), 500);
    }

    #[test]
    fn who_is_to_stop_is_not_kept_waiting() {
        let (mut pace, stop) = (Pace::new(NonZeroU32::new(1)), Stop::default());
        assert!(pace.wait(1_000_000, &stop), "expected the first ones to go at once");
        let first = pace.due;
        assert!(first > Instant::now() + Duration::from_secs(900_000));
        stop.request(Duration::ZERO);
        assert!(!pace.wait(1, &stop));
        assert_eq!(pace.due, first);
    }
}
