//! What-if: `foretell replay` against what an instance recorded, and ranges of a topic.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use foretell::bus::publish::Publisher;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::deployment::Deployment;
use super::eventually::SOON;
use super::feeder::{self, Feeder};
use super::probe::{Place, Probe};
use super::{model, scratch, topics};

/// Replays, and gives the JSON that it prints.
#[track_caller]
fn replay(deployment: &Deployment, bundle: &Path, arguments: &[&str]) -> Value {
    let output = run(deployment, bundle, arguments);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "expected {arguments:?} to succeed:\n{talk}");
    serde_json::from_slice(&output.stdout).expect("`--json` prints JSON")
}

fn run(deployment: &Deployment, bundle: &Path, arguments: &[&str]) -> Output {
    let bundle = bundle.to_str().expect("the folder's name is text");
    let all: Vec<&str> = ["--json", "--bundle", bundle].iter().chain(arguments).copied().collect();
    deployment.foretell("replay", &all)
}

/// The predictions in a file of JSON lines, by the place of their event.
fn lines(file: &Path) -> BTreeMap<Place, Value> {
    let text = fs::read_to_string(file).expect("the file was written");
    let parsed = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        let input = &line["input"];
        let place = input["partition"].as_i64().zip(input["offset"].as_i64());
        let (partition, offset) = place.expect("a prediction names its event");
        ((partition as i32, offset), line)
    });
    let found: Vec<_> = parsed.collect();
    let count = found.len();
    let by_place: BTreeMap<_, _> = found.into_iter().collect();
    assert_eq!(by_place.len(), count, "expected one line for each event");
    by_place
}

/// Two digits are kept of differences.
#[track_caller]
fn assert_near(found: &Value, expected: f64) {
    let found = found.as_f64().expect("a number");
    assert!((found - expected).abs() <= expected * 0.01, "expected {expected}, found {found}");
}

