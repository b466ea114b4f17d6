//! The flights, as they are and an hour late: what two instances make of both.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::producer::BaseRecord;
use serde_json::{Value, json};

use super::deployment::Deployment;
use super::eventually::{SOON, eventually, stays};
use super::instance::await_shares;
use super::{model, scratch, topics};
use crate::program::{foretell, stderr};
use crate::schemas::assert_valid;

/// Of all flights, one in so many is part of the reference, and one of what is published.
const ONE_IN: usize = 4;
/// As few as a window may have, and as many as make each instance fill some.
const WINDOW_ROWS: usize = 1_000;
const PUBLISHED: usize = 6 * WINDOW_ROWS;

fn flights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights")
}

/// Some of the flights, evenly spread over the month.
fn events(from: usize) -> Vec<String> {
    let sample = fs::File::open(flights().join("events.jsonl.zst")).unwrap();
    let text = String::from_utf8(zstd::decode_all(sample).unwrap()).unwrap();
    text.lines().skip(from).step_by(ONE_IN).map(str::to_owned).collect()
}

/// In an order that has nothing to do with their time: a window shall be like the month.
fn shuffled(mut events: Vec<String>) -> Vec<String> {
    let mut random = 7_u64;
    for place in (1..events.len()).rev() {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        events.swap(place, (random >> 33) as usize % (place + 1));
    }
    events
}

/// Version 1 of the flights' model, which knows how one flight in four of December was.
fn bundle(folder: &Path) -> PathBuf {
    let (from, out) = (flights().join("bundles/1"), folder.join("bundle"));
    let manifest = fs::read(from.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let contract = json!({"task": manifest["task"], "features": manifest["features"]});
    fs::write(folder.join("contract.json"), contract.to_string()).unwrap();
    fs::write(folder.join("reference.jsonl"), events(0).join("\n")).unwrap();
    let packed = foretell()
        .args(["model", "pack", "--name", model::NAME, "--version", "1"])
        .arg("--model")
        .arg(from.join("model.txt"))
        .arg("--golden")
        .arg(from.join("golden.jsonl"))
        .arg("--contract")
        .arg(folder.join("contract.json"))
        .arg("--reference")
        .arg(folder.join("reference.jsonl"))
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(packed.status.success(), "{}", stderr(&packed));
    assert!(stderr(&packed).contains("reference: 6778 events, 0 others"), "{}", stderr(&packed));
    let manifest: Value =
        serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_valid("manifest", &manifest);
    assert_eq!(manifest["reference"]["features"].as_array().map(Vec::len), Some(20));
    out
}

/// To all partitions.
fn publish(deployment: &Deployment, events: &[String]) {
    let producer = topics::producer(deployment, &deployment.fed);
    for (number, event) in events.iter().enumerate() {
        let key = number.to_string();
        let record = BaseRecord::to(&deployment.topics.events).key(&key).payload(event);
        producer.send(record).expect("the queue has room");
    }
    topics::flush(&producer);
}

/// An hour later, as in a storm.
fn late(event: &str) -> String {
    let mut event: Value = serde_json::from_str(event).unwrap();
    let delay = event["departure"]["delay"].as_f64().unwrap();
    event["departure"]["delay"] = (delay + 60.0).into();
    event.to_string()
}

/// What `foretell status --drift` says of the fleet, once both instances have a window that `shows`.
fn await_drift(deployment: &Deployment, what: &str, shows: impl Fn(&Value) -> bool) -> Value {
    eventually(SOON, what, || {
        let output = deployment.foretell("status", &["--drift", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).expect("the status is JSON");
        status["reports"].as_array()?.iter().for_each(|report| assert_valid("report", report));
        (status["drift"]["instances"] == 2 && shows(&status["drift"]))
            .then(|| status["drift"].clone())
    })
}

/// The names of what has a PSI above the bound, clocks left out.
fn far(drift: &Value) -> BTreeSet<String> {
    let lists = [&drift["features"], &drift["outputs"]];
    let shifts = lists.into_iter().flat_map(|list| list.as_array().expect("a list"));
    shifts
        .filter(|shift| shift["is_expected"] == false && shift["psi"].as_f64() > Some(0.25))
        .map(|shift| shift["name"].as_str().expect("a name").to_owned())
        .collect()
}

/// The reasons of the requests on the control topic.
fn requests(deployment: &Deployment) -> Vec<String> {
    let records = topics::read(deployment, &deployment.topics.control);
    let messages = records.iter().filter_map(|record| record.value.as_deref());
    let messages = messages.map(|value| serde_json::from_slice::<Value>(value).expect("JSON"));
    let requests = messages.filter(|message| message["type"] == "retrain-request");
    requests.map(|message| message["reason"].as_str().expect("a reason").to_owned()).collect()
}

#[test]
fn a_stream_that_has_drifted_is_asked_for_once_and_one_that_has_not_never() {
    let bundle = bundle(&scratch::folder("drift"));
    let deployment = Deployment::new("drift", 2)
        .with("model.bundle", bundle.display().to_string())
        .with("drift.window_rows", WINDOW_ROWS as i64)
        .with("drift.psi_max", 0.25);
    let (one, two) = (deployment.start(), deployment.start());
    await_shares(SOON, 2, &[&one, &two]);
    let all = shuffled(events(1));
    let as_they_are = &all[..PUBLISHED];

    publish(&deployment, as_they_are);
    let drift = await_drift(&deployment, "windows of both instances", |drift| {
        drift["events"].as_u64() >= Some(2 * WINDOW_ROWS as u64)
    });
    assert!(far(&drift).is_empty(), "nothing has moved: {drift:#}");

    let late: Vec<String> = as_they_are.iter().map(|event| late(event)).collect();
    publish(&deployment, &late);
    let asked = eventually(SOON, "a request for training", || requests(&deployment).pop());
    // Both have moved far; which of the two farther, the window decides.
    let names_one = ["drift: `departure_delay` PSI ", "drift: the prediction's `probability` PSI "]
        .iter()
        .any(|begin| asked.starts_with(begin));
    assert!(names_one && asked.contains(" events"), "{asked}");
    let has_moved = |drift: &Value| far(drift).contains("departure_delay");
    let drift = await_drift(&deployment, "that both have drifted", |drift| {
        has_moved(drift) && drift["features"][0]["name"] == "departure_delay"
    });
    let moved: Vec<String> = far(&drift).into_iter().collect();
    assert_eq!(moved, ["departure_delay", "probability"], "{drift:#}");
    // The other instance would have said so by now.
    assert!(stays(Duration::from_secs(7), || requests(&deployment).len() == 1), "one is enough");

    let page = deployment.foretell("status", &["--drift"]);
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    let line = page.lines().find(|line| line.contains("departure_delay"));
    assert!(line.is_some_and(|line| line.contains("much")), "{page}");
    assert!(page.contains("drift of 1 from its training"), "{page}");
    drop((one, two));
}
