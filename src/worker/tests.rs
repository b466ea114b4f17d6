//! The worker that is stopped by its breaker, on the bus in memory: how it stops, holds and goes on.

use std::sync::Arc;
use std::time::Duration;

use super::{Held, Turn, Worker};
use crate::batch::Bounds;
use crate::breaker::Breaker;
use crate::bus::memory::cluster::MemoryCluster;
use crate::bus::memory::faults::{Fault, Faults, Sight};
use crate::bus::memory::log::{Stored, Topic};
use crate::bus::memory::{MemoryBus, Options};
use crate::drift::Drift;
use crate::encode::Encoder;
use crate::model::tiny;
use crate::model::version::Version;
use crate::outbox::Outbox;
use crate::recent::Recent;
use crate::reject::Reason;
use crate::serving::{Served, Serving};

const GOOD: &str = r#"{"x":1}"#;
/// Version 1 refuses it for what it lacks; version `lenient` takes it.
const GARBAGE: &str = r#"{"y":1}"#;
const WINDOW_ROWS: usize = 10;
/// Nothing here takes more turns.
const TURNS_MAX: usize = 200;

struct Stage {
    cluster: MemoryCluster,
    serving: Serving,
    recent: Recent,
    worker: Worker<MemoryBus>,
}

fn strict() -> Arc<Version> {
    tiny::version("1", &["x"], 4.5, [0.1, 0.9])
}

fn lenient() -> Arc<Version> {
    tiny::version("2", &["y"], 4.5, [0.2, 0.8])
}

/// One partition, batches of up to 40 events in tiles of 5, and version 1 serves.
fn stage(ratio_max: Option<f64>) -> Stage {
    let cluster = MemoryCluster::new(1, Faults::none(7));
    let client = cluster.client();
    let bounds = Bounds { rows_max: 40, bytes_max: 10_000, age_max: Duration::ZERO };
    let transactional_id = "worker".into();
    let options = Options { transactional_id, bounds, letter_bytes_max: 3_000 };
    let bus = MemoryBus::join(&cluster, client, options).expect("it can join");
    let (serving, recent) = (Serving::default(), Recent::new(100));
    serving.swap(Served::alone(strict(), None).into());
    let encoder = Encoder::new("events", &Default::default());
    let breaker = Breaker::new(WINDOW_ROWS, ratio_max);
    let (slot, ring) = (serving.clone(), recent.clone());
    let worker = Worker::new(bus, slot, ring, encoder, Outbox::default(), breaker, 5);
    Stage { cluster, serving, recent, worker }
}

impl Stage {
    fn publish(&self, count: usize, value: &str) {
        for _ in 0..count {
            let value = Some(value.as_bytes().to_vec());
            self.cluster.publish(0, 0, Stored { value, ..Stored::default() });
        }
    }

    /// From now on a version serves that knows how a feature was distributed in training.
    fn watch(&self, version: Arc<Version>, feature: &str, edges: &[f64]) -> Arc<Drift> {
        let mut version = Arc::into_inner(version).expect("nobody else has it");
        let counts = vec![500; edges.len() + 1];
        let reference = serde_json::json!({
            "rows": 500 * counts.len(),
            "features": [{"name": feature, "edges": edges, "counts": counts}],
            "outputs": [{"name": "probability", "edges": [0.5], "counts": [500, 500]}],
        });
        version.reference = serde_json::from_value(reference).ok();
        let served = Served::alone(version.into(), Some(7)).watched(1_000, &[]);
        let drift = Arc::clone(served.drift.as_ref().expect("it has a reference"));
        self.serving.swap(served.into());
        drift
    }

    fn turn(&mut self) -> Turn {
        self.worker.turn().expect("nothing ends it")
    }

    /// Why the worker holds back, once it does.
    #[track_caller]
    fn await_hold(&mut self) -> Arc<Held> {
        let held = (0..TURNS_MAX).find_map(|_| self.turn().held);
        held.expect("a worker that stops")
    }

    #[track_caller]
    fn await_settled(&mut self) {
        let settled = (0..TURNS_MAX).any(|_| {
            self.turn();
            self.cluster.is_settled()
        });
        assert!(settled, "expected everything to be settled");
    }

    /// Committed predictions and dead letters.
    fn visible(&self) -> (usize, usize) {
        let count = |topic| self.cluster.committed(topic).len();
        (count(Topic::Predictions), count(Topic::DeadLetters))
    }
}

#[test]
fn garbage_is_held_back_until_resume_is_said_and_then_written_once() {
    let mut stage = stage(Some(0.5));
    // What was said before means nothing.
    stage.serving.resume();
    stage.publish(30, GARBAGE);
    let held = stage.await_hold();
    assert_eq!(held.version, "1");
    let reasons = held.window.reasons();
    assert_eq!(reasons, [(Reason::RequiredFeatureMissing, held.window.events)]);
    let example = held.example.clone().expect("an example");
    assert_eq!((example.topic.as_str(), example.partition), ("events", 0));
    assert!(held.to_string().contains("`x` at `/x`: required"), "{held}");
    for _ in 0..TURNS_MAX {
        let turn = stage.turn();
        assert!(turn.held.is_some() && turn.served.is_none() && turn.events() == 0);
    }
    assert_eq!(stage.visible(), (0, 0));
    let lag = stage.worker.stand().lags;
    assert_eq!(lag.iter().map(|lag| lag.events).sum::<u64>(), 30, "all of them wait: {lag:?}");
    stage.serving.resume();
    // More of it, which the one word means, too.
    stage.publish(30, GARBAGE);
    stage.await_settled();
    assert_eq!(stage.visible(), (0, 60));
    // Once the share has fallen it is armed again.
    stage.publish(40, GOOD);
    stage.await_settled();
    stage.publish(30, GARBAGE);
    stage.await_hold();
    assert_eq!(stage.visible(), (40, 60));
}

