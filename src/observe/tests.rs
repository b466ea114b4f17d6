//! How an instance comes to be ready, lives and ends, as its status tells it.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::health::Latch;
use super::samples;
use super::status::Status;
use crate::model::gate::{Check, Refusal, Times};
use crate::stop::Stop;
use crate::worker::Turn;

#[track_caller]
fn check(status: &Status, expect: &[(Latch, &str)]) {
    let waits_for = status.waits_for(Instant::now());
    let found: Vec<_> = waits_for.iter().map(|w| (w.latch, w.why.as_str())).collect();
    assert_eq!(found, expect);
    let report = status.report(Timestamp::now());
    assert_eq!((report.ready, report.waits_for), (expect.is_empty(), waits_for));
}

use Latch::{
    ControlLogRead, NotStopping, NothingHeldBack, PartitionsMove, VersionServes, WorkersJoined,
};

#[test]
fn an_instance_becomes_ready_step_by_step_and_says_what_it_waits_for() {
    let stop = Stop::default();
    let status = Status::new(samples::identity(), 2, samples::PATIENCE, stop.clone());
    let nothing = "no version of model `late-arrival` is configured or has been announced";
    let none = "0 of 2 workers have joined the group";
    check(
        &status,
        &[
            (ControlLogRead, "nothing has been read yet"),
            (VersionServes, nothing),
            (WorkersJoined, none),
        ],
    );
    status.control_message(7, "retrain-complete");
    check(
        &status,
        &[(ControlLogRead, "read up to offset 7"), (VersionServes, nothing), (WorkersJoined, none)],
    );
    status.judged(
        "3",
        &Times::default(),
        Some(&Refusal::new(Check::Golden, "row 1 gives 2, 1 was recorded")),
        None,
    );
    status.control_log_read();
    let refused = "version `3` was refused: golden: row 1 gives 2, 1 was recorded";
    check(&status, &[(VersionServes, refused), (WorkersJoined, none)]);
    status.swapped(&samples::served("4", Some(8)));
    status.worker(1).joined();
    check(&status, &[(WorkersJoined, "1 of 2 workers have joined the group")]);
    status.worker(0).joined();
    check(&status, &[]);
    // What serves goes on serving.
    status.judged(
        "5",
        &Times::default(),
        Some(&Refusal::new(Check::Fetch, "no such folder")),
        None,
    );
    check(&status, &[]);
    stop.request(Duration::ZERO);
    check(&status, &[(NotStopping, "what is in hand is finished, nothing new is taken")]);
}

#[test]
fn an_instance_lives_while_the_hearts_of_its_threads_beat() {
    let stop = Stop::default();
    let status = Status::new(samples::identity(), 2, samples::PATIENCE, stop.clone());
    let later = Instant::now() + Duration::from_secs(400);
    assert!(status.faults(later).is_empty(), "they may wait before they begin");
    status.loader_beat();
    status.worker(0).heart().beat();
    assert!(status.faults(Instant::now()).is_empty());
    let faults = status.faults(later);
    assert!(faults.len() == 1 && faults[0].starts_with("worker 0 has been stuck"), "{faults:?}");
    status.worker(1).ended();
    assert_eq!(status.faults(Instant::now()), ["worker 1 has ended"]);
    stop.request(Duration::ZERO);
    assert!(status.faults(Instant::now()).is_empty(), "asked to end");
}

#[test]
fn a_change_is_worth_a_report_and_the_same_again_is_not() {
    let status = samples::serving();
    let mut before = status.revision();
    let mut changed = || {
        let now = status.revision();
        std::mem::replace(&mut before, now) != now
    };
    status.worker(0).turned(&samples::turn("2"), samples::stand(0, 201, 9));
    status.candidates(vec!["4".into()]);
    assert!(!changed());
    status.worker(0).turned(&Turn::default(), samples::stand(3, 0, 0));
    assert!(changed());
    status.candidates(Vec::new());
    assert!(changed());
    status.swapped(&samples::served("4", Some(44)));
    assert!(changed());
}

#[test]
fn a_partition_on_the_move_is_told_once() {
    let status = samples::starting();
    status.worker(0).turned(&Turn::default(), samples::stand(5, 20, 0));
    status.worker(1).turned(&Turn::default(), samples::stand(5, 10, 10));
    let partitions = status.report(Timestamp::now()).partitions;
    assert_eq!(
        partitions.iter().map(|p| (p.partition, p.next_offset)).collect::<Vec<_>>(),
        [(5, 20)]
    );
}

#[test]
fn rebalances_are_counted_once() {
    let status = samples::starting();
    status.worker(0).rebalances(2);
    status.worker(0).rebalances(2);
    status.worker(1).rebalances(1);
    assert!(status.metrics().contains("\nforetell_rebalances_total 3\n"));
}

#[test]
fn a_worker_that_holds_back_is_not_ready_and_says_why_until_it_goes_on() {
    let status = samples::serving();
    check(&status, &[]);
    let worker = status.worker(1);
    let before = status.revision();
    let (held, again) = (samples::holding(), samples::holding());
    worker.turned(&held, samples::stand(1, 100, 7));
    worker.turned(&again, samples::stand(1, 100, 7));
    assert_eq!(status.revision(), before + 1, "told once");
    let why = "worker 1 has stopped: 2 of the last 3 events would become dead letters of version `2` \
               (wrong_kind 2), such as events-3-7: `x` at `/x`: expected a number, found text";
    check(&status, &[(NothingHeldBack, why)]);
    let held = status.report(Timestamp::now()).workers[1].held.clone().expect("it holds back");
    assert_eq!((held.events, held.dead_letters.into_values().sum()), (3, 2_u64));
    assert_eq!(held.example.map(|example| example.offset), Some(7));
    assert!(status.metrics().contains("\nforetell_workers_held 1\n"));
    worker.turned(&Turn::default(), samples::stand(1, 107, 0));
    check(&status, &[]);
    assert!(status.metrics().contains("\nforetell_workers_held 0\n"));
    worker.turned(&samples::holding(), samples::stand(1, 100, 7));
    worker.ended();
    check(&status, &[]);
}

#[test]
fn a_partition_that_stands_still_is_named_until_it_moves() {
    let status = samples::serving();
    let later = Instant::now() + Duration::from_secs(50);
    let whys = |at| {
        let waits_for = status.waits_for(at).into_iter();
        waits_for.map(|waits| (waits.latch, waits.why)).collect::<Vec<_>>()
    };
    assert_eq!(whys(Instant::now()), []);
    let found = whys(later);
    assert_eq!(found.len(), 1);
    let (latch, why) = &found[0];
    assert_eq!(*latch, PartitionsMove);
    let silent =
        "it does not come round; it is stuck, or the brokers do not let it settle its batch";
    for part in ["partition 0 stands still at worker 0 for ", "; partition 1 stands", silent] {
        assert!(why.contains(part), "{part} in {why}");
    }
    for index in [0, 1] {
        status.worker(index).turned(&Turn::default(), samples::stand(index as i32, 107, 0));
    }
    assert_eq!(whys(later), []);
}
