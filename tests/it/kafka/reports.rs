//! What instances report of themselves on their topic.

use foretell::observe::reports::Report;

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::topics;

/// Waits for a report that shows something, and gives it.
#[track_caller]
pub fn await_report(
    deployment: &Deployment,
    what: &str,
    shows: impl Fn(&Report) -> bool,
) -> Report {
    eventually(SOON, &format!("a report that shows {what}"), || {
        let records = topics::read(deployment, &deployment.topics.reports);
        // Somebody may have taken a report back: a record without a value.
        let values = records.iter().rev().filter_map(|record| record.value.as_deref());
        values.map(|value| serde_json::from_slice(value).expect("a report is JSON")).find(&shows)
    })
}
