//! The broker goes away in mid stream and comes back: the instances go on by themselves.

use std::time::Instant;

use super::broker::Broker;
use super::deployment::Deployment;
use super::eventually::SOON;
use super::feeder;
use super::instance::await_shares;
use super::probe::Probe;

const PARTITIONS: i32 = 4;

/// Open: in about one run of five a member does not go on reading after the restart. Whether what is
/// missing then is only late is not yet shown. `cargo test --test it outage -- --include-ignored` shows it.
#[test]
#[ignore = "a member sometimes stops reading after a broker's restart: an open fault of the product"]
fn a_broker_that_restarts_loses_and_doubles_nothing() {
    outlast("restarts", Broker::stop);
}

#[test]
fn a_broker_that_is_killed_loses_and_doubles_nothing() {
    outlast("is-killed", Broker::kill);
}

/// Two instances in a backlog, and `end` for their broker in the middle of it.
fn outlast(name: &str, end: fn(&Broker)) {
    let broker = Broker::start(name);
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
    broker.restart();
    let back = Instant::now();
    probe.await_answers(SOON, 21_000);
    println!("a broker that {name}: all answered {:.1?} after it was back", back.elapsed());
    feeder::burst(&deployment, 1000);
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}
