//! The promise, one answer to each event, held against what the reader has counted.

use super::tour::Tour;
use crate::bus::Fatal;
use crate::config::Guarantee;

/// # Errors
/// The promise was broken.
pub fn pass(tour: &Tour) -> Result<(), Fatal> {
    let counts = tour.ledger.counts();
    let guarantee = tour.stage.config().delivery.guarantee;
    let lost = lost(tour);
    if lost > 0 && !tour.moments.is_abandoned() {
        return Err(broken(format!("{lost} events have no answer")));
    }
    if counts.doubled > 0 && guarantee == Guarantee::ExactlyOnce {
        return Err(broken(format!("{} answers are to events that had one", counts.doubled)));
    }
    if counts.unreadable > 0 {
        return Err(broken(format!("{} answers cannot be read", counts.unreadable)));
    }
    let is_whole = tour.moments.interrupts == 0;
    if is_whole && tour.moments.announced.is_some() && tour.ledger.versions().len() < 2 {
        return Err(broken("version 2 was announced and never served".into()));
    }
    Ok(())
}

/// Published and not on the topic, or on the topic and not answered.
pub fn lost(tour: &Tour) -> u64 {
    let never_seen = tour.moments.published.saturating_sub(tour.ledger.counts().events);
    tour.ledger.lost() + never_seen
}

fn broken(what: String) -> Fatal {
    Fatal::Bug(format!("the tour did not go as promised: {what}"))
}
