//! The bus contract, clause by clause.

use std::time::Duration;

use super::cluster::{MemoryCluster, WORLD};
use super::faults::{Fault, Faults, Sight};
use super::log::{Stored, Topic};
use super::transactions::TIMEOUT_TICKS;
use super::{MemoryBus, Options};
use crate::batch::{Batch, Bounds};
use crate::bus::{Bus, Settled};
use crate::outbox::{Destination, Outbox};

/// No wait of the bus takes longer.
const PATIENCE: usize = 2_000;

fn cluster(events: &[i32]) -> MemoryCluster {
    let partitions = events.iter().max().map_or(1, |last| *last as usize + 1);
    let cluster = MemoryCluster::new(partitions, Faults::none(7));
    for &partition in events {
        publish(&cluster, partition, Some(b"{}"));
    }
    cluster
}

fn publish(cluster: &MemoryCluster, partition: i32, value: Option<&[u8]>) {
    let value = value.map(<[u8]>::to_vec);
    cluster.publish(partition, 0, Stored { value, ..Stored::default() });
}

fn join(cluster: &MemoryCluster) -> MemoryBus {
    let client = cluster.client();
    let bounds = Bounds { rows_max: 4, bytes_max: 1_000, age_max: Duration::ZERO };
    let options =
        Options { transactional_id: format!("worker-{client}"), bounds, letter_bytes_max: 100 };
    MemoryBus::join(cluster, client, options).unwrap()
}

/// The next batch that is not empty.
fn collect(bus: &mut MemoryBus) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..PATIENCE {
        bus.collect(&mut batch).unwrap();
        if !batch.is_empty() {
            return batch;
        }
    }
    panic!("nothing to collect");
}

fn is_idle(bus: &mut MemoryBus) -> bool {
    let mut batch = Batch::default();
    (0..20).all(|_| bus.collect(&mut batch).map(|()| batch.is_empty()).unwrap())
}

/// Answers each event with its place.
fn send(bus: &mut MemoryBus, batch: &Batch) {
    let mut outbox = Outbox::default();
    for row in 0..batch.len() {
        let record = batch.record(row);
        if record.value.is_some() {
            let text = format!("{}:{}", record.partition, record.offset);
            outbox
                .predict(row, Destination::Predictions, 100, |bytes| bytes.extend(text.bytes()))
                .unwrap();
        }
    }
    bus.send(batch, &outbox).unwrap();
}

fn attempt(bus: &mut MemoryBus, batch: &mut Batch) -> Settled {
    send(bus, batch);
    bus.settle(batch).unwrap()
}

fn places(batch: &Batch) -> Vec<String> {
    let place = |row| format!("{}:{}", batch.record(row).partition, batch.record(row).offset);
    (0..batch.len()).map(place).collect()
}

/// What a `read_committed` reader sees once every transaction has ended.
fn visible(cluster: &MemoryCluster) -> Vec<String> {
    for _ in 0..PATIENCE {
        drop(cluster.step(WORLD));
    }
    assert!(cluster.look().transactions.all_ended());
    let text = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap()).unwrap();
    cluster.committed(Topic::Predictions).into_iter().map(|(o, _)| text(o.record.value)).collect()
}

fn has_seen(cluster: &MemoryCluster, sight: Sight) -> bool {
    cluster.tally().sights.contains_key(&sight)
}

#[test]
fn collect_returns_empty_handed_after_a_short_wait() {
    let cluster = cluster(&[]);
    assert!(is_idle(&mut join(&cluster)));
}

#[test]
fn collect_stops_at_the_bound_and_goes_on_from_there() {
    let cluster = cluster(&[0; 6]);
    let mut bus = join(&cluster);
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let batch = collect(&mut bus);
        assert!(batch.len() <= 4);
        seen.extend(places(&batch));
    }
    assert_eq!(seen, ["0:0", "0:1", "0:2", "0:3", "0:4", "0:5"]);
}

#[test]
fn collect_forgets_what_is_revoked_and_reads_it_again_when_it_comes_back() {
    let cluster = cluster(&[0; 3]);
    let mut bus = join(&cluster);
    let mut batch = Batch::default();
    while batch.len() < 2 {
        bus.poll(&mut batch).unwrap();
    }
    cluster.strike_next(Fault::Revocation);
    bus.poll(&mut batch).unwrap();
    assert!(batch.is_empty() && has_seen(&cluster, Sight::RowsRevoked));
    assert_eq!(places(&collect(&mut bus))[0], "0:0");
}

#[test]
fn a_record_that_is_delivered_twice_is_taken_once() {
    let cluster = cluster(&[0; 3]);
    let mut bus = join(&cluster);
    let mut batch = Batch::default();
    for _ in 0..20 {
        cluster.strike_next(Fault::SecondDelivery);
        bus.poll(&mut batch).unwrap();
    }
    cluster.calm();
    while batch.len() < 3 {
        bus.poll(&mut batch).unwrap();
    }
    assert_eq!(places(&batch), ["0:0", "0:1", "0:2"]);
    assert!(has_seen(&cluster, Sight::DroppedTwin));
}

