//! Where a group begins that has no committed offsets, or whose events are gone.

use std::sync::Arc;

use rdkafka::producer::Producer;

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::feeder;
use super::instance::await_shares;
use super::probe::Probe;
use super::reports::await_report;
use super::{topics, transaction};

const PARTITIONS: i32 = 3;

#[test]
fn a_new_group_begins_at_the_oldest_event() {
    let deployment = Deployment::new("earliest", PARTITIONS);
    feeder::burst(&deployment, 500);
    let mut probe = Probe::new(&deployment);
    let _instance = deployment.start();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}

/// All members agree on what came before the group, and remember it: also of partitions that had no
/// event until a restart.
#[test]
fn a_new_group_begins_at_the_latest_event_where_told_so() {
    let deployment = Deployment::new("latest", PARTITIONS).with("consumer.start_from", "latest");
    feeder::burst(&deployment, 500);
    let before = topics::read(&deployment, &deployment.topics.events).len();
    let (mut one, mut two) = (deployment.start(), deployment.start());
    await_shares(SOON, PARTITIONS, &[&one, &two]);
    let mut probe = Probe::new(&deployment);
    // An event now and then, all of one key, until one is answered: the group has begun.
    let publish = |key: &str| {
        let value = format!(r#"{{"id":"{key}","x":1}}"#);
        topics::publish(&deployment, &deployment.topics.events, key, &value)
    };
    eventually(SOON, "an answer", || {
        publish("one");
        (probe.answered() > 0).then_some(())
    });
    for instance in [&mut one, &mut two] {
        let (end, _) = instance.terminate(SOON);
        assert_eq!(end.code, Some(0), "expected a clean end: {}", end.said);
    }
    // What comes while nobody is there belongs to the group, whatever its partition.
    let keys: Vec<_> = (0..20).map(|number| format!("later-{number}")).collect();
    for key in &keys {
        publish(key);
    }
    let _again = deployment.start();
    eventually(SOON, "answers to all that came while nobody was there", || {
        probe.read();
        let ids = probe.answers.iter().filter_map(|answer| answer.prediction.as_ref());
        let ids: Vec<_> = ids.map(|prediction| &prediction.id).collect();
        keys.iter().all(|key| ids.contains(&key)).then_some(())
    });
    let verdict = probe.verdict();
    assert!(verdict.lost.len() >= before, "expected the first {before} passed over: {verdict}");
    assert_eq!(verdict.doubled, [], "expected no event twice: {verdict}");
}

/// Retention deletes events that a stopped group has not read.
fn overtaken(name: &'static str) -> (Deployment, i64) {
    let deployment = Deployment::new(name, PARTITIONS);
    feeder::burst(&deployment, 300);
    let mut first = deployment.start();
    Probe::new(&deployment).await_all(SOON);
    let (end, _) = first.terminate(SOON);
    assert_eq!(end.code, Some(0), "expected a clean end: {}", end.said);
    let topic = deployment.topics.events.clone();
    let read = topics::end(&topics::asker(&deployment, "read_committed"), &topic, 1);
    feeder::burst(&deployment, 600);
    topics::delete_below(&deployment, &topic, &[(1, read + 50)]);
    (deployment, read)
}

#[test]
fn events_deleted_unread_end_the_instance_which_says_how_many_are_lost() {
    let (deployment, _) = overtaken("overtaken-stop");
    let end = deployment.start().end(SOON);
    assert_eq!(end.code, Some(65), "expected exit code 65: {}", end.said);
    for words in ["partition 1", "50 events", "consumer.out_of_range"] {
        assert!(end.said.contains(words), "expected to be told `{words}`: {}", end.said);
    }
}

#[test]
fn events_deleted_unread_are_counted_and_passed_over_where_told_so() {
    let (deployment, read) = overtaken("overtaken-go-on");
    let deployment = deployment.with("consumer.out_of_range", "earliest");
    let mut probe = Probe::new(&deployment);
    let instance = deployment.start();
    probe.await_answers(SOON, 900 - 50);
    instance.await_saying(SOON, &["ERROR", "partition 1", "50 events"]);
    let first_after = probe.answers.iter().map(|answer| answer.input);
    let first_after = first_after.filter(|&(partition, offset)| partition == 1 && offset >= read);
    assert_eq!(
        first_after.map(|(_, offset)| offset).min(),
        Some(read + 50),
        "expected partition 1 to go on at the oldest event that is left"
    );
    // Those that are gone cannot be compared any more; the others have one answer each.
    let verdict = probe.verdict();
    assert_eq!((verdict.lost, verdict.disordered), (vec![], vec![]), "expected none lost besides");
}

/// The marker at the end of a transaction takes an offset, and what was aborted does: nobody waits for those.
#[test]
fn behind_the_last_event_of_a_transaction_nothing_waits() {
    let deployment = Deployment::new("markers", 1);
    let mut probe = Probe::new(&deployment);
    let producer = transaction::begin(&deployment, "producer", SOON);
    let topic = &deployment.topics.events;
    transaction::send(&producer, topic, "key", r#"{"id":"kept","x":1}"#);
    producer.commit_transaction(SOON).expect("the transaction ends");
    producer.begin_transaction().expect("another begins");
    transaction::send(&producer, topic, "key", r#"{"id":"aborted","x":1}"#);
    producer.abort_transaction(SOON).expect("it is aborted");
    let _instance = deployment.start();
    probe.await_answers(SOON, 1);
    let report = await_report(&deployment, "a partition in which nothing waits", |report| {
        let partition = report.partitions.first();
        report.totals.predictions == 1 && partition.is_some_and(|partition| partition.lag == 0)
    });
    assert_eq!(
        report.partitions[0].next_offset, 1,
        "the event behind which three offsets are none"
    );
}

/// Their partitions change hands while most have no place to read from yet.
#[test]
fn several_instances_of_a_new_group_begin_together() {
    let deployment = Arc::new(Deployment::new("together", 12));
    let feeder = feeder::Feeder::start(&deployment, 1000);
    let mut probe = Probe::new(&deployment);
    let instances: Vec<_> = (0..4).map(|_| deployment.start()).collect();
    await_shares(SOON, 12, &instances.iter().collect::<Vec<_>>());
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}
