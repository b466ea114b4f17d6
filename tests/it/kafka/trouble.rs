//! What an administrator may do to the topics under a running instance, and what becomes of it.

use std::collections::BTreeSet;

use foretell::config::Topics;
use serde_json::json;

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::probe::Probe;
use super::{feeder, topics};

const PARTITIONS: i32 = 2;
/// A client takes a missing topic for one that is being made for so long; 30 s by itself.
const PROPAGATION: (&str, i64) = ("kafka.properties.\"topic.metadata.propagation.max.ms\"", 1000);

/// Deletes a topic under an instance that has work to do, which then has to end and say so.
fn delete(name: &str, topic: fn(&Topics) -> &String) {
    let deployment = Deployment::new(name, PARTITIONS).with(PROPAGATION.0, PROPAGATION.1);
    let mut instance = deployment.start();
    let mut probe = Probe::new(&deployment);
    feeder::burst(&deployment, 100);
    probe.await_all(SOON);
    let (topic, events) = (topic(&deployment.topics), &deployment.topics.events);
    topics::delete(&deployment, topic);
    let work = [r#"{"id":"good","x":1}"#.to_owned(), "garbage".to_owned()];
    eventually(SOON, "the instance to end", || {
        // The brokers take a moment to forget a topic.
        if topic != events {
            topics::publish_all(&deployment, events, "key", &work);
        }
        instance.has_ended().then_some(())
    });
    let end = instance.end(SOON);
    assert_eq!(end.code, Some(78), "expected exit code 78: {}", end.said);
    for words in [&*format!("`{topic}` does not exist any more"), "hint: `foretell init`"] {
        assert!(end.said.contains(words), "expected to be told `{words}`: {}", end.said);
    }
    assert!(!topics::names(&deployment).contains(topic), "expected `{topic}` to stay deleted");
}

#[test]
fn an_instance_whose_predictions_topic_is_deleted_ends_and_says_so() {
    delete("no-predictions", |topics| &topics.predictions);
}

#[test]
fn an_instance_whose_dead_letters_topic_is_deleted_ends_and_says_so() {
    delete("no-dead-letters", |topics| &topics.dead_letters);
}

#[test]
fn an_instance_whose_events_topic_is_deleted_ends_and_says_so() {
    delete("no-events", |topics| &topics.events);
}

#[test]
fn an_instance_whose_control_topic_is_deleted_ends_and_says_so() {
    delete("no-control", |topics| &topics.control);
}

/// Reports are for people: without a place for them, the events are answered all the same.
#[test]
fn an_instance_whose_reports_topic_is_deleted_goes_on() {
    let deployment = Deployment::new("no-reports", PARTITIONS)
        .with(PROPAGATION.0, PROPAGATION.1)
        // So long it takes until a report is given up.
        .with("kafka.connect_timeout_ms", 10_000);
    let instance = deployment.start();
    let mut probe = Probe::new(&deployment);
    feeder::burst(&deployment, 100);
    probe.await_all(SOON);
    topics::delete(&deployment, &deployment.topics.reports);
    instance.await_saying(SOON, &[&deployment.topics.reports, "publishing"]);
    feeder::burst(&deployment, 100);
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}

/// Someone lowers `max.message.bytes` of the predictions topic: from then on a prediction that is longer
/// is a dead letter, and the rest of its batch goes on.
#[test]
fn a_bound_that_is_lowered_in_mid_stream_costs_what_is_longer_and_nothing_else() {
    let deployment = Deployment::new("bounded", PARTITIONS)
        .with("output.carry.text", "/text")
        // Brokers look at what arrives, and this would not be long.
        .with("delivery.compression", "none");
    let instance = deployment.start();
    let mut probe = Probe::new(&deployment);
    let event =
        |id: &str, bytes: usize| json!({"id": id, "x": 1, "text": "t".repeat(bytes)}).to_string();
    let round = [event("short", 10), event("long", 4000), event("short again", 10)];
    let publish = || topics::publish_all(&deployment, &deployment.topics.events, "key", &round);
    publish();
    probe.await_answers(SOON, 3);
    topics::bound(&deployment, &deployment.topics.predictions, 3000);
    publish();
    probe.await_answers(SOON, 6);
    instance.await_saying(SOON, &["as long as ours", "3000"]);
    publish();
    probe.await_answers(SOON, 9);
    let verdict = probe.verdict();
    verdict.is_exactly_once();
    let mut refused = probe.answers.iter().filter(|answer| answer.prediction.is_none());
    let reasons: Vec<_> =
        refused.by_ref().map(|letter| letter.record.header("foretell.reason")).collect();
    let too_large = || Some("prediction_too_large".to_owned());
    assert_eq!(reasons, [too_large(), too_large()], "expected the long ones after the change");
}

/// The events topic is deleted and made anew while nobody runs. The group's places go with the old one,
/// or they would be taken for places in the new one, and what stands before them be passed over.
#[test]
fn an_events_topic_made_anew_is_read_from_its_beginning() {
    let deployment = Deployment::new("anew", PARTITIONS);
    let mut instance = deployment.start();
    let mut probe = Probe::new(&deployment);
    feeder::burst(&deployment, 100);
    probe.await_all(SOON);
    instance.terminate(SOON);
    let events = &deployment.topics.events;
    topics::delete(&deployment, events);
    eventually(SOON, "the topic to be made anew", || {
        topics::try_make(&deployment, events, PARTITIONS).then_some(())
    });
    // More than it held before: by offsets alone nobody could tell.
    feeder::burst(&deployment, 300);
    let _again = deployment.start();
    let first_new = 100;
    eventually(SOON, "all events of the new topic to be answered", || {
        probe.read();
        let predictions = probe.answers.iter().filter_map(|answer| answer.prediction.as_ref());
        let numbers = predictions.filter_map(|prediction| prediction.id.parse::<u64>().ok());
        let new: BTreeSet<_> = numbers.filter(|&number| number >= first_new).collect();
        (new.len() == 300).then_some(())
    });
}