#[test]
fn a_rebalance_between_send_and_settle_meets_nothing() {
    let cluster = cluster(&[0; 3]);
    let mut bus = join(&cluster);
    let mut batch = collect(&mut bus);
    let sent = places(&batch);
    send(&mut bus, &batch);
    cluster.strike_next(Fault::Revocation);
    assert_eq!(bus.settle(&mut batch), Ok(Settled::Done));
    assert_eq!(visible(&cluster), sent);
    assert_eq!(cluster.tally().faults[&Fault::Revocation], 1);
}

#[test]
fn outputs_and_offsets_become_visible_together() {
    let cluster = cluster(&[0, 0, 1, 1]);
    let mut bus = join(&cluster);
    let mut is_settled = false;
    while !is_settled {
        let mut batch = collect(&mut bus);
        assert_eq!(attempt(&mut bus, &mut batch), Settled::Done);
        for _ in 0..20 {
            let brokers = cluster.step(WORLD).unwrap();
            let next = |partition| brokers.transactions.settled(partition).map_or(0, |n| n.get());
            let settled = next(0) + next(1);
            drop(brokers);
            assert_eq!(cluster.committed(Topic::Predictions).len() as i64, settled);
            is_settled = settled == 4;
        }
    }
}

#[test]
fn tombstones_are_settled_without_a_letter() {
    let cluster = cluster(&[]);
    publish(&cluster, 0, None);
    let mut bus = join(&cluster);
    let mut batch = collect(&mut bus);
    assert_eq!(attempt(&mut bus, &mut batch), Settled::Done);
    assert!(visible(&cluster).is_empty() && cluster.is_settled());
}

#[test]
fn what_surely_failed_is_still_in_the_batch() {
    for fault in [
        Fault::SendRefused,
        Fault::NotDelivered,
        Fault::FlushUnheard,
        Fault::OffsetsRefused,
        Fault::CommitRefused,
        Fault::CommitLost,
        Fault::Fencing,
    ] {
        let cluster = cluster(&[0; 3]);
        let mut bus = join(&cluster);
        let mut batch = collect(&mut bus);
        let sent = places(&batch);
        cluster.strike_next(fault);
        assert_eq!(attempt(&mut bus, &mut batch), Settled::Again, "{fault:?}");
        assert!(cluster.look().transactions.all_ended(), "{fault:?} leaves a transaction open");
        assert_eq!(places(&batch), sent, "{fault:?}");
        assert_eq!(attempt(&mut bus, &mut batch), Settled::Done, "{fault:?}");
        assert_eq!(visible(&cluster), sent, "{fault:?}");
    }
}

#[test]
fn what_was_committed_after_all_is_not_in_the_batch() {
    let cluster = cluster(&[0; 3]);
    let mut bus = join(&cluster);
    let mut batch = collect(&mut bus);
    let sent = places(&batch);
    cluster.strike_next(Fault::CommitUnheard);
    assert_eq!(attempt(&mut bus, &mut batch), Settled::Again);
    assert!(batch.is_empty());
    assert_eq!(visible(&cluster), sent);
}

