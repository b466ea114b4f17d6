//! What instances report of themselves on their topic.

use foretell::observe::reports::Report;
use serde_json::Value;

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
        let read =
            |value: &[u8]| -> Value { serde_json::from_slice(value).expect("a report is JSON") };
        let reports = values.map(read).filter(|report| report["kind"] == Value::Null);
        let read = |report| serde_json::from_value(report).expect("an instance's report");
        reports.map(read).find(&shows)
    })
}

/// Waits until the last report is one of a ready instance. For deployments of one instance.
#[track_caller]
pub fn await_ready(deployment: &Deployment) {
    eventually(SOON, "the last report to be one of a ready instance", || {
        let records = topics::read(deployment, &deployment.topics.reports);
        let last = records.last().and_then(|record| record.value.as_deref())?;
        let report: Report = serde_json::from_slice(last).expect("a report is JSON");
        report.ready.then_some(())
    });
}
