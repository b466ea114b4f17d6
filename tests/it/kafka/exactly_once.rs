//! Instances that die, freeze and come back: nothing is lost and nothing is doubled.

use std::sync::Arc;
use std::time::Duration;

use foretell::observe::health::Latch;
use rdkafka::producer::Producer;

use super::deployment::Deployment;
use super::eventually::SOON;
use super::feeder::{self, Feeder};
use super::instance::await_shares;
use super::probe::Probe;
use super::reports::{await_ready, await_report};
use super::transaction;

const PARTITIONS: i32 = 6;
/// After so long the broker aborts a transaction of ours.
const SHORT: Duration = Duration::from_secs(5);

/// Two instances at work under load, killed one in the middle of a transaction.
#[test]
fn an_instance_killed_in_mid_transaction_loses_and_doubles_nothing() {
    let deployment = Arc::new(Deployment::new("killed", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 1000);
    let (stays, dies) = (deployment.start(), deployment.start());
    await_shares(SOON, PARTITIONS, &[&stays, &dies]);
    probe.await_answers(SOON, 1000);
    let died = transaction::freeze_in_the_middle(&deployment, &dies);
    dies.kill();
    // The broker has to give up on the dead one's membership and on its transaction.
    await_shares(SOON, PARTITIONS, &[&stays]);
    probe.await_all(SOON);
    println!(
        "all partitions are answered again {:.1} s after kill -9",
        died.elapsed().as_secs_f64()
    );
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}

/// The zombie: frozen for longer than its session and its transaction last, then awake again and
/// unaware of it, with a batch in hand that others have answered meanwhile.
#[test]
fn an_instance_frozen_in_mid_transaction_wakes_up_and_doubles_nothing() {
    let deployment = Arc::new(Deployment::new("zombie", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 1000);
    let (stays, freezes) = (deployment.start(), deployment.start());
    await_shares(SOON, PARTITIONS, &[&stays, &freezes]);
    probe.await_answers(SOON, 1000);
    transaction::freeze_in_the_middle(&deployment, &freezes);
    // Answers on its partitions prove that the broker has given up on member and transaction.
    await_shares(SOON, PARTITIONS, &[&stays]);
    probe.await_all(SOON);
    freezes.thaw();
    await_shares(SOON, PARTITIONS, &[&stays, &freezes]);
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}

/// While a dead member's transaction is open, the offsets under it are not stable, and librdkafka
/// forgets them when the assignment changes meanwhile (kafka-facts.md §0.1).
#[test]
fn offsets_under_an_open_transaction_are_waited_for() {
    let deployment = Deployment::new("unstable", PARTITIONS);
    let mut probe = Probe::new(&deployment);
    feeder::burst(&deployment, 2000);
    let mut first = deployment.start();
    probe.await_all(SOON);
    let (end, _) = first.terminate(SOON);
    assert_eq!(end.code, Some(0), "expected a clean end: {}", end.said);
    let _open = transaction::settle_and_leave_open(&deployment, PARTITIONS, SHORT);
    feeder::burst(&deployment, 1000);
    let members = [deployment.start(), deployment.start(), deployment.start()];
    let [a, b, c] = &members;
    await_shares(SOON, PARTITIONS, &[a, b, c]);
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}

/// A broker's fault can leave a transaction open for good. Nobody but an administrator can end it; the
/// instance says which partitions wait for that, is not ready meanwhile, and goes on by itself.
#[test]
fn partitions_that_stand_still_are_told() {
    let deployment =
        Deployment::new("stand-still", PARTITIONS).with("delivery.transaction_timeout_ms", 1000);
    let mut probe = Probe::new(&deployment);
    feeder::burst(&deployment, 1000);
    let mut first = deployment.start();
    probe.await_all(SOON);
    first.terminate(SOON);
    let open = transaction::settle_and_leave_open(&deployment, PARTITIONS, 10 * SOON);
    feeder::burst(&deployment, 1000);
    let instance = deployment.start();
    instance.await_saying(SOON, &["[0, 1, 2, 3, 4, 5]", "stand still", "kafka-transactions.sh"]);
    let report = await_report(&deployment, "the partitions that stand still", |report| {
        report.stalled == [0, 1, 2, 3, 4, 5]
    });
    let why = report.waits_for.iter().find(|waits| waits.latch == Latch::PartitionsMove);
    let why = &why.expect("it is not ready, and why").why;
    assert!(why.starts_with("partitions 0, 1, 2, 3, 4, 5 stand still at worker 0 for "), "{why}");
    open.abort_transaction(SOON).expect("the transaction can be aborted");
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
    await_ready(&deployment);
}
