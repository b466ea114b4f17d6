//! Members come and go, and partitions are added: the others go on, and nothing is lost or doubled.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use foretell::batch::Batch;
use foretell::bus::consumer::Consumer;
use foretell::bus::options::{Options, reader};
use foretell::bus::statistics;
use foretell::config::Config;
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::feeder::{self, Feeder};
use super::instance::await_shares;
use super::probe::Probe;
use super::{model, swap, topics};

const PARTITIONS: i32 = 6;

#[test]
fn an_instance_joins_and_leaves_under_load() {
    let deployment = Arc::new(Deployment::new("rebalance", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 1000);
    let (one, two) = (deployment.start(), deployment.start());
    await_shares(SOON, PARTITIONS, &[&one, &two]);
    let mut guest = deployment.start();
    await_shares(SOON, PARTITIONS, &[&one, &two, &guest]);
    probe.await_all(SOON);
    let (end, took) = guest.terminate(SOON);
    assert_eq!(end.code, Some(0), "expected the guest to leave in good order: {}", end.said);
    println!("the guest left {:.1} s after SIGTERM", took.as_secs_f64());
    await_shares(SOON, PARTITIONS, &[&one, &two]);
    probe.await_all(SOON);
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}

/// A model is replaced in the very moments in which partitions change hands.
#[test]
fn versions_change_while_instances_join_and_leave() {
    let deployment = Arc::new(Deployment::new("rebalance-reload", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 1000);
    let one = deployment.start();
    await_shares(SOON, PARTITIONS, &[&one]);
    probe.await_answers(SOON, 1000);
    let (second, third) = (model::bundle(2), model::bundle(3));
    let mut guest = deployment.start();
    let joined = deployment.announce(&second);
    await_shares(SOON, PARTITIONS, &[&one, &guest]);
    swap::await_served(&mut probe, joined);
    let (left, end) = thread::scope(|scope| {
        let announced = scope.spawn(|| deployment.announce(&third));
        let (end, _) = guest.terminate(SOON);
        (announced.join().expect("an announcement"), end)
    });
    assert_eq!(end.code, Some(0), "expected the guest to leave in good order: {}", end.said);
    await_shares(SOON, PARTITIONS, &[&one]);
    swap::await_served(&mut probe, left);
    feeder.stop();
    probe.await_all(SOON);
    let chosen = [(None, 1), (Some(joined), 2), (Some(left), 3)];
    swap::check_names(&mut probe, &swap::Chosen::from(chosen));
}

/// The members whose partitions a group with KIP-848 hands out by the broker's hand.
#[test]
fn an_instance_joins_and_leaves_a_group_that_the_broker_assigns() {
    let deployment = Deployment::new("kip848", PARTITIONS)
        .with("consumer.protocol", "consumer")
        .without("consumer.session_timeout_ms")
        .without("consumer.heartbeat_interval_ms");
    let deployment = Arc::new(deployment);
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 1000);
    let one = deployment.start();
    await_shares(SOON, PARTITIONS, &[&one]);
    let mut guest = deployment.start();
    await_shares(SOON, PARTITIONS, &[&one, &guest]);
    probe.await_all(SOON);
    let (end, _) = guest.terminate(SOON);
    assert_eq!(end.code, Some(0), "expected the guest to leave in good order: {}", end.said);
    await_shares(SOON, PARTITIONS, &[&one]);
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}

/// Even where a new group begins at the latest event: what is on a partition that the group sees
/// for the first time later was published after it began.
#[test]
fn partitions_added_in_mid_stream_are_read_from_their_start() {
    let deployment = Deployment::new("grown", 2)
        .with("consumer.metadata_refresh_ms", 1000)
        .with("consumer.start_from", "latest");
    let instance = deployment.start();
    await_shares(SOON, 2, &[&instance]);
    let mut probe = Probe::new(&deployment);
    settle_once(&deployment, &mut probe);
    let before = topics::read(&deployment, &deployment.topics.events).len();
    // The predictions first: where both topics have as many, partitions are kept.
    for topic in [&deployment.topics.predictions, &deployment.topics.events] {
        topics::grow(&deployment, topic, 6);
    }
    feeder::burst(&deployment, 1000);
    let events = topics::read(&deployment, &deployment.topics.events);
    assert!(
        events.iter().any(|event| event.partition >= 2),
        "expected some of {} events on the new partitions",
        events.len() - before
    );
    let mut probe = Probe::new(&deployment);
    eventually(SOON, "all events of the new partitions to be answered", || {
        probe.read();
        let count = |new: &dyn Fn(i32) -> bool| {
            probe.answers.iter().filter(|answer| new(answer.input.0)).count()
        };
        let new = events.iter().filter(|event| event.partition >= 2).count();
        (count(&|partition| partition >= 2) == new).then_some(())
    });
    probe.await_answers(SOON, 1000);
}

/// Publishes until something is answered: from then on the group stands somewhere.
fn settle_once(deployment: &Deployment, probe: &mut Probe<'_>) {
    eventually(SOON, "a first answer", || {
        feeder::burst(deployment, 10);
        (probe.answered() > 0).then_some(())
    });
}

/// Where only the events topic has grown, there is no partition of the same number to predict to.
#[test]
fn events_that_outgrow_their_predictions_are_answered_by_key() {
    let deployment = Deployment::new("outgrown", 2).with("consumer.metadata_refresh_ms", 1000);
    let instance = deployment.start();
    await_shares(SOON, 2, &[&instance]);
    let mut probe = Probe::new(&deployment);
    feeder::burst(&deployment, 100);
    probe.await_all(SOON);
    topics::grow(&deployment, &deployment.topics.events, 6);
    feeder::burst(&deployment, 1000);
    probe.await_all(SOON);
    let outgrown = probe.answers.iter().filter(|answer| answer.input.0 >= 2);
    assert!(outgrown.count() > 0, "expected events on the new partitions");
}

/// As a worker does whose client does not find back into the group.
#[test]
fn a_member_that_joins_anew_loses_its_partitions_and_gets_them_again() {
    let deployment = Deployment::new("rejoin", PARTITIONS);
    let mut config = Config { kafka: deployment.kafka.clone(), ..Config::default() };
    config.topics = deployment.topics.clone();
    config.consumer.group_id = deployment.name.clone();
    let mut member = Consumer::join(&Options::new(&config)).expect("the group can be joined");
    let mut batch = Batch::default();
    let mut await_change = |member: &mut Consumer| {
        eventually(SOON, "a rebalance", || {
            member.poll(Duration::from_millis(20), &mut batch).expect("it can be polled");
            member.take_rebalanced()
        })
    };
    let sorted = |mut partitions: Vec<i32>| {
        partitions.sort_unstable();
        partitions
    };
    let all: Vec<i32> = (0..PARTITIONS).collect();
    assert_eq!(sorted(await_change(&mut member).assigned), all);
    member.rejoin().expect("another client can be made");
    let change = member.take_rebalanced().expect("its partitions are revoked");
    assert_eq!((change.revoked, change.assigned), (all.clone(), vec![]));
    assert_eq!(sorted(await_change(&mut member).assigned), all);
    assert_eq!(member.stand().lags.len() + member.stand().placeless.len(), all.len());
}

/// What the statistics of a member said last: whether it is adrift.
struct Told {
    is_assigned_by_brokers: bool,
    adrift: Mutex<Option<Option<String>>>,
}

impl ClientContext for Told {
    fn stats_raw(&self, statistics: &[u8]) {
        let adrift = statistics::adrift(statistics, self.is_assigned_by_brokers);
        *self.adrift.lock().expect("nobody panics with it") = Some(adrift);
    }
}

impl ConsumerContext for Told {}

/// One of them has no partition: it is in its group all the same, under either protocol.
#[test]
fn members_with_and_without_partitions_are_not_adrift() {
    let deployment = Deployment::new("idle-member", 1);
    for protocol in ["classic", "consumer"] {
        let mut config = reader(&deployment.kafka);
        config.set("group.id", format!("{}-{protocol}", deployment.name));
        config.set("group.protocol", protocol).set("statistics.interval.ms", "100");
        let members = [(); 2].map(|()| {
            let is_assigned_by_brokers = protocol == "consumer";
            let told = Told { is_assigned_by_brokers, adrift: Mutex::default() };
            let member: BaseConsumer<Told> = config.create_with_context(told).expect("a consumer");
            member.subscribe(&[&deployment.topics.events]).expect("it can be subscribed");
            member
        });
        eventually(SOON, "two members of the group, one with the partition", || {
            let assigned = members.iter().map(|member| {
                member.poll(Duration::from_millis(10));
                member.assignment().expect("it tells").count()
            });
            let assigned: usize = assigned.sum();
            let told =
                members.iter().map(|it| it.context().adrift.lock().expect("as above").clone());
            (assigned == 1 && told.into_iter().all(|told| told == Some(None))).then_some(())
        });
    }
}
