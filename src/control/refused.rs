//! Versions that did not pass the gate: which are tried again, and when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::gate::Refusal;

/// The first wait of a version whose store did not answer; doubled each time.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// Until a message asks for it anew, a refused version is not fetched again, unless it was only the
/// store that did not answer.
#[derive(Debug, Default)]
pub struct Refused(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    message: String,
    wait: Duration,
    /// `None`: it is not tried again.
    again: Option<Instant>,
}

impl Refused {
    /// Is the version refused, and not to be tried again yet?
    pub fn stands(&self, version: &str, now: Instant) -> bool {
        self.0.get(version).is_some_and(|entry| entry.again.is_none_or(|again| now < again))
    }

    /// Notes a refusal; says whether it is another one than before.
    pub fn note(&mut self, version: &str, refusal: &Refusal, now: Instant) -> bool {
        let before = self.0.get(version);
        let is_news = before.is_none_or(|entry| entry.message != refusal.message);
        let wait = before.map_or(BACK_OFF, |entry| (2 * entry.wait).min(BACK_OFF_MAX));
        let again = refusal.is_transient.then(|| now + wait);
        self.0.insert(version.into(), Entry { message: refusal.message.clone(), wait, again });
        is_news
    }

    /// Forgets those that nobody wants any more.
    pub fn retain(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.0.retain(|version, _| is_wanted(version));
    }

    /// A message asks for the version, or it has passed.
    pub fn forget(&mut self, version: &str) {
        self.0.remove(version);
    }

    /// Is it time to try one again?
    pub fn has_due(&self, now: Instant) -> bool {
        self.0.values().any(|entry| entry.again.is_some_and(|again| again <= now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gate::Check;

    #[test]
    fn what_cannot_pass_is_not_tried_again_until_asked_for() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        assert!(!refused.stands("7", now));
        assert!(refused.note("7", &Refusal::new(Check::Golden, "row 1"), now));
        assert!(refused.stands("7", now + Duration::from_secs(1_000_000)));
        assert!(!refused.has_due(now + Duration::from_secs(1_000_000)));
        refused.forget("7");
        assert!(!refused.stands("7", now));
    }

    #[test]
    fn a_store_that_does_not_answer_is_asked_again_ever_more_seldom() {
        let (mut refused, mut now) = (Refused::default(), Instant::now());
        let away = Refusal { is_transient: true, ..Refusal::new(Check::Fetch, "no answer") };
        assert!(refused.note("7", &away, now));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(refused.stands("7", now), "{seconds}");
            now += Duration::from_secs(seconds);
            assert!(refused.has_due(now) && !refused.stands("7", now), "{seconds}");
            assert!(!refused.note("7", &away, now), "told once");
        }
        assert!(refused.note("7", &Refusal::new(Check::Digest, "another"), now));
        assert!(!refused.has_due(now + BACK_OFF_MAX));
    }
}
