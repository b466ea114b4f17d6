//! What of an event its prediction keeps: key, time, partition, listed headers and fields.

use foretell::bus::publish::Publisher;
use foretell::record::Header;
use serde_json::json;

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::topics;

#[test]
fn a_prediction_keeps_key_time_partition_and_the_listed_headers_of_its_event() {
    let deployment = Deployment::new("keeps", 4)
        .with("output.forward_headers", vec!["traceparent", "tenant"])
        .with("output.carry.number", "/n");
    let publisher = Publisher::new(&deployment.kafka).expect("a publisher can be made");
    let topic = &deployment.topics.events;
    let headers = [
        Header { name: b"tenant", value: Some(b"\xfe\xff") },
        Header { name: b"secret", value: Some(b"x") },
        Header { name: b"traceparent", value: Some(b"00-1") },
    ];
    for number in 0..20 {
        let value = json!({"id": number.to_string(), "x": 700, "n": {"k": [number]}}).to_string();
        let key = (number > 0).then(|| format!("key-{number}"));
        let key = key.as_ref().map(String::as_bytes);
        publisher.send_with(topic, key, Some(value.as_bytes()), &headers).expect("it is short");
    }
    publisher.flush(SOON).expect("the broker takes the events");
    let _instance = deployment.start();
    let predictions = eventually(SOON, "20 predictions", || {
        let records = topics::read(&deployment, &deployment.topics.predictions);
        (records.len() >= 20).then_some(records)
    });
    for event in topics::read(&deployment, topic) {
        let value: serde_json::Value =
            serde_json::from_slice(event.value.as_deref().unwrap_or_default()).expect("JSON");
        let expected = json!({
            "id": value["id"], "prediction": 11.0, "model": "tiny", "version": "1",
            "control_offset": null, "carry": {"number": value["n"]},
            "input": {"topic": topic, "partition": event.partition, "offset": event.offset},
        });
        let found = predictions.iter().find(|prediction| {
            serde_json::from_slice(prediction.value.as_deref().unwrap_or_default())
                .is_ok_and(|value: serde_json::Value| value == expected)
        });
        let prediction = found.unwrap_or_else(|| panic!("expected {expected} among predictions"));
        assert_eq!(prediction.key, event.key, "expected the event's key");
        assert_eq!(prediction.timestamp_ms, event.timestamp_ms, "expected the event's time");
        assert_eq!(prediction.partition, event.partition, "expected the event's partition");
        let names: Vec<_> = prediction.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["tenant", "traceparent"], "expected the listed headers and no others");
        assert_eq!(
            prediction.headers[0].1.as_deref(),
            Some(&b"\xfe\xff"[..]),
            "expected its bytes"
        );
    }
}

/// Without as many partitions, the key decides, as it does for Java's clients.
#[test]
fn with_another_number_of_partitions_the_key_decides_where_a_prediction_goes() {
    let deployment = Deployment::new("fewer", 4);
    let fewer = format!("{}-fewer", deployment.topics.predictions);
    topics::make(&deployment, &fewer, 2, &[]);
    let deployment = deployment.with("topics.predictions", fewer.as_str());
    super::feeder::burst(&deployment, 200);
    let _instance = deployment.start();
    let predictions = eventually(SOON, "200 predictions", || {
        let records = topics::read(&deployment, &fewer);
        (records.len() >= 200).then_some(records)
    });
    let mut of_key = std::collections::BTreeMap::new();
    for prediction in &predictions {
        let partition = *of_key.entry(&prediction.key).or_insert(prediction.partition);
        assert_eq!(partition, prediction.partition, "expected one partition for each key");
    }
    let both = of_key.values().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(both, 2, "expected both partitions to be used");
}

/// An answer that its topic does not take is a dead letter, and the stream goes on.
#[test]
fn a_prediction_that_is_too_long_for_its_topic_is_a_dead_letter() {
    let deployment = Deployment::new("too-long", 1).with("output.carry.all", "/all");
    let small = format!("{}-small", deployment.topics.predictions);
    topics::make(&deployment, &small, 1, &[("max.message.bytes", "2000")]);
    let deployment = deployment.with("topics.predictions", small.as_str());
    let publisher = Publisher::new(&deployment.kafka).expect("a publisher can be made");
    let long = json!({"id": "long", "x": 1, "all": "l".repeat(1800)}).to_string();
    for value in [long.as_str(), r#"{"id":"short","x":1}"#] {
        publisher.send(&deployment.topics.events, None, value.as_bytes()).expect("it is short");
    }
    publisher.flush(SOON).expect("the broker takes the events");
    let _instance = deployment.start();
    let letters = eventually(SOON, "a dead letter and a prediction", || {
        let letters = topics::read(&deployment, &deployment.topics.dead_letters);
        let predictions = topics::read(&deployment, &small);
        (letters.len() == 1 && predictions.len() == 1).then_some(letters)
    });
    let reason = letters[0].header("foretell.reason");
    assert_eq!(reason.as_deref(), Some("prediction_too_large"), "expected the reason to be told");
}