#[test]
fn what_was_sent_of_a_batch_is_taken_back_before_it_is_held() {
    let mut stage = stage(Some(0.5));
    stage.publish(15, GOOD);
    stage.publish(25, GARBAGE);
    stage.await_hold();
    let (predictions, letters) = stage.visible();
    assert!(predictions <= 15 && letters == 0, "{predictions} and {letters}");
    let seen = stage.cluster.tally().sights.contains_key(&Sight::HeldMidTransaction);
    assert!(seen, "some tiles were on their way");
    stage.serving.resume();
    stage.await_settled();
    assert_eq!(stage.visible(), (15, 25));
}

/// The end of the transaction that is taken back is not heard of: the batch stays what it is.
#[test]
fn taking_back_survives_an_abort_of_unknown_fate() {
    let mut stage = stage(Some(0.5));
    stage.publish(15, GOOD);
    stage.publish(25, GARBAGE);
    stage.cluster.strike_next(Fault::AbortUnheard);
    stage.await_hold();
    stage.serving.resume();
    stage.await_settled();
    assert_eq!(stage.visible(), (15, 25));
}

#[test]
fn it_goes_on_by_itself_with_a_version_that_takes_them() {
    let mut stage = stage(Some(0.5));
    stage.publish(30, GARBAGE);
    stage.await_hold();
    stage.serving.swap(Served::alone(lenient(), Some(7)).into());
    stage.await_settled();
    assert_eq!(stage.visible(), (30, 0));
}

#[test]
fn another_version_that_refuses_them_as_well_changes_nothing_and_is_named() {
    let mut stage = stage(Some(0.5));
    stage.publish(30, GARBAGE);
    stage.await_hold();
    let another = tiny::version("3", &["z"], 4.5, [0.1, 0.9]);
    let served = Arc::new(Served::alone(another, Some(7)));
    stage.serving.swap(Arc::clone(&served));
    let held = stage.turn().held.expect("it holds on");
    assert_eq!(held.version, "3");
    assert!(served.conduct().held > 0, "it is told of it");
}

#[test]
fn it_goes_on_by_itself_when_the_newest_events_are_sound() {
    let mut stage = stage(Some(0.5));
    stage.publish(60, GARBAGE);
    stage.await_hold();
    stage.publish(4, GOOD);
    for _ in 0..TURNS_MAX {
        assert!(stage.turn().held.is_some(), "most of the newest ten are garbage");
    }
    stage.publish(6, GOOD);
    stage.await_settled();
    assert_eq!(stage.visible(), (10, 60));
}

#[test]
fn few_events_do_not_stop_it_nor_does_anything_where_it_is_off() {
    let mut stage = stage(Some(0.5));
    stage.publish(WINDOW_ROWS - 1, GARBAGE);
    stage.await_settled();
    assert_eq!(stage.visible(), (0, WINDOW_ROWS - 1));
    let mut stage = self::stage(None);
    stage.publish(100, GARBAGE);
    stage.await_settled();
    assert_eq!(stage.visible(), (0, 100));
}

#[test]
fn probation_and_the_gate_see_what_is_held() {
    let mut stage = stage(Some(0.5));
    stage.publish(40, GOOD);
    stage.await_settled();
    let before = stage.serving.load().expect("it serves").conduct();
    stage.publish(30, GARBAGE);
    let held = stage.await_hold();
    let conduct = stage.serving.load().expect("it serves").conduct();
    assert_eq!(conduct.held, conduct.events - before.events);
    assert_eq!(conduct.rejects, conduct.held);
    assert!(conduct.held >= 1 && held.window.events >= WINDOW_ROWS as u64);
    let events = stage.recent.events();
    assert!(events.iter().any(|event| event == GARBAGE.as_bytes()));
}

/// What an aborted attempt has scored never happened, however often it was.
#[test]
fn drift_is_counted_once_an_event_is_settled_and_not_before() {
    let mut stage = stage(Some(0.5));
    let drift = stage.watch(strict(), "x", &[4.5]);
    // Two tiles of a batch are scored before it is held.
    stage.publish(15, GOOD);
    stage.publish(25, GARBAGE);
    stage.await_hold();
    let (settled, _) = stage.visible();
    assert_eq!(drift.events(), settled as u64, "what is held back has not happened");
    stage.cluster.strike_next(Fault::CommitLost);
    stage.serving.resume();
    stage.await_settled();
    stage.publish(40, GOOD);
    stage.cluster.strike_next(Fault::CommitRefused);
    stage.await_settled();
    assert_eq!(stage.visible(), (55, 25));
    assert_eq!(drift.events(), 55);
    // What a version is only tried on, while events are held back, does not count twice.
    stage.publish(30, GARBAGE);
    stage.await_hold();
    let after = stage.watch(lenient(), "y", &[1.0, 2.0, 3.0]);
    stage.await_settled();
    assert_eq!((stage.visible(), drift.events(), after.events()), ((85, 25), 55, 30));
}

#[test]
fn partitions_that_are_taken_away_end_the_hold() {
    let mut stage = stage(Some(0.5));
    stage.publish(30, GARBAGE);
    stage.await_hold();
    stage.cluster.strike_next(Fault::Revocation);
    let turns = (0..TURNS_MAX).map(|_| stage.turn());
    assert!(turns.take(TURNS_MAX).any(|turn| turn.held.is_none()), "the batch is somebody else's");
    // It comes back to the same member, and is held again.
    stage.await_hold();
    assert_eq!(stage.visible(), (0, 0));
}
