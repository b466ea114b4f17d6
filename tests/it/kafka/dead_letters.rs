//! What cannot be scored goes to the dead letters, whole, with the reason.

use foretell::bus::publish::Publisher;
use foretell::bus::tail::Record;
use foretell::record::Header;

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::topics;

const NO_HEADERS: &[Header<'_>] = &[];

/// An event that cannot be scored, and what its dead letter says.
struct Bad {
    value: Vec<u8>,
    reason: &'static str,
    stage: &'static str,
    class: &'static str,
    message: &'static str,
}

fn bad(
    value: impl Into<Vec<u8>>,
    reason: &'static str,
    class: &'static str,
    message: &'static str,
) -> Bad {
    let stage = if reason == "non_finite" { "score" } else { "decode" };
    Bad { value: value.into(), reason, stage, class, message }
}

/// One of each.
fn all_bad() -> Vec<Bad> {
    let long = format!(r#"{{"id":"{}","x":1}}"#, "l".repeat(2000));
    let deep = format!(r#"{{"x":1,"y":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    vec![
        bad(b"{\"id\":\"\xff\",\"x\":1}", "not_utf8", "NotUtf8", "utf-8"),
        bad("{\"x\":1", "not_json", "NotJson", "EOF"),
        bad("[1,2]", "not_an_object", "NotAnObject", "array"),
        bad(long, "too_large", "TooLarge", "2015 bytes"),
        bad(deep, "too_deep", "TooDeep", "32"),
        bad(r#"{"kind":"a"}"#, "required_feature_missing", "RequiredFeatureMissing", "`x`"),
        bad(r#"{"x":"1"}"#, "wrong_kind", "WrongKind", "`x`"),
        bad(r#"{"x":1,"kind":"z"}"#, "unknown_category", "UnknownCategory", "`kind`"),
        bad(r#"{"x":1e7}"#, "non_finite", "NonFinite", "inf"),
    ]
}

#[test]
fn each_reason_has_its_dead_letter_with_the_events_own_bytes() {
    let deployment = Deployment::new("rejects", 3)
        .with("batch.event_bytes_max", 1000)
        .with("batch.json_depth_max", 32);
    let all = all_bad();
    let publisher = Publisher::new(&deployment.kafka).expect("a publisher can be made");
    let odd = [
        Header { name: b"trace", value: Some(b"\x00\xff") },
        Header { name: b"empty", value: Some(b"") },
        Header { name: b"null", value: None },
        Header { name: b"not-utf8-\xff", value: Some(b"kept") },
    ];
    for (number, bad) in all.iter().enumerate() {
        let key = format!("key-{number}");
        let key = (number != 2).then_some(key.as_bytes());
        // A good one beside each: its batch goes on.
        publish(&deployment, &publisher, key, Some(b"{\"id\":\"good\",\"x\":1}"), NO_HEADERS);
        publish(&deployment, &publisher, key, Some(&bad.value), &odd);
        publish(&deployment, &publisher, key, None, NO_HEADERS);
    }
    publisher.flush(SOON).expect("the broker takes the events");
    let _instance = deployment.start();
    let letters = await_records(&deployment, &deployment.topics.dead_letters, all.len());
    let events = topics::read(&deployment, &deployment.topics.events);
    for bad in &all {
        check(&deployment, bad, &events, &letters);
    }
    // Good ones are answered; of tombstones there is no trace.
    await_records(&deployment, &deployment.topics.predictions, all.len());
    assert_eq!(letters.len(), all.len(), "expected no dead letter for good events and tombstones");
}

fn publish(
    deployment: &Deployment,
    publisher: &Publisher,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header<'_>],
) {
    let topic = &deployment.topics.events;
    publisher.send_with(topic, key, value, headers).expect("an event is not too long");
}

/// Waits until so many records are on a topic, and gives them.
fn await_records(deployment: &Deployment, topic: &str, count: usize) -> Vec<Record> {
    eventually(SOON, &format!("{count} records on `{topic}`"), || {
        let records = topics::read(deployment, topic);
        (records.len() >= count).then_some(records)
    })
}

#[track_caller]
fn check(deployment: &Deployment, bad: &Bad, events: &[Record], letters: &[Record]) {
    let reason = bad.reason;
    let event = events.iter().find(|event| event.value.as_ref() == Some(&bad.value));
    let event = event.unwrap_or_else(|| panic!("{reason}: expected its event on the topic"));
    let mut letters =
        letters.iter().filter(|letter| letter.header("foretell.reason").as_deref() == Some(reason));
    let letter =
        letters.next().unwrap_or_else(|| panic!("{reason}: expected a dead letter that says so"));
    assert!(letters.next().is_none(), "{reason}: expected one dead letter");
    assert_eq!(letter.value, event.value, "{reason}: expected the event's own bytes");
    assert_eq!(letter.key, event.key, "{reason}: expected the event's key");
    assert_eq!(letter.timestamp_ms, event.timestamp_ms, "{reason}: expected the event's time");
    assert_eq!(letter.partition, event.partition, "{reason}: expected the event's partition");
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let (own, added) = letter.headers.split_at(event.headers.len());
    assert_eq!(own, event.headers, "{reason}: expected the event's headers, in order, first");
    let (message, added): (Vec<_>, Vec<_>) =
        added.iter().cloned().partition(|(name, _)| name == "__connect.errors.exception.message");
    let expected = [
        ("__connect.errors.topic", text(&deployment.topics.events)),
        ("__connect.errors.partition", text(&event.partition.to_string())),
        ("__connect.errors.offset", text(&event.offset.to_string())),
        ("__connect.errors.stage", text(bad.stage)),
        ("__connect.errors.class.name", text(&format!("foretell.reject.{}", bad.class))),
        ("foretell.reason", text(reason)),
        ("foretell.attempt", text("1")),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(added, expected, "{reason}: expected these headers and no others");
    let said: Vec<_> = message.iter().flat_map(|(_, value)| value).collect();
    let said = said.first().map(|value| String::from_utf8_lossy(value)).unwrap_or_default();
    assert!(said.contains(bad.message), "{reason}: expected `{}` in `{said}`", bad.message);
}

/// What was put back and fails again is counted, and says its latest reason only.
#[test]
fn a_dead_letter_put_back_counts_its_attempts() {
    let deployment = Deployment::new("redriven", 1);
    let publisher = Publisher::new(&deployment.kafka).expect("a publisher can be made");
    let before = [
        Header { name: b"mine", value: Some(b"kept") },
        Header { name: b"foretell.reason", value: Some(b"wrong_kind") },
        Header { name: b"foretell.attempt", value: Some(b"4") },
        Header { name: b"__connect.errors.offset", value: Some(b"77") },
    ];
    publish(&deployment, &publisher, None, Some(b"not json"), &before);
    publisher.flush(SOON).expect("the broker takes the event");
    let _instance = deployment.start();
    let letters = await_records(&deployment, &deployment.topics.dead_letters, 1);
    let count = |name: &str| letters[0].headers.iter().filter(|(header, _)| header == name).count();
    for name in ["mine", "foretell.reason", "foretell.attempt", "__connect.errors.offset"] {
        assert_eq!(count(name), 1, "expected one header `{name}` in {:?}", letters[0].headers);
    }
    assert_eq!(letters[0].header("foretell.attempt").as_deref(), Some("5"));
    assert_eq!(letters[0].header("foretell.reason").as_deref(), Some("not_json"));
    assert_eq!(letters[0].header("__connect.errors.offset").as_deref(), Some("0"));
}
