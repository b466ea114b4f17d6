//! What an instance decides by itself: that a version which has just begun to serve does harm,
//! and that a shadow has shown what was asked of it.
//!
//! It only publishes what it found; the log decides, for all instances alike. Both messages name
//! the version that they are about to replace, so that many instances saying one is one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{Criteria, Message};
use crate::compare::{Comparison, percent, share};
use crate::config::Probation;
use crate::model::traffic::{Bounds, Replay};
use crate::model::version::Version;
use crate::recent::Recent;
use crate::serving::{Conduct, Served};

/// A replay costs some milliseconds of the loader's thread, and suspicion may last.
const REPLAY_EVERY: Duration = Duration::from_secs(1);
/// If nothing comes of what was published, it is published again.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The version that serves, watched from its first batch on.
#[derive(Debug)]
pub struct Trial {
    began: Instant,
    /// What served before, and what it had done; `None`: nobody to compare with or to go back to.
    before: Option<(Arc<Version>, Conduct)>,
    is_over: bool,
    replayed: Option<Instant>,
    said: Option<Instant>,
}

impl Trial {
    /// The trial of a version that begins to serve now after `before`.
    pub fn new(before: Option<&Served>) -> Self {
        let before = before.map(|served| (Arc::clone(&served.version), served.conduct()));
        Self { began: Instant::now(), before, is_over: false, replayed: None, said: None }
    }

    /// No trial: the version was gone back to, or is what the configuration names.
    pub fn none() -> Self {
        Self { is_over: true, ..Self::new(None) }
    }

    /// An instance that starts has not seen the version before; it is compared with all the same.
    pub fn compare_with(&mut self, before: &Arc<Version>) {
        if !self.is_over && self.before.is_none() {
            self.before = Some((Arc::clone(before), Conduct::default()));
        }
    }

    /// What has to be published about `served`, if anything. `promote_when`: what its shadow has
    /// to show.
    pub fn verdict(
        &mut self,
        served: &Served,
        promote_when: Option<Criteria>,
        probation: &Probation,
        lost_max: f64,
        recent: &Recent,
    ) -> Option<Message> {
        if self.said.is_some_and(|said| said.elapsed() < SAY_AGAIN_AFTER) {
            return None;
        }
        let back = self.harm(served, probation, recent).map(|reason| Message::Rollback {
            model: served.version.model.clone(),
            from: served.version.version.clone(),
            to: None,
            reason: Some(reason),
        });
        let verdict = back.or_else(|| promotion(served, promote_when?, lost_max))?;
        self.said = Some(Instant::now());
        Some(verdict)
    }

    /// What harm the version does that the one before does not, if it is on probation.
    fn harm(&mut self, served: &Served, probation: &Probation, recent: &Recent) -> Option<String> {
        let conduct = served.conduct();
        if conduct.events == 0 {
            self.began = Instant::now();
        }
        if self.began.elapsed() >= Duration::from_millis(probation.duration_ms) {
            self.is_over = true;
            // The model before is kept for going back, not for this.
            self.before = None;
        }
        let (before, then) = self.before.as_ref()?;
        // What holds events back was decided on enough of them.
        if conduct.events < probation.rows_min && conduct.held == 0 {
            return None;
        }
        let non_finite = share(conduct.non_finite, conduct.events);
        if non_finite > probation.non_finite_max && non_finite > share(then.non_finite, then.events)
        {
            return Some(format!("{} of results are no numbers", percent(non_finite)));
        }
        if !(conduct.held > 0 || is_suspect(conduct, *then, probation))
            || self.replayed.is_some_and(|replayed| replayed.elapsed() < REPLAY_EVERY)
        {
            return None;
        }
        // The stream may have changed at the same time: what harm is the version's own, the one
        // before does not do on the same events.
        self.replayed = Some(Instant::now());
        let replay = Replay::of(before, &served.version, &recent.events());
        let bounds = Bounds {
            lost_max: probation.rejects_max,
            non_finite_max: probation.non_finite_max,
            flips_max: 1.0,
            cost_ratio_max: probation.cost_ratio_max,
        };
        replay.judge(bounds).err().map(|refusal| refusal.message)
    }
}

