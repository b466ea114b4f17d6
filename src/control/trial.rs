//! What an instance decides by itself: that a version which has just begun to serve does harm,
//! and that a shadow has shown what was asked of it.
//!
//! It only publishes what it found; the log decides, for all instances alike. Both messages name
//! the version that they are about to replace, so that many instances saying one is one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{Criteria, Message};
use crate::compare::Comparison;
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
    replayed: Option<Instant>,
    said: Option<Instant>,
}

impl Trial {
    /// The trial of a version that begins to serve now after `before`.
    pub fn new(before: Option<&Served>) -> Self {
        let before = before.map(|served| (Arc::clone(&served.version), served.conduct()));
        Self { began: Instant::now(), before, replayed: None, said: None }
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
        let (before, then) = self.before.as_ref()?;
        let conduct = served.conduct();
        let is_over = self.began.elapsed() >= Duration::from_millis(probation.duration_ms);
        if is_over || conduct.events < probation.rows_min {
            return None;
        }
        let non_finite = share(conduct.non_finite, conduct.events);
        if non_finite > probation.non_finite_max && non_finite > share(then.non_finite, then.events)
        {
            return Some(format!("{} of results are no numbers", percent(non_finite)));
        }
        if !is_suspect(conduct, *then, probation)
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

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}