#[test]
fn a_commit_that_comes_late_counts_wholly_or_not_at_all() {
    let mut outcomes = [0, 0];
    for seed in 0..40 {
        let cluster = MemoryCluster::new(1, Faults::none(seed));
        publish(&cluster, 0, Some(b"{}"));
        let mut bus = join(&cluster);
        let mut batch = collect(&mut bus);
        cluster.strike_next(Fault::CommitLate);
        assert_eq!(attempt(&mut bus, &mut batch), Settled::Again);
        let was_committed = visible(&cluster) == ["0:0"];
        assert_eq!(batch.is_empty(), was_committed);
        outcomes[usize::from(was_committed)] += 1;
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn an_abort_and_a_new_producer_that_fail_as_well_change_nothing() {
    let cluster = cluster(&[0; 3]);
    let mut bus = join(&cluster);
    let mut batch = collect(&mut bus);
    let sent = places(&batch);
    for fault in [Fault::CommitRefused, Fault::AbortUnheard, Fault::NoProducer, Fault::NoAnswer] {
        cluster.strike_next(fault);
    }
    assert_eq!(attempt(&mut bus, &mut batch), Settled::Again);
    assert_eq!(places(&batch), sent);
    assert_eq!(attempt(&mut bus, &mut batch), Settled::Done);
    assert_eq!(visible(&cluster), sent);
}

#[test]
fn what_arrives_while_a_batch_is_sent_again_is_collected_next() {
    let cluster = cluster(&[0; 12]);
    let mut bus = join(&cluster);
    let mut seen = Vec::new();
    while seen.len() < 12 {
        let mut batch = collect(&mut bus);
        seen.extend(places(&batch));
        cluster.strike_next(Fault::NotDelivered);
        assert_eq!(attempt(&mut bus, &mut batch), Settled::Again);
        assert_eq!(attempt(&mut bus, &mut batch), Settled::Done);
    }
    assert_eq!(visible(&cluster), seen);
    assert!(cluster.is_settled());
}

/// A model may be slower than the time that brokers give a transaction.
#[test]
fn a_batch_that_takes_too_long_goes_on_in_halves() {
    let cluster = cluster(&[0, 1, 0, 0]);
    let mut bus = join(&cluster);
    let mut batch = collect(&mut bus);
    let before = places(&batch);
    assert_eq!(before.len(), 4, "{before:?}");
    send(&mut bus, &batch);
    for _ in 0..=TIMEOUT_TICKS {
        drop(cluster.step(WORLD).unwrap());
    }
    assert_eq!(bus.settle(&mut batch).unwrap(), Settled::Again);
    assert_eq!(places(&batch), before[..2]);
    publish(&cluster, 0, Some(b"{}"));
    assert_eq!(attempt(&mut bus, &mut batch), Settled::Done);
    let mut batch = collect(&mut bus);
    assert_eq!(places(&batch)[..2], before[2..]);
    assert_eq!(attempt(&mut bus, &mut batch), Settled::Done);
    assert!(has_seen(&cluster, Sight::Halved));
}

#[test]
fn a_member_that_was_taken_for_dead_settles_nothing() {
    let cluster = cluster(&[0; 3]);
    let mut zombie = join(&cluster);
    let mut batch = collect(&mut zombie);
    send(&mut zombie, &batch);
    cluster.strike_next(Fault::Eviction);
    drop(cluster.step(WORLD));
    let mut heir = join(&cluster);
    let mut inherited = collect(&mut heir);
    assert_eq!(places(&inherited)[0], "0:0");
    // Until it hears of it, it tries in vain.
    while !batch.is_empty() {
        assert_eq!(zombie.settle(&mut batch), Ok(Settled::Again));
        send(&mut zombie, &batch);
    }
    let sent = places(&inherited);
    // The other's return is a rebalance, which a settle may meet: that is one more attempt.
    let attempts = (1..).find(|_| attempt(&mut heir, &mut inherited) == Settled::Done);
    assert!(attempts <= Some(2));
    assert_eq!(visible(&cluster), sent);
    assert!(has_seen(&cluster, Sight::UnknownMember));
}

#[test]
fn what_a_dead_worker_had_not_settled_goes_to_the_next_owner() {
    for has_sent in [false, true] {
        let cluster = cluster(&[0; 3]);
        let mut bus = join(&cluster);
        let batch = collect(&mut bus);
        if has_sent {
            send(&mut bus, &batch);
        }
        drop(bus);
        let mut heir = join(&cluster);
        let mut inherited = collect(&mut heir);
        assert_eq!(places(&inherited)[0], "0:0");
        assert_eq!(has_seen(&cluster, Sight::DiedMidTransaction), has_sent);
        let sent = places(&inherited);
        assert_eq!(attempt(&mut heir, &mut inherited), Settled::Done);
        assert_eq!(visible(&cluster), sent);
    }
}

#[test]
fn a_new_owner_waits_for_the_fate_of_offsets_that_a_dead_worker_sent() {
    let cluster = cluster(&[0; 3]);
    let mut bus = join(&cluster);
    let mut batch = collect(&mut bus);
    let sent = places(&batch);
    send(&mut bus, &batch);
    // The offsets are sent, the commit is lost, and then the worker dies.
    bus.producer.as_ref().unwrap().flush().unwrap();
    cluster.strike_next(Fault::CommitLost);
    assert!(bus.commit(&batch).is_err());
    drop(bus);
    let mut heir = join(&cluster);
    batch = collect(&mut heir);
    assert!(has_seen(&cluster, Sight::UnstableOffset) && has_seen(&cluster, Sight::TimedOut));
    assert_eq!(places(&batch)[0], sent[0]);
    assert!(visible(&cluster).is_empty());
}

#[test]
fn close_hands_the_partitions_over_at_once_and_lag_tells_what_is_left() {
    let cluster = cluster(&[0; 6]);
    let mut bus = join(&cluster);
    let mut batch = collect(&mut bus);
    let taken = batch.len() as i64;
    let lag = bus.stand().lags;
    assert_eq!((lag[0].next.get(), lag[0].events), (taken, 6 - taken as u64));
    assert_eq!(attempt(&mut bus, &mut batch), Settled::Done);
    bus.close();
    assert!(bus.collect(&mut batch).is_err() && bus.stand().lags.is_empty());
    let mut heir = join(&cluster);
    assert_eq!(places(&collect(&mut heir))[0], format!("0:{taken}"));
}

#[test]
fn a_letter_that_is_too_long_is_not_taken() {
    let cluster = cluster(&[0]);
    let mut bus = join(&cluster);
    let mut batch = collect(&mut bus);
    let mut outbox = Outbox::default();
    let too_long = bus.letter_bytes_max() + 1;
    outbox
        .predict(0, Destination::Predictions, too_long, |bytes| bytes.resize(too_long, b'x'))
        .unwrap();
    bus.send(&batch, &outbox).unwrap();
    assert_eq!(bus.settle(&mut batch), Ok(Settled::Again));
    assert!(visible(&cluster).is_empty());
}
