//! What an instance asks for, and when it does not.

use std::sync::Arc;

use super::*;
use crate::config::RatioMax;
use crate::drift::Live;
use crate::features::contract::{Kind, Part};
use crate::model::tiny;
use crate::score::Scorer;

const MINUTE_MS: i64 = 60_000;

/// Version 1, trained on as many `x` below 4.5 as above, which says 0.1 and 0.9 of them.
fn served() -> Served {
    let mut version = Arc::into_inner(tiny::version("1", &["x", "hour"], 4.5, [0.1, 0.9])).unwrap();
    version.contract[1].kind = Kind::Timestamp { part: Part::Hour };
    version.reference = serde_json::from_value(serde_json::json!({
        "rows": 1000,
        "features": [
            {"name": "x", "edges": [4.5], "counts": [500, 500]},
            {"name": "hour", "edges": [12.0], "counts": [500, 500]},
        ],
        "outputs": [{"name": "probability", "edges": [0.5], "counts": [500, 500]}],
    }))
    .unwrap();
    Served::alone(Arc::new(version), Some(7)).watched(1_000)
}

/// A window of which a share has an `x` above 4.5; the hour is always the same.
fn sees(served: &Served, high: f64, partition: i32) {
    let drift = served.drift.as_ref().unwrap();
    let mut live = Live::default();
    live.begin(drift, partition);
    let mut scorer = Scorer::new(1_000);
    let event =
        |n: usize| format!(r#"{{"x":{},"hour":1}}"#, if (n as f64) < high * 1e3 { 9 } else { 1 });
    let events: Vec<String> = (0..1_000).map(event).collect();
    live.count(drift, &scorer.score(&served.version, events.iter().map(String::as_bytes)));
    live.settled(drift);
}

fn alarm(psi_max: RatioMax) -> Alarm {
    Alarm::new(&config::Drift { psi_max, ..config::Drift::default() })
}

fn request(reason: &str) -> Option<Message> {
    Some(Message::RetrainRequest { model: "tiny".into(), reason: Some(reason.into()) })
}

fn someone_asked() -> Message {
    Message::RetrainRequest { model: "tiny".into(), reason: None }
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

#[test]
fn past_the_bound_it_asks_once_and_says_what_has_moved_and_how_far() {
    let (served, mut alarm) = (served(), alarm(RatioMax::Share(0.25)));
    assert_eq!(alarm.verdict(&served, false), None, "there is no window");
    sees(&served, 0.5, 0);
    assert_eq!(alarm.verdict(&served, false), None, "the hour moves by itself");
    sees(&served, 0.9, 0);
    // 0.4 · ln(0.9 / 0.5) − 0.4 · ln(0.1 / 0.5), about; of `x` and of what is said of it.
    let asked = alarm.verdict(&served, false);
    let wanted = request("drift: `x` PSI 0.88 in 1000 events, and 1 more above 0.25");
    assert_eq!(asked, wanted);
    assert_eq!(alarm.verdict(&served, false), None, "it waits for the log");
    // The log has it.
    alarm.read(&asked.unwrap(), Some(now_ms()));
    sees(&served, 0.9, 0);
    assert_eq!(alarm.verdict(&served, false), None, "not again within the hour");
    // An hour later it asks again, if it is so still.
    alarm.answered = alarm.answered.map(|said| said - SignedDuration::from_mins(61));
    assert_eq!(alarm.verdict(&served, false), None, "that window was before");
    sees(&served, 0.9, 0);
    assert_eq!(alarm.verdict(&served, false), wanted);
}

#[test]
fn it_does_not_ask_where_nobody_told_it_to_nor_below_the_bound() {
    let served = served();
    sees(&served, 0.9, 0);
    assert_eq!(alarm(RatioMax::Off).verdict(&served, false), None);
    assert_eq!(alarm(RatioMax::Share(0.9)).verdict(&served, false), None);
    assert!(alarm(RatioMax::Share(0.8)).verdict(&served, false).is_some());
    let plain = Served::alone(tiny::version("1", &["x"], 4.5, [0.1, 0.9]), Some(7)).watched(1_000);
    assert_eq!(alarm(RatioMax::Share(0.0)).verdict(&plain, false), None);
}

#[test]
fn a_feature_that_is_expected_to_move_is_no_reason_but_what_is_said_of_it_is() {
    let served = served();
    sees(&served, 0.9, 0);
    let ignore = vec!["x".to_owned(), "probability".to_owned()];
    let mut alarm =
        Alarm::new(&config::Drift { psi_max: RatioMax::Share(0.25), ignore, ..config::Drift::default() });
    let wanted = request("drift: the prediction's `probability` PSI 0.88 in 1000 events");
    assert_eq!(alarm.verdict(&served, false), wanted);
}

#[test]
fn what_others_have_said_is_enough() {
    let complete = serde_json::json!({
        "type": "retrain-complete", "model": "tiny", "version": "2", "uri": "/2", "digest": "sha256:2",
    });
    let complete = Message::parse(complete.to_string().as_bytes()).unwrap();
    let promote = Message::parse(br#"{"type":"promote","model":"tiny","version":"2"}"#).unwrap();
    let now = now_ms();
    for (message, at, asks) in [
        (&someone_asked(), Some(now), false),
        (&someone_asked(), None, false),
        (&someone_asked(), Some(now - 59 * MINUTE_MS), false),
        (&someone_asked(), Some(now - 61 * MINUTE_MS), true),
        (&complete, Some(now - 59 * MINUTE_MS), false),
        (&promote, Some(now), true),
    ] {
        let (served, mut alarm) = (served(), alarm(RatioMax::Share(0.25)));
        alarm.read(message, at);
        sees(&served, 0.9, 0);
        assert_eq!(alarm.verdict(&served, false).is_some(), asks, "{message:?} at {at:?}");
    }
    // A version that waits was trained already.
    let (served, mut alarm) = (served(), alarm(RatioMax::Share(0.25)));
    sees(&served, 0.9, 0);
    assert_eq!(alarm.verdict(&served, true), None);
    // A clock far ahead is taken for now.
    alarm.read(&someone_asked(), Some(now + 600 * MINUTE_MS));
    assert!(alarm.answered.unwrap() <= Timestamp::now());
}

#[test]
fn instances_of_other_partitions_wait_for_the_one_of_the_first() {
    assert_eq!(pause(0), Duration::ZERO);
    assert_eq!(pause(1) + pause(2), pause(3));
    assert_eq!(pause(1_000_000), PAUSE_MAX);
    let (served, mut alarm) = (served(), alarm(RatioMax::Share(0.25)));
    sees(&served, 0.9, 3);
    assert_eq!(alarm.verdict(&served, false), None);
    let (due, _) = alarm.pending.clone().unwrap();
    // The next window does not put it off.
    sees(&served, 0.9, 3);
    assert_eq!(alarm.verdict(&served, false), None);
    assert_eq!(alarm.pending.clone().unwrap().0, due);
    alarm.read(&someone_asked(), Some(now_ms()));
    assert_eq!(alarm.pending, None, "another was first");
    // What has gone by is not asked for.
    let mut late = self::alarm(RatioMax::Share(0.25));
    assert_eq!(late.verdict(&served, false), None);
    sees(&served, 0.5, 3);
    assert_eq!(late.verdict(&served, false), None);
    assert_eq!(late.pending, None);
}
