//! `foretell redrive`: dead letters go back to the events topic, each once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use foretell::bus::publish::Publisher;
use foretell::bus::tail::Record;
use foretell::record::Header;
use jiff::Timestamp;
use rdkafka::producer::Producer as _;
use serde_json::{Value, json};

use super::broker::Broker;
use super::deployment::Deployment;
use super::eventually::{SOON, eventually, stays};
use super::feeder;
use super::letters::{self, Letter};
use super::model::{self, Flaw};
use super::probe::Probe;
use super::{topics, transaction};

/// Puts letters back, and gives the JSON that is printed.
#[track_caller]
fn redrive(deployment: &Deployment, arguments: &[&str]) -> Value {
    let output = deployment.foretell("redrive", &[&["--json"], arguments].concat());
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "expected {arguments:?} to succeed:\n{talk}");
    serde_json::from_slice(&output.stdout).expect("`--json` prints JSON")
}

/// What was left, and why, without what was not.
fn left(told: &Value) -> BTreeMap<&str, u64> {
    let left = told["left"].as_object().expect("an object").iter();
    let counts = left.map(|(why, count)| (why.as_str(), count.as_u64().expect("a count")));
    counts.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn what_one_version_refused_is_put_back_as_it_was_and_answered_by_the_next() {
    let flawed = model::flawed_bundle(1, Flaw::AsksForMore).display().to_string();
    let deployment = Deployment::new("redrive", 3).with("model.bundle", flawed);
    let events = &deployment.topics.events;
    feeder::burst(&deployment, 300);
    let publisher = Publisher::new(&deployment.kafka).expect("a publisher can be made");
    let odd = [
        Header { name: b"trace", value: Some(b"\x00\xff") },
        Header { name: b"null", value: None },
        Header { name: b"__connect.errors.exception.stacktrace", value: Some(b"its own") },
    ];
    publisher.send_with(events, None, Some(br#"{"id":"odd","x":1}"#), &odd).expect("it is short");
    publisher.flush(SOON).expect("the broker takes the event");
    let mut probe = Probe::new(&deployment);
    let mut instance = deployment.start();
    probe.await_answers(SOON, 301);
    instance.terminate(SOON);
    let read = || {
        let mut records = topics::read(&deployment, events);
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    };
    let before = read();

    let told = redrive(&deployment, &["--dry-run"]);
    assert_eq!((&told["put_back"], &told["dry_run"]), (&json!(301), &json!(true)));
    assert!(read() == before, "expected a dry run to write nothing");
    let told = redrive(&deployment, &[]);
    assert_eq!((&told["put_back"], &told["read"]), (&json!(301), &json!(301)));
    assert_eq!(told["reasons"], json!({"required_feature_missing": 301}));
    for partition in 0..3 {
        let of = |event: &&Record| event.partition == partition;
        let first: Vec<_> = before.iter().filter(of).cloned().collect();
        assert_eq!(told["partitions"][partition.to_string()], first.len());
        let again: Vec<_> = read().into_iter().filter(|it| of(&it)).skip(first.len()).collect();
        let expected: Vec<_> = first.into_iter().map(as_put_back).collect();
        let again: Vec<_> = again.into_iter().map(|it| Record { offset: 0, ..it }).collect();
        assert!(again == expected, "expected the same events, in order, on partition {partition}");
    }
    let told = redrive(&deployment, &[]);
    assert_eq!((&told["put_back"], &told["read"]), (&json!(0), &json!(0)));

    let next = model::bundle(2).display().to_string();
    let _instance = deployment.start_with(&[("model.bundle", next.into())]);
    probe.await_answers(SOON, 602);
    probe.verdict().is_exactly_once();
    let predictions = probe.answers.iter().filter_map(|answer| answer.prediction.as_ref());
    assert_eq!(predictions.filter(|it| it.version == 2).count(), 301);
}

/// The event as it shall be when it was put back after one refusal.
fn as_put_back(event: Record) -> Record {
    let mut headers = event.headers;
    headers.push(("foretell.attempt".into(), Some(b"1".to_vec())));
    Record { offset: 0, headers, ..event }
}

#[test]
fn what_a_filter_passes_over_can_be_put_back_later_and_nothing_twice() {
    let deployment = Deployment::new("redrive-filter", 2);
    let mut all = letters::many(&deployment, 40, 2);
    // Not so long ago that the broker would delete them.
    let began = Timestamp::now();
    for (number, letter) in all.iter_mut().enumerate() {
        letter.reason = ["not_json", "wrong_kind", "too_deep", "wrong_kind"][number % 4];
        letter.timestamp_ms = began.as_millisecond() + 1000 * number as i64;
    }
    let after = |seconds: u64| (began + Duration::from_secs(seconds)).to_string();
    letters::put(&deployment, &all);
    let mut back: Vec<Letter> = Vec::new();
    let mut check = |arguments: &[&str], wanted: &dyn Fn(usize, &Letter) -> bool| {
        let dry = redrive(&deployment, &[&["--dry-run"], arguments].concat());
        let told = redrive(&deployment, arguments);
        let is_back = |letter: &Letter| back.iter().any(|other| other.id == letter.id);
        let expected = all.iter().enumerate().filter(|(at, it)| wanted(*at, it) && !is_back(it));
        let expected: Vec<Letter> = expected.map(|(_, letter)| letter.clone()).collect();
        assert!(!expected.is_empty(), "expected {arguments:?} to have something to do");
        assert_eq!(told["put_back"], expected.len(), "{arguments:?}");
        for name in ["put_back", "reasons", "partitions", "left"] {
            assert_eq!(dry[name], told[name], "expected a dry run to tell the same `{name}`");
        }
        back.extend(expected);
        letters::are_back_once(&deployment, &back);
    };
    check(&["--reason", "too_deep"], &|_, letter| letter.reason == "too_deep");
    check(&["--since", &after(30)], &|at, _| at >= 30);
    let range = ["--since", &after(5), "--until", &after(12)];
    check(&range, &|at, _| (5..12).contains(&at));
    check(&["--partition", "1", "--until", &after(20)], &|at, letter| {
        at < 20 && letter.partition == 1
    });
    check(&["--reason", "not_json", "--reason", "too_deep"], &|_, it| it.reason != "wrong_kind");
    check(&[], &|_, _| true);
    let told = redrive(&deployment, &[]);
    assert_eq!((&told["put_back"], &told["left"]["filtered"]), (&json!(0), &json!(0)));
}

#[test]
fn an_event_that_is_refused_again_and_again_does_not_go_round_for_ever() {
    let deployment = Deployment::new("redrive-loop", 1);
    topics::publish(&deployment, &deployment.topics.events, "bad", "not json");
    let _instance = deployment.start();
    let mut probe = Probe::new(&deployment);
    probe.await_answers(SOON, 1);
    for attempt in 2..=3 {
        assert_eq!(redrive(&deployment, &[])["put_back"], 1);
        probe.await_answers(SOON, attempt);
    }
    let told = redrive(&deployment, &[]);
    assert_eq!((&told["put_back"], &told["left"]["attempts"]), (&json!(0), &json!(1)));
    // Who wants it all the same can have it.
    assert_eq!(redrive(&deployment, &["--attempts-max", "4"])["put_back"], 1);
    probe.await_answers(SOON, 4);
    assert_eq!(probe.answers.len(), 4, "expected one dead letter for each time");
}

#[test]
fn what_is_no_dead_letter_of_these_events_is_left_and_told() {
    let deployment = Deployment::new("redrive-strange", 1);
    let mut other = Letter::new(&deployment, "other");
    other.topic = "another-topic".into();
    let mut newer = Letter::new(&deployment, "newer");
    newer.reason = "a_reason_of_the_future";
    let mine = Letter::new(&deployment, "mine");
    letters::put(&deployment, &[other, newer, mine.clone()]);
    let topic = &deployment.topics.dead_letters;
    topics::publish(&deployment, topic, "key", "anything");
    // An event may bring any header with it: these are no notes.
    let publisher = Publisher::new(&deployment.kafka).expect("a publisher can be made");
    let note = [Header { name: b"foretell.redriven", value: Some(b"0-99") }];
    publisher.send_with(topic, None, Some(b"a value"), &note).expect("it is short");
    publisher.send_with(topic, Some(b"a key"), None, &note).expect("it is short");
    publisher.flush(SOON).expect("the broker takes it");
    let told = redrive(&deployment, &[]);
    assert_eq!(told["put_back"], 1, "{told}");
    assert_eq!(left(&told), BTreeMap::from([("other_topic", 1), ("no_letter", 4)]));
    letters::are_back_once(&deployment, [&mine]);
    // A note that cannot be read is not passed over: what it says was put back might go twice.
    let broken = [Header { name: b"foretell.redriven", value: Some(b"all of them") }];
    publisher.send_with(topic, None, None, &broken).expect("it is short");
    publisher.flush(SOON).expect("the broker takes it");
    let refused = deployment.foretell("redrive", &[]);
    assert_eq!(refused.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("offset"));
}

/// Waits until some of the letters are back.
#[track_caller]
fn await_some_back(deployment: &Deployment) {
    eventually(SOON, "some letters to be put back", || {
        (!letters::on_events(deployment).is_empty()).then_some(())
    });
}

#[test]
fn a_redrive_killed_half_way_neither_loses_nor_doubles() {
    let deployment = Deployment::new("redrive-killed", 3);
    let all = letters::many(&deployment, 1000, 3);
    letters::put(&deployment, &all);
    for _ in 0..3 {
        let before = letters::on_events(&deployment).len();
        let running = deployment.begin("redrive", &["--rate", "50"]);
        eventually(SOON, "some more letters to be put back", || {
            (letters::on_events(&deployment).len() > before).then_some(())
        });
        running.kill();
    }
    let before = letters::on_events(&deployment);
    assert!(before.len() < all.len(), "expected it to be killed half-way");
    redrive(&deployment, &[]);
    letters::are_back_once(&deployment, &all);
}

#[test]
fn a_second_redrive_ends_the_first_and_goes_on_where_that_was() {
    let deployment = Deployment::new("redrive-two", 3);
    let all = letters::many(&deployment, 1000, 3);
    letters::put(&deployment, &all);
    let mut first = deployment.begin("redrive", &["--rate", "20"]);
    await_some_back(&deployment);
    let told = redrive(&deployment, &[]);
    assert!(told["put_back"].as_u64().is_some_and(|count| count < 1000), "{told}");
    let end = first.end(SOON);
    assert_eq!(end.code, Some(69), "{}", end.said);
    assert!(end.said.contains("another program"), "{}", end.said);
    letters::are_back_once(&deployment, &all);
}

/// Notes behind an open transaction cannot be read: who would not wait for its end would put back what
/// they list.
#[test]
fn what_an_open_transaction_hides_is_waited_for() {
    let deployment = Deployment::new("redrive-hidden", 1);
    let all = letters::many(&deployment, 1000, 1);
    letters::put(&deployment, &all);
    let mut first = deployment.begin("redrive", &["--rate", "20"]);
    await_some_back(&deployment);
    let open = transaction::begin(&deployment, "open", SOON);
    transaction::send(&open, &deployment.topics.dead_letters, "key", "never there");
    let before = letters::on_events(&deployment).len();
    eventually(SOON, "more letters to be put back, with notes that are hidden", || {
        (letters::on_events(&deployment).len() > before + 20).then_some(())
    });
    let mut second = deployment.begin("redrive", &[]);
    // It has no way to know that it was ended but by the second's start.
    assert_eq!(first.end(SOON).code, Some(69));
    let before = letters::on_events(&deployment).len();
    let waits = || letters::on_events(&deployment).len() == before;
    assert!(stays(Duration::from_secs(1), waits), "expected it to wait");
    open.abort_transaction(SOON).expect("the transaction can be ended");
    let end = second.end(SOON);
    assert_eq!(end.code, Some(0), "{}", end.said);
    letters::are_back_once(&deployment, &all);
}

#[test]
fn a_redrive_that_is_asked_to_stop_says_how_far_it_came() {
    let deployment = Deployment::new("redrive-stopped", 1);
    let all = letters::many(&deployment, 500, 1);
    letters::put(&deployment, &all);
    let mut running = deployment.begin("redrive", &["--rate", "20"]);
    await_some_back(&deployment);
    let (end, _) = running.terminate(SOON);
    assert_eq!(end.code, Some(75), "{}", end.said);
    assert!(end.said.contains("run it again"), "{}", end.said);
    let back = letters::on_events(&deployment).len();
    assert_eq!(redrive(&deployment, &[])["put_back"], 500 - back);
    letters::are_back_once(&deployment, &all);
}

#[test]
fn a_rate_is_kept() {
    let deployment = Deployment::new("redrive-rate", 1);
    let all = letters::many(&deployment, 50, 1);
    letters::put(&deployment, &all);
    let began = Instant::now();
    assert_eq!(redrive(&deployment, &["--rate", "20"])["put_back"], 50);
    // 20 at once, 20 after a second, and 10 after another.
    assert!(began.elapsed() >= Duration::from_secs(2), "took only {:?}", began.elapsed());
    let records = topics::read(&deployment, &deployment.topics.dead_letters);
    let notes = records.iter().filter(|record| letters::is_note(record));
    let said: Vec<_> = notes.filter_map(|note| note.header("foretell.redriven")).collect();
    assert_eq!(said, ["0-19", "20-39", "40-49"], "expected a second's worth in a transaction");
}

#[test]
fn an_event_that_its_letter_had_no_room_for_comes_from_its_own_topic() {
    let deployment = Deployment::unmade(&Broker::shared().address, "redrive-omitted");
    let (events, dead) = (&deployment.topics.events, &deployment.topics.dead_letters);
    topics::make(&deployment, events, 1, &[]);
    topics::make(&deployment, dead, 1, &[("max.message.bytes", "2000")]);
    assert!(deployment.foretell("init", &[]).status.success());
    let long = |id: &str| format!(r#"{{"id":"{id}","x":"1","pad":"{}"}}"#, "p".repeat(3000));
    for id in ["first", "second", "third"] {
        topics::publish(&deployment, events, id, &long(id));
    }
    let mut probe = Probe::new(&deployment);
    let mut instance = deployment.start();
    probe.await_answers(SOON, 3);
    instance.terminate(SOON);
    assert!(probe.answers.iter().all(|answer| answer.record.value.is_none()));
    topics::delete_below(&deployment, events, &[(0, 1)]);
    let told = redrive(&deployment, &[]);
    assert_eq!((&told["put_back"], left(&told)), (&json!(2), BTreeMap::from([("gone", 1)])));
    let records = topics::read(&deployment, events);
    let values: Vec<_> = records.iter().filter_map(|event| event.value.clone()).collect();
    let expected = ["second", "third", "second", "third"].map(|id| long(id).into_bytes());
    assert_eq!(values, expected);
    assert_eq!(as_put_back(records[0].clone()), Record { offset: 0, ..records[2].clone() });
}

#[test]
fn without_topics_or_brokers_it_says_so() {
    let deployment = Deployment::new("redrive-missing", 1);
    let run = |set: &str| {
        deployment.foretell("redrive", &["--set", "kafka.connect_timeout_ms=2000", "--set", set])
    };
    for (set, code) in [
        ("topics.dead_letters=\"no-such-topic\"", 78),
        ("topics.events=\"no-such-topic\"", 78),
        ("kafka.bootstrap_servers=\"127.0.0.1:1\"", 69),
    ] {
        let ended = run(set);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{set}: {said}");
        assert!(said.contains("hint:"), "{said}");
    }
    let ended = deployment.foretell("redrive", &["--reason", "missing_field"]);
    assert_eq!(ended.status.code(), Some(64));
}