/// Does what the version has done look like harm?
fn is_suspect(conduct: Conduct, before: Conduct, probation: &Probation) -> bool {
    let cost = |conduct: Conduct| conduct.cost.as_secs_f64() / conduct.events.max(1) as f64;
    let is_slow = before.events > 0 && cost(conduct) > probation.cost_ratio_max * cost(before);
    is_slow || share(conduct.rejects, conduct.events) > probation.rejects_max
}

/// The message that lets the shadow serve, if it has shown all of `criteria`.
fn promotion(served: &Served, criteria: Criteria, lost_max: f64) -> Option<Message> {
    let shadow = served.shadow.as_ref()?;
    let comparison = shadow.comparison();
    let reason = shown(criteria, &comparison, shadow.age(), lost_max)?;
    Some(Message::Promote {
        model: shadow.version.model.clone(),
        version: shadow.version.version.clone(),
        from: Some(served.version.version.clone()),
        reason: Some(reason),
    })
}

/// What a shadow has shown, in words, if it is all that was asked. An event that it refuses counts
/// as one with another class.
fn shown(
    criteria: Criteria,
    comparison: &Comparison,
    age: Duration,
    lost_max: f64,
) -> Option<String> {
    let Criteria { rows, minutes, flips_max, cost_ratio_max } = criteria;
    let flips = share(comparison.flips + comparison.lost, comparison.rows + comparison.lost);
    let ratio = comparison.cost_ratio();
    let fulfils = comparison.rows >= rows
        && age.as_secs_f64() >= 60.0 * minutes
        && comparison.lost_share() <= lost_max
        && flips_max.is_none_or(|max| flips <= max)
        && cost_ratio_max.is_none_or(|max| ratio.is_some_and(|ratio| ratio <= max));
    fulfils.then(|| {
        let cost = ratio.map_or(String::new(), |ratio| format!(", {ratio:.2} times the cost"));
        let (rows, share) = (comparison.rows, percent(flips));
        format!(
            "in {:.1} minutes {rows} events, {share} another class{cost}",
            age.as_secs_f64() / 60.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tiny;
    use crate::shadow::Shadow;

    const CRITERIA: Criteria =
        Criteria { rows: 3, minutes: 0.0, flips_max: Some(0.5), cost_ratio_max: Some(2.0) };

    fn probation() -> Probation {
        Probation { rows_min: 100, ..Probation::default() }
    }

    fn conduct(events: u64, rejects: u64, non_finite: u64, micros: u64) -> Conduct {
        let cost = Duration::from_micros(micros);
        Conduct { events, rejects, non_finite, cost, ..Conduct::default() }
    }

    /// Events that have `x`, and `y` if asked for.
    fn recent(with_y: bool) -> Recent {
        let recent = Recent::new(100);
        let event = if with_y { r#"{"x":1,"y":1}"# } else { r#"{"x":1}"# };
        recent.keep([event; 50].into_iter().map(str::as_bytes));
        recent
    }

    /// The reason for going back from version 2, which requires `y`, to version 1, which does not.
    fn verdict(before: Conduct, then: Conduct, recent: &Recent) -> Option<String> {
        let first = Served::alone(tiny::version("1", &["x"], 4.5, [0.1, 0.9]), None);
        first.did(before);
        let second = Served::alone(tiny::version("2", &["x", "y"], 4.5, [0.1, 0.9]), Some(7));
        second.did(then);
        let mut trial = Trial::new(Some(&first));
        let message = trial.verdict(&second, None, &probation(), 0.01, recent)?;
        let again = trial.verdict(&second, None, &probation(), 0.01, recent);
        assert_eq!(again, None, "it is said once");
        match message {
            Message::Rollback { from, to: None, reason, .. } if from == "2" => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_version_that_refuses_what_the_one_before_scores_is_sent_back() {
        let before = conduct(1000, 0, 0, 1000);
        let reason = verdict(before, conduct(200, 100, 0, 200), &recent(false)).unwrap();
        assert!(reason.contains("`y` at `/y`"), "{reason}");
        // As bad as it looks, the version before would refuse as much.
        assert_eq!(verdict(before, conduct(200, 100, 0, 200), &recent(true)), None);
        // Too few events to tell, or too few rejects to mind.
        assert_eq!(verdict(before, conduct(99, 99, 0, 99), &recent(false)), None);
        assert_eq!(verdict(before, conduct(200, 5, 0, 200), &recent(false)), None);
    }

    /// Nothing that is held back is settled, and few events fill a small window.
    #[test]
    fn what_is_held_back_counts_however_few_events_it_is() {
        let before = conduct(1000, 0, 0, 1000);
        let held = Conduct { held: 50, ..conduct(99, 50, 0, 99) };
        assert!(verdict(before, held, &recent(false)).is_some());
        assert_eq!(verdict(before, held, &recent(true)), None, "the stream's own fault");
        // Among many that were scored before, too.
        let late = Conduct { held: 50, ..conduct(100_000, 50, 0, 100_000) };
        assert!(verdict(before, late, &recent(false)).is_some());
    }

    #[test]
    fn results_that_are_no_numbers_are_harm_if_the_version_before_had_fewer() {
        let reason = verdict(conduct(1000, 0, 0, 0), conduct(200, 10, 10, 0), &recent(true));
        assert_eq!(reason.unwrap(), "5.00 % of results are no numbers");
        assert_eq!(verdict(conduct(1000, 60, 60, 0), conduct(200, 10, 10, 0), &recent(true)), None);
    }

    #[test]
    fn what_looks_slow_and_is_not_stays() {
        let slow = conduct(200, 0, 0, 1_000_000);
        assert!(is_suspect(slow, conduct(1000, 0, 0, 1000), &probation()));
        assert_eq!(verdict(conduct(1000, 0, 0, 1000), slow, &recent(true)), None);
    }

    #[test]
    fn without_a_version_before_there_is_nothing_to_go_back_to() {
        let served = Served::alone(tiny::version("2", &["x"], 4.5, [0.1, 0.9]), Some(7));
        served.did(conduct(1000, 1000, 1000, 0));
        let mut trial = Trial::new(None);
        assert_eq!(trial.verdict(&served, None, &probation(), 0.01, &recent(false)), None);
    }

    /// Five events, of which one flips and `lost` are lost.
    fn comparison(lost: u64) -> Comparison {
        let mut comparison = Comparison::default();
        (comparison.rows, comparison.flips, comparison.lost) = (5, 1, lost);
        comparison.add_cost(Duration::from_micros(10), Duration::from_micros(15));
        comparison
    }

    #[test]
    fn a_shadow_is_promoted_when_it_has_shown_all_that_was_asked() {
        let first = Served::alone(tiny::version("1", &["x"], 4.5, [0.1, 0.9]), None);
        let shadow = Arc::new(Shadow::new(tiny::version("2", &["x"], 4.5, [0.2, 0.8]), 7));
        let served = first.beside(Some(Arc::clone(&shadow)));
        let mut trial = Trial::new(None);
        let mut verdict =
            || trial.verdict(&served, Some(CRITERIA), &probation(), 0.01, &recent(false));
        assert_eq!(verdict(), None);
        shadow.add(&comparison(0));
        let Some(Message::Promote { version, from, reason, .. }) = verdict() else {
            panic!("expected a promotion");
        };
        assert_eq!((version.as_str(), from.as_deref()), ("2", Some("1")));
        assert_eq!(
            reason.unwrap(),
            "in 0.0 minutes 5 events, 20.00 % another class, 1.50 times the cost"
        );
    }

    #[test]
    fn each_criterion_has_to_be_met() {
        let meets = |criteria: Criteria, lost: u64, seconds: u64| {
            shown(criteria, &comparison(lost), Duration::from_secs(seconds), 0.01).is_some()
        };
        assert!(meets(CRITERIA, 0, 0));
        assert!(!meets(Criteria { rows: 6, ..CRITERIA }, 0, 0));
        assert!(!meets(Criteria { flips_max: Some(0.1), ..CRITERIA }, 0, 0));
        assert!(!meets(Criteria { cost_ratio_max: Some(1.4), ..CRITERIA }, 0, 0));
        assert!(!meets(Criteria { minutes: 1.0, ..CRITERIA }, 0, 59));
        assert!(meets(Criteria { minutes: 1.0, ..CRITERIA }, 0, 60));
        assert!(!meets(CRITERIA, 1, 0));
        assert!(meets(Criteria { flips_max: None, cost_ratio_max: None, ..CRITERIA }, 0, 0));
    }
}
