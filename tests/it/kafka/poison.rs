//! A producer, or a version, that would make dead letters of most events: the worker stops before it writes them, says
//! so, and goes on when it may.

use std::sync::Arc;
use std::time::Duration;

use foretell::control::message::Message;
use foretell::observe::health::Latch;
use foretell::observe::reports::{HeldReport, Report};
use foretell::reject::Reason;
use serde_json::json;

use super::deployment::Deployment;
use super::eventually::{SOON, eventually, stays};
use super::feeder::{self, Feeder};
use super::instance::Instance;
use super::model::{self, Flaw};
use super::probe::Probe;
use super::reports::{await_ready, await_report};
use super::topics;

const PARTITIONS: i32 = 2;
/// A worker has to have seen so many to stop, and stops when more than half of so many are bad.
const WINDOW: u64 = 100;
const GARBAGE: u64 = 400;

fn deployment(name: &str) -> Deployment {
    Deployment::new(name, PARTITIONS).with("dead_letters.window_rows", WINDOW as i64)
}

/// Publishes events that version 1 cannot score. A version that asks for `more` can.
fn publish_garbage(deployment: &Deployment) {
    for key in ["one", "two", "three", "four"] {
        let event = |number| format!(r#"{{"id":"{key}-{number}","more":{number},"kind":"a"}}"#);
        let events: Vec<_> = (0..GARBAGE / 4).map(event).collect();
        topics::publish_all(deployment, &deployment.topics.events, key, &events);
    }
}

fn held(report: &Report) -> Option<&HeldReport> {
    report.workers.iter().find_map(|worker| worker.held.as_ref())
}

#[track_caller]
fn await_held(deployment: &Deployment) -> Report {
    await_report(deployment, "a worker that holds back", |report| held(report).is_some())
}

fn letters(deployment: &Deployment) -> u64 {
    topics::read(deployment, &deployment.topics.dead_letters).len() as u64
}

/// An instance that has answered good events, and then met the garbage.
fn met_with_garbage(deployment: &Deployment, probe: &mut Probe<'_>) -> Instance {
    let instance = deployment.start();
    feeder::burst(deployment, 500);
    probe.await_all(SOON);
    publish_garbage(deployment);
    await_held(deployment);
    instance
}

#[test]
fn garbage_is_held_back_and_told_and_becomes_dead_letters_once_resume_is_said() {
    let deployment = deployment("poison");
    // Said before anybody stopped, it means nothing.
    deployment.say("resume", &["--reason", "too early"]);
    let mut probe = Probe::new(&deployment);
    let instance = met_with_garbage(&deployment, &mut probe);
    let report = await_held(&deployment);
    assert!(!report.ready);
    let why = report.waits_for.iter().find(|waits| waits.latch == Latch::NothingHeldBack);
    let why = &why.expect("the reason").why;
    let example = format!("such as {}-", deployment.topics.events);
    for part in ["worker 0 has stopped: ", "required_feature_missing", &example, "`x` at `/x`"] {
        assert!(why.contains(part), "expected `{part}` in: {why}");
    }
    let held = held(&report).expect("looked for");
    let bad = held.dead_letters[&Reason::RequiredFeatureMissing];
    assert!(2 * bad > held.events && held.events >= WINDOW, "{held:?}");
    let words = ["ERROR", "stopped before writing them", "required_feature_missing", "hint: "];
    instance.await_saying(SOON, &words);
    let status = deployment.foretell("status", &[]);
    let told = String::from_utf8_lossy(&status.stdout);
    assert_eq!(status.status.code(), Some(1), "{told}");
    assert!(told.contains("not ready: worker 0 has stopped: "), "{told}");
    // What came before the bound was reached is on its topic; nothing more comes, and the worker stays in the group.
    let before = letters(&deployment);
    assert!(before <= WINDOW / 2, "{before} dead letters");
    assert!(stays(Duration::from_secs(5), || letters(&deployment) == before));
    assert_eq!(instance.partitions(), [0, 1]);
    deployment.say("resume", &["--reason", "we know"]);
    probe.await_answers(SOON, 500 + GARBAGE);
    probe.verdict().is_exactly_once();
    assert_eq!(letters(&deployment), GARBAGE);
    await_ready(&deployment);
    let said = instance.said();
    let stops = said.lines().filter(|line| line.contains("stopped before writing them")).count();
    assert_eq!(stops, 1, "it is said once:\n{said}");
}

#[test]
fn a_version_that_takes_what_is_held_back_lets_it_go_on_by_itself() {
    let deployment = deployment("poison-version");
    let mut probe = Probe::new(&deployment);
    publish_garbage(&deployment);
    let _instance = deployment.start();
    await_held(&deployment);
    let bundle = model::flawed_bundle(2, Flaw::AsksForMore);
    topics::control(&deployment, &model::retrain_complete_with(2, &bundle, json!({})));
    probe.await_answers(SOON, GARBAGE);
    probe.verdict().is_exactly_once();
    // At the start a batch may be too small to fill the window.
    assert!(letters(&deployment) < WINDOW, "{} dead letters", letters(&deployment));
    let predictions = probe.answers.iter().filter_map(|answer| answer.prediction.as_ref());
    assert!(predictions.map(|prediction| prediction.version).all(|version| version == 2));
    await_ready(&deployment);
}

#[test]
fn a_producer_that_is_mended_lets_it_go_on_by_itself() {
    let deployment = deployment("poison-mended");
    let mut probe = Probe::new(&deployment);
    let instance = met_with_garbage(&deployment, &mut probe);
    feeder::burst(&deployment, 500);
    probe.await_answers(SOON, 1000 + GARBAGE);
    probe.verdict().is_exactly_once();
    assert_eq!(letters(&deployment), GARBAGE);
    instance.await_saying(SOON, &["goes on", "the newest events can be scored"]);
    await_ready(&deployment);
}

#[test]
fn where_it_is_off_garbage_becomes_dead_letters_at_once() {
    let deployment = deployment("poison-off").with("dead_letters.ratio_max", "off");
    let mut probe = Probe::new(&deployment);
    let instance = deployment.start();
    publish_garbage(&deployment);
    probe.await_answers(SOON, GARBAGE);
    probe.verdict().is_exactly_once();
    assert_eq!(letters(&deployment), GARBAGE);
    assert!(!instance.said().contains("stopped before writing them"));
}

#[test]
fn an_instance_that_holds_back_ends_at_once_and_leaves_the_batch_to_the_next() {
    let deployment = deployment("poison-stopped");
    let mut probe = Probe::new(&deployment);
    let mut instance = met_with_garbage(&deployment, &mut probe);
    let before = letters(&deployment);
    let (end, _) = instance.terminate(SOON);
    assert_eq!(end.code, Some(0), "expected a clean end: {}", end.said);
    assert_eq!(letters(&deployment), before, "nothing is written on the way out");
    let _next = deployment.start_with(&[("dead_letters.ratio_max", "off".into())]);
    probe.await_answers(SOON, 500 + GARBAGE);
    probe.verdict().is_exactly_once();
    assert_eq!(letters(&deployment), GARBAGE);
}

/// Nothing that the version refuses is settled; the instances go back from it all the same.
#[test]
fn a_version_that_refuses_what_the_one_before_takes_is_gone_back_from_while_it_is_stopped() {
    let deployment = Arc::new(deployment("poison-probation"));
    let mut probe = Probe::new(&deployment);
    let instance = deployment.start();
    await_report(&deployment, "an instance that is ready", |report| report.ready);
    // No events were seen by which the gate could tell.
    let bundle = model::flawed_bundle(2, Flaw::AsksForMore);
    topics::control(&deployment, &model::retrain_complete_with(2, &bundle, json!({})));
    await_report(&deployment, "that version 2 serves", |report| {
        report.served.as_ref().is_some_and(|serves| serves.version == "2")
    });
    let feeder = Feeder::start(&deployment, 1000);
    // It may have gone back before a report says so.
    instance.await_saying(SOON, &["stopped before writing them"]);
    let back = eventually(SOON, "a rollback on the control topic", || {
        let records = topics::read(&deployment, &deployment.topics.control);
        records.iter().find_map(|record| match Message::parse(record.value.as_deref()?) {
            Ok(Message::Rollback { from, reason, .. }) => Some((from, reason)),
            _ => None,
        })
    });
    assert_eq!(back.0, "2");
    assert!(back.1.is_some_and(|reason| reason.contains("`x` at `/more`")));
    await_ready(&deployment);
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
    assert!(letters(&deployment) < WINDOW, "{} dead letters", letters(&deployment));
    let predictions = probe.answers.iter().filter_map(|answer| answer.prediction.as_ref());
    assert!(predictions.map(|prediction| prediction.version).all(|version| version == 1));
}
