//! Rates: how much a second, over the time since someone last asked.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reports::Totals;

/// A rate over less than this says nothing, in seconds: whoever asks again so soon gets the last.
const WINDOW_MIN: f64 = 1.0;

/// Per second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    pub events: f64,
    pub predictions: f64,
    pub dead_letters: f64,
}

/// Shared by all who ask: the page, the reports topic and Prometheus do not spoil each other's
/// window.
#[derive(Debug)]
pub struct Meter {
    since: Timestamp,
    totals: Totals,
    rates: Rates,
}

impl Meter {
    pub fn new(now: Timestamp) -> Self {
        Self { since: now, totals: Totals::default(), rates: Rates::default() }
    }

    pub fn read(&mut self, totals: &Totals, now: Timestamp) -> Rates {
        let seconds = now.duration_since(self.since).as_secs_f64();
        // Less than no time: the clock was set back, and the window begins anew.
        if (0.0..WINDOW_MIN).contains(&seconds) {
            return self.rates;
        }
        if seconds >= WINDOW_MIN {
            let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
            self.rates = Rates {
                events: rate(totals.events, self.totals.events),
                predictions: rate(totals.predictions, self.totals.predictions),
                dead_letters: rate(totals.rejected(), self.totals.rejected()),
            };
        }
        self.since = now;
        self.totals = totals.clone();
        self.rates
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::reject::Reason;

    #[test]
    fn rates_are_over_the_time_since_the_last_question() {
        let start = Timestamp::UNIX_EPOCH;
        let at = |ms| start + SignedDuration::from_millis(ms);
        let mut totals = Totals::default();
        let mut meter = Meter::new(start);
        totals.events = 3_000;
        totals.predictions = 2_990;
        totals.dead_letters.insert(Reason::NotJson, 10);
        let expect = Rates { events: 1_500.0, predictions: 1_495.0, dead_letters: 5.0 };
        assert_eq!(meter.read(&totals, at(2_000)), expect);

        totals.events += 100;
        assert_eq!(meter.read(&totals, at(2_500)), expect, "too soon to say");
        assert_eq!(meter.read(&totals, at(1_000)), expect, "the clock was set back");
        totals.events += 50;
        assert_eq!(meter.read(&totals, at(2_000)).events, 50.0);
    }
}
