//! The control log is read to its end before the first event, whatever its end looks like.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, Producer};

use super::deployment::Deployment;
use super::eventually::{SOON, stays};
use super::feeder;
use super::probe::Probe;
use super::reports::await_report;
use super::{model, transaction};

/// Events that are there before the first instance: all of them are scored by `version`, under the
/// message at `control_offset`.
#[track_caller]
fn check(deployment: &Deployment, version: u32, control_offset: Option<i64>) {
    feeder::burst(deployment, 500);
    let mut probe = Probe::new(deployment);
    let _instance = deployment.start();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
    for answer in &probe.answers {
        let prediction = answer.prediction.as_ref().expect("no event of this test is bad");
        assert_eq!(
            (prediction.version, prediction.control_offset),
            (version, control_offset),
            "expected the whole control log to count from the first event on"
        );
    }
}

/// Announces a version within a transaction that is not ended.
fn announce_within(deployment: &Deployment, version: u32) -> BaseProducer {
    let bundle = model::bundle(version);
    let producer = transaction::begin(deployment, "trainer", SOON);
    let message = model::retrain_complete(version, &bundle, &model::digest(&bundle));
    transaction::send(&producer, &deployment.topics.control, model::NAME, &message);
    producer
}

#[test]
fn an_empty_control_log_leaves_the_configured_version_serving() {
    check(&Deployment::new("control-empty", 3), 1, None);
}

#[test]
fn an_announcement_counts_from_the_first_event_on() {
    let deployment = Deployment::new("control-plain", 3);
    let at = deployment.announce(&model::bundle(2));
    check(&deployment, 2, Some(at));
}

#[test]
fn a_control_log_may_end_with_a_transaction_marker() {
    let deployment = Deployment::new("control-marker", 3).without("model.bundle");
    let producer = announce_within(&deployment, 2);
    producer.commit_transaction(SOON).expect("the transaction is committed");
    check(&deployment, 2, Some(0));
}

#[test]
fn a_control_log_may_end_with_an_aborted_transaction() {
    let deployment = Deployment::new("control-aborted", 3).without("model.bundle");
    let at = deployment.announce(&model::bundle(2));
    let producer = announce_within(&deployment, 3);
    producer.abort_transaction(SOON).expect("the transaction is aborted");
    check(&deployment, 2, Some(at));
}

/// Without a version to serve it stays up and takes no events; the first announcement starts it.
#[test]
fn without_any_version_it_waits_for_an_announcement() {
    let deployment = Deployment::new("control-none", 3).without("model.bundle");
    feeder::burst(&deployment, 200);
    let mut probe = Probe::new(&deployment);
    let instance = deployment.start();
    instance.await_saying(SOON, &["the control log is read to its end"]);
    let report = await_report(&deployment, "that nothing serves", |report| report.served.is_none());
    assert!(!report.ready, "expected it not to be ready without a version: {report:?}");
    assert!(!report.waits_for.is_empty(), "expected it to say what it waits for: {report:?}");
    assert!(
        stays(Duration::from_millis(500), || probe.answered() == 0),
        "expected no answers without a version"
    );
    let at = deployment.announce(&model::bundle(2));
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
    let prediction = probe.answers[0].prediction.as_ref().expect("no event of this test is bad");
    assert_eq!(prediction.control_offset, Some(at), "expected the announcement to be named");
}
