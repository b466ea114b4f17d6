//! An instance that is asked to stop finishes what it has in hand, and the next goes on there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deployment::Deployment;
use super::eventually::SOON;
use super::feeder::{self, Feeder};
use super::instance::await_shares;
use super::probe::Probe;

const PARTITIONS: i32 = 6;

/// So long that nobody would wait for it by accident.
const SESSION_MS: i64 = 40_000;

#[test]
fn sigterm_ends_an_instance_in_good_order_and_the_other_takes_over_at_once() {
    let deployment = Deployment::new("sigterm", PARTITIONS);
    let deployment = Arc::new(deployment.with("consumer.session_timeout_ms", SESSION_MS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 1000);
    let (stays, mut goes) = (deployment.start(), deployment.start());
    await_shares(SOON, PARTITIONS, &[&stays, &goes]);
    probe.await_answers(SOON, 1000);
    let (end, took) = goes.terminate(SOON);
    assert_eq!(end.code, Some(0), "expected a clean end: {}", end.said);
    assert!(took < Duration::from_secs(20), "expected an end within the drain time, not {took:?}");
    let left = Instant::now();
    await_shares(SOON, PARTITIONS, &[&stays]);
    let over = left.elapsed();
    println!("SIGTERM: ended after {took:.1?}, partitions taken over {over:.1?} later");
    // Who leaves says so: nobody waits for the end of its session.
    let session = Duration::from_millis(SESSION_MS as u64);
    assert!(over < session / 2, "expected a take-over at once, not after {over:?}");
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}

#[test]
fn an_instance_stopped_and_started_again_goes_on_where_it_stood() {
    let deployment = slow(Deployment::new("restart", PARTITIONS));
    goes_on_where_it_stood(&deployment).is_exactly_once();
}

#[test]
fn at_least_once_goes_on_where_it_stood_too() {
    let deployment = slow(Deployment::new("restart-alo", PARTITIONS))
        .with("delivery.guarantee", "at-least-once");
    // A stop in good order leaves nothing to repeat.
    goes_on_where_it_stood(&deployment).is_exactly_once();
}

/// Batches so small that a backlog takes seconds, and an end comes in its middle.
fn slow(deployment: Deployment) -> Deployment {
    deployment.with("batch.rows_max", 200).with("batch.tile_rows", 200)
}

/// A backlog, a stop in its middle, a new start.
fn goes_on_where_it_stood(deployment: &Deployment) -> super::probe::Verdict {
    let mut probe = Probe::new(deployment);
    feeder::burst(deployment, 50_000);
    let mut first = deployment.start();
    probe.await_answers(SOON, 1);
    let (end, _) = first.terminate(SOON);
    assert_eq!(end.code, Some(0), "expected a clean end: {}", end.said);
    let answered = probe.answered();
    println!("{answered} of 50000 events were answered before the stop");
    let _second = deployment.start();
    probe.await_all(SOON);
    probe.verdict()
}

#[test]
fn at_least_once_loses_nothing_under_kill_9() {
    let deployment =
        slow(Deployment::new("kill-alo", PARTITIONS)).with("delivery.guarantee", "at-least-once");
    let mut probe = Probe::new(&deployment);
    feeder::burst(&deployment, 50_000);
    let first = deployment.start();
    probe.await_answers(SOON, 1);
    first.kill();
    let _second = deployment.start();
    probe.await_all(SOON);
    let verdict = probe.verdict();
    println!("at least once, after kill -9: {verdict}");
    verdict.is_at_least_once();
}

/// The workers of one process share the partitions, and each delivers its own exactly once.
#[test]
fn several_workers_of_one_instance_share_the_work() {
    let deployment = Arc::new(Deployment::new("workers", PARTITIONS).with("run.workers", 3));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 1000);
    let mut instance = deployment.start();
    probe.await_answers(SOON, 2000);
    let (end, _) = instance.terminate(SOON);
    assert_eq!(end.code, Some(0), "expected a clean end: {}", end.said);
    let _again = deployment.start();
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}
