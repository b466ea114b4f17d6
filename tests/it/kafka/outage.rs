//! A broker goes away and comes back: the instances go on by themselves.
//!
//! In mid stream it is one of two. A partition that nobody leads while a transaction commits loses
//! its marker for good: Kafka 4.3.1 takes it for deleted and says "Couldn't find leader endpoint …
//! these partitions are likely deleted already and hence can be skipped". What the transaction wrote
//! there is never seen, whoever wrote it. ARCHITECTURE.md has the whole story.

use std::time::Instant;

use super::broker::Broker;
use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::instance::await_shares;
use super::probe::Probe;
use super::{feeder, topics};

const PARTITIONS: i32 = 4;

#[test]
fn one_broker_of_two_restarts_and_nothing_is_lost_or_doubled() {
    outlast("restarts", Broker::stop);
}

#[test]
fn one_broker_of_two_is_killed_and_nothing_is_lost_or_doubled() {
    outlast("is-killed", Broker::kill);
}

/// Two instances in a backlog, and `end` for one of their two brokers in the middle of it.
fn outlast(name: &str, end: fn(&Broker)) {
    let broker = Broker::start_beside_another(name);
    let deployment = Deployment::on(&broker, name, PARTITIONS)
        .with("batch.rows_max", 500)
        .with("batch.tile_rows", 500);
    let (one, two) = (deployment.start(), deployment.start());
    await_shares(SOON, PARTITIONS, &[&one, &two]);
    let mut probe = Probe::new(&deployment);
    feeder::burst(&deployment, 1000);
    probe.await_all(SOON);
    feeder::burst(&deployment, 20_000);
    probe.await_answers(SOON, 2000);
    end(&broker);
    topics::await_taken_over(&deployment);
    broker.restart();
    let back = Instant::now();
    probe.await_answers(SOON, 21_000);
    println!("a broker that {name}: all answered {:.1?} after it was back", back.elapsed());
    feeder::burst(&deployment, 1000);
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}

/// The whole cluster is away; no transaction is open at that time.
#[test]
fn the_only_broker_is_away_and_the_instances_come_back_to_it() {
    let broker = Broker::start("away");
    let deployment = Deployment::on(&broker, "away", PARTITIONS);
    let (one, two) = (deployment.start(), deployment.start());
    await_shares(SOON, PARTITIONS, &[&one, &two]);
    let mut probe = Probe::new(&deployment);
    feeder::burst(&deployment, 1000);
    probe.await_all(SOON);
    eventually(SOON, "the offsets of all events to be settled", || {
        topics::is_settled(&deployment, PARTITIONS).then_some(())
    });
    broker.stop();
    for instance in [&one, &two] {
        instance.await_saying(SOON, &["the consumer has trouble"]);
    }
    broker.restart();
    feeder::burst(&deployment, 1000);
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}