#[test]
fn a_replay_says_how_another_version_differs_from_what_was_recorded() {
    let deployment = Deployment::new("replay", 4);
    let events = deployment.topics.events.as_str();
    feeder::burst(&deployment, 1000);
    topics::publish(&deployment, events, "bad", r#"{"id":"no x","kind":"a"}"#);
    topics::publish(&deployment, events, "bad", r#"{"id":"huge","x":2000000,"kind":"a"}"#);
    let mut probe = Probe::new(&deployment);
    let mut instance = deployment.start();
    probe.await_answers(SOON, 1002);
    instance.terminate(SOON);
    // Nobody answers these.
    feeder::burst(&deployment, 100);
    let out = scratch::folder("replay").join("out.jsonl");
    let out_text = out.to_str().expect("the file's name is text");
    let told =
        replay(&deployment, &model::bundle(2), &["--against", "predictions", "--out", out_text]);

    assert_eq!(told["events"], 1102);
    assert_eq!(told["scored"], 1100);
    assert_eq!(told["refused"], json!({"required_feature_missing": 1, "non_finite": 1}));
    let against = &told["against"];
    assert_eq!(against["topic"], deployment.topics.predictions.as_str());
    assert_eq!(against["versions"], json!({"1": 1000}));
    assert_eq!(against["compared"], 1000);
    assert_eq!((&against["lost"], &against["gained"]), (&json!(0), &json!(100)));
    // 20 instead of 10 below 500, and 21 instead of 11 from there on.
    let (low, high) = (1.0, 10.0 / 11.0);
    assert_near(&against["difference"]["p50"], high);
    assert_near(&against["difference"]["p90"], low);
    assert_near(&against["difference"]["max"], low);
    let mean = against["mean_difference"].as_f64().expect("a number");
    assert!((mean - (low + high) / 2.0).abs() < 1e-9, "{mean}");
    let slices = against["slices"].as_array().expect("a list");
    assert!(slices.iter().all(|slice| slice["feature"] == "x"), "{slices:?}");
    let all_low = slices.iter().filter(|slice| slice["mean_difference"] == json!(1.0));
    let rows: u64 = all_low.map(|slice| slice["rows"].as_u64().expect("a count")).sum();
    assert_eq!(rows, 500, "expected the five lower deciles of `x`: {slices:?}");

    let predictions = lines(&out);
    let mut places = BTreeSet::new();
    for event in topics::read(&deployment, events) {
        let value: Value = serde_json::from_slice(event.value.as_deref().unwrap_or_default())
            .expect("an event is JSON");
        let Some(x) = value["x"].as_f64().filter(|x| *x < 1000.0) else { continue };
        let place = (event.partition, event.offset);
        let expected = json!({
            "id": value["id"], "prediction": model::says(2, x), "model": model::NAME,
            "version": "2", "control_offset": null,
            "input": {"topic": events, "partition": place.0, "offset": place.1},
        });
        assert_eq!(predictions.get(&place), Some(&expected));
        places.insert(place);
    }
    assert_eq!(places.len(), predictions.len(), "expected no other lines");

    // The group is none of a replay's business: the same version says the same.
    let same = replay(&deployment, &model::bundle(1), &["--against", "predictions"]);
    assert_eq!(same["against"]["compared"], 1000);
    assert_eq!(same["against"]["difference"]["max"], json!(0.0));
    assert_eq!(same["against"]["slices"], json!([]));

    // An event that was answered again, under its own key as always: the last answer counts.
    let (place, again) = predictions.iter().next().expect("there are some");
    let all = topics::read(&deployment, events);
    let event = all.iter().find(|event| (event.partition, event.offset) == *place);
    let key = event.and_then(|event| event.key.clone()).expect("the feeder gives keys");
    let key = String::from_utf8(key).expect("a key of the feeder is text");
    let mut again = again.clone();
    again["version"] = "3".into();
    let recorded = &deployment.topics.predictions;
    topics::publish(&deployment, recorded, &key, &again.to_string());
    topics::publish(&deployment, recorded, "bad", "no prediction");
    let told = replay(&deployment, &model::bundle(2), &["--against", recorded]);
    assert_eq!(told["against"]["versions"], json!({"1": 999, "3": 1}));
    assert_eq!(told["against"]["unreadable"], 1);
    let found = told["against"]["mean_difference"].as_f64().expect("a number");
    assert!(
        found < mean,
        "expected one event without a difference, mean {found} instead of {mean}"
    );
}

#[test]
fn a_range_is_read_to_its_end_and_no_further_while_the_topic_goes_on() {
    let deployment = Arc::new(Deployment::new("range", 3));
    let bundle = model::bundle(1);
    feeder::burst(&deployment, 200);
    // Events are stamped with this machine's clock, to the millisecond.
    let stamped = Timestamp::now().as_millisecond();
    let mut clock = iter::repeat_with(Timestamp::now);
    let between = clock.find(|now| now.as_millisecond() > stamped).expect("time goes on");
    let between = between.to_string();
    feeder::burst(&deployment, 300);
    let events = |arguments: &[&str]| replay(&deployment, &bundle, arguments)["events"].clone();
    assert_eq!(events(&[]), 500);
    assert_eq!(events(&["--from", &between]), 300);
    assert_eq!(events(&["--to", &between]), 200);
    assert_eq!(events(&["--from", "1:3", "--from", "2:0", "--to", "1:10", "--to", "2:4"]), 11);
    assert_eq!(events(&["--from", "2:0", "--to", "5"]), 5);
    let empty = ["--from", "end", "--against", "predictions"];
    let told = replay(&deployment, &bundle, &empty);
    assert_eq!((&told["events"], &told["against"]["compared"]), (&json!(0), &json!(0)));
    assert_eq!(events(&["--from", "10", "--to", "5"]), 0);

    let feeder = Feeder::start(&deployment, 1000);
    let told = replay(&deployment, &bundle, &["--from", &between]);
    feeder.stop();
    let range = told["range"].as_array().expect("a list").iter();
    let length = |span: &Value| {
        Some(span["to"].as_i64()?.checked_sub(span["from"].as_i64()?)?.cast_unsigned())
    };
    let offsets: u64 = range.map(|span| length(span).expect("offsets")).sum();
    // No transaction writes events here: every offset is one.
    assert_eq!(told["events"], offsets);
    assert!(offsets >= 300, "{told}");
}

#[test]
fn a_replay_goes_to_a_topic_of_its_own_and_can_be_compared_with() {
    let deployment = Deployment::new("what-if", 3);
    let flights = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/bundles");
    let publisher = Publisher::new(&deployment.kafka).expect("a publisher can be made");
    for version in ["1", "2"] {
        let golden = fs::read_to_string(flights.join(version).join("golden.jsonl"));
        for (number, line) in golden.expect("the example has golden rows").lines().enumerate() {
            let row: Value = serde_json::from_str(line).expect("a golden row is JSON");
            let event = row["event"].to_string();
            let key = number.to_string();
            publisher
                .send(&deployment.topics.events, Some(key.as_bytes()), event.as_bytes())
                .expect("it is short");
        }
    }
    publisher.flush(SOON).expect("the broker takes the events");
    for taken in [&deployment.topics.predictions, &deployment.topics.events] {
        let refused = run(&deployment, &flights.join("1"), &["--to-topic", taken]);
        assert_eq!(refused.status.code(), Some(64), "expected `{taken}` to be refused");
    }
    // Another number of partitions than the events have.
    let topic = format!("{}-what-if", deployment.name);
    let missing = run(&deployment, &flights.join("1"), &["--to-topic", &topic]);
    assert_eq!(missing.status.code(), Some(78), "expected a topic that is not there to be refused");
    topics::make(&deployment, &topic, 2, &[]);
    let told = replay(&deployment, &flights.join("1"), &["--to-topic", &topic]);
    let scored = told["scored"].as_u64().expect("a count");
    assert_eq!(topics::read(&deployment, &topic).len() as u64, scored);
    assert_eq!(told["against"], Value::Null);

    let files = ["1", "2"].map(|version| -> (PathBuf, String) {
        let file = scratch::folder("what-if").join(format!("{version}.jsonl"));
        let text = file.to_str().expect("the file's name is text").to_owned();
        (file, text)
    });
    replay(&deployment, &flights.join("1"), &["--out", &files[0].1]);
    let told =
        replay(&deployment, &flights.join("2"), &["--out", &files[1].1, "--against", &topic]);
    let [one, two] = [lines(&files[0].0), lines(&files[1].0)];
    let flips = one.iter().filter(|(place, line)| two[*place]["prediction"] != line["prediction"]);
    let flips = flips.count();
    assert!(flips > 0, "expected the two versions to differ somewhere");
    assert_eq!(told["against"]["flips"], flips);
    assert_eq!(told["against"]["compared"], scored);
    assert_eq!(told["against"]["versions"], json!({"1": scored}));
    let share = told["against"]["flip_share"].as_f64().expect("a number");
    assert!((share - flips as f64 / scored as f64).abs() < 1e-12);
}
