//! How good predictions were: `foretell evaluate` beside instances that predict, with labels that come late.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use foretell::bus::publish::Publisher;
use foretell::quality::metrics::Classification;
use rdkafka::producer::BaseRecord;
use serde_json::Value;

use super::broker::Broker;
use super::deployment::Deployment;
use super::eventually::{SOON, eventually, stays};
use super::instance::{Instance, await_shares};
use super::probe::Probe;
use super::reports::await_report;
use super::security::http::{address, ask};
use super::{feeder, model, topics};
use crate::program::stderr;
use crate::schemas::assert_valid;

const PARTITIONS: i32 = 4;
/// Longer than it takes an evaluator to measure and decide again.
const A_WHILE: Duration = Duration::from_secs(4);

/// A deployment with a topic of labels; its name.
fn deployment(name: &str) -> (Deployment, String) {
    deployment_on(Broker::shared(), name)
}

fn deployment_on(broker: &Broker, name: &str) -> (Deployment, String) {
    let deployment = Deployment::on(broker, name, PARTITIONS)
        .with("reports.interval_ms", 500)
        .with("evaluate.listen", "127.0.0.1:0");
    let labels = format!("{}-labels", deployment.name);
    topics::make(&deployment, &labels, PARTITIONS, &[]);
    (deployment.with("evaluate.labels", labels.as_str()), labels)
}

/// What an evaluator shows.
fn status(evaluator: &Instance) -> Value {
    let answer = ask(&address(evaluator), "GET /status", &[], "");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("it is JSON")
}

fn metrics(evaluator: &Instance) -> String {
    ask(&address(evaluator), "GET /metrics", &[], "")
}

/// The value of a series; `None`: it is not there.
fn series(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(it, _)| it == name))?;
    line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok())
}

/// Pairs that an evaluator has, once it is ready.
fn pairs(evaluator: &Instance) -> Option<u64> {
    let status = status(evaluator);
    (status["ready"] == true).then(|| status["held"]["pairs"].as_u64()).flatten()
}

#[track_caller]
fn await_pairs(evaluators: &[&Instance], count: u64) {
    let what = format!("{count} pairs at {} evaluators", evaluators.len());
    eventually(SOON, &what, || {
        let pairs: Option<Vec<_>> = evaluators.iter().map(|evaluator| pairs(evaluator)).collect();
        (pairs?.iter().sum::<u64>() == count).then_some(())
    });
}

fn flights(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights").join(file)
}

/// The lines of a compressed file, with the id of each.
fn lines(file: &str) -> Vec<(String, String)> {
    let file = std::fs::File::open(flights(file)).expect("the example has it");
    let lines = BufReader::new(zstd::Decoder::new(file).expect("it is compressed")).lines();
    let line = |line: std::io::Result<String>| {
        let line = line.expect("it is text");
        let value: Value = serde_json::from_str(&line).expect("each line is JSON");
        (value["id"].as_str().expect("an id").to_owned(), line)
    };
    lines.map(line).collect()
}

fn publish(deployment: &Deployment, topic: &str, keyed: &[(String, String)]) {
    let publisher = Publisher::new(&deployment.kafka).expect("a publisher can be made");
    for (key, value) in keyed {
        publisher.send(topic, Some(key.as_bytes()), value.as_bytes()).expect("it is short");
    }
    publisher.flush(SOON).expect("the broker takes them");
}

/// The same as a feeder does it: by the partitioner of librdkafka.
fn publish_as_fed(deployment: &Deployment, topic: &str, keyed: &[(String, String)]) {
    let producer = topics::producer(deployment, &Arc::default());
    for (key, value) in keyed {
        producer.send(BaseRecord::to(topic).key(key).payload(value)).expect("the queue has room");
    }
    topics::flush(&producer);
}

/// What the topics say, computed apart: class and probability by id, joined with the labels.
fn judged(deployment: &Deployment, labels: &[(String, String)]) -> Classification {
    let mut said = BTreeMap::new();
    for record in topics::read(deployment, &deployment.topics.predictions) {
        let value: Value = serde_json::from_slice(record.value.as_deref().unwrap_or_default())
            .expect("a prediction is JSON");
        let probability = value["probability"].as_f64().expect("of two classes");
        let class = value["prediction"].as_u64().expect("a class") as usize;
        said.insert(value["id"].as_str().expect("an id").to_owned(), (class, probability));
    }
    let (mut truths, mut classes, mut probabilities) = (Vec::new(), Vec::new(), Vec::new());
    for (id, label) in labels {
        let label: Value = serde_json::from_str(label).expect("a label is JSON");
        if let Some((class, probability)) = said.get(id) {
            truths.push(label["label"].as_u64().expect("a class") as usize);
            classes.push(*class);
            probabilities.push(*probability);
        }
    }
    Classification::predicted(&truths, &classes, &probabilities).expect("there are some")
}

#[test]
fn evaluators_share_the_labelled_events_and_agree_with_a_training() {
    const EVENTS: usize = 2_000;
    let (deployment, labels) = deployment("evaluate");
    let bundle = flights("bundles/1").display().to_string();
    let deployment =
        deployment.with("model.name", "late-arrival").with("model.bundle", bundle.as_str());
    let mut events = lines("events.jsonl.zst");
    events.truncate(EVENTS);
    let ids: BTreeSet<_> = events.iter().map(|(id, _)| id.clone()).collect();
    let known: Vec<_> =
        lines("labels.jsonl.zst").into_iter().filter(|(id, _)| ids.contains(id)).collect();
    publish(&deployment, &deployment.topics.events, &events);
    let predictor = deployment.start();
    let mut one = deployment.begin("evaluate", &[]);
    // Predictions come first, labels late.
    eventually(SOON, "predictions without a label", || {
        let count = topics::read(&deployment, &deployment.topics.predictions).len() as u64;
        let waiting = status(&one)["held"]["predictions"].as_u64()?;
        (topics::is_settled(&deployment, PARTITIONS) && waiting == count && count > 0).then_some(())
    });
    let wanted = judged(&deployment, &known);
    let paired: u64 = wanted.confusion.iter().flatten().sum();
    publish(&deployment, &labels, &known);
    let strange = [r#"{"id":"nobody","label":1}"#, r#"{"label":1}"#, "no label"];
    topics::publish_all(&deployment, &labels, "strange", &strange.map(str::to_owned));
    await_pairs(&[&one], paired);
    drop(predictor);

    let binary = wanted.binary.expect("two classes");
    let alone = known.len() as f64 - paired as f64 + 1.0;
    let text = eventually(SOON, "quality of all pairs", || {
        let text = metrics(&one);
        let is_there = |name: &str, value: f64| series(&text, name) == Some(value);
        let is_complete =
            is_there(r#"foretell_quality_rows{version="1",label="usable"}"#, paired as f64)
                && is_there(r#"foretell_evaluate_rows{what="labels"}"#, alone)
                && is_there(
                    r#"foretell_evaluate_records_total{side="label",outcome="unusable"}"#,
                    2.0,
                );
        is_complete.then_some(text)
    });
    for (metric, value) in [
        ("auc", binary.auc),
        ("log_loss", Some(wanted.log_loss)),
        ("brier", Some(binary.brier)),
        ("accuracy", Some(wanted.accuracy)),
        ("f1", wanted.f1),
    ] {
        let name = format!(r#"foretell_quality{{version="1",metric="{metric}"}}"#);
        let found = series(&text, &name).unwrap_or_else(|| panic!("{name} in\n{text}"));
        let value = value.expect("flights are late and on time");
        assert!((found - value).abs() < 1e-9, "{metric} is {found}, and a training has {value}");
    }
    let told = deployment.foretell("status", &["--quality"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let auc = format!("auc {:.4}", binary.auc.unwrap_or_default());
    assert!(told.lines().any(|line| line.contains("-evaluate-") && line.contains(&auc)), "{told}");
    let status = status(&one);
    assert_valid("quality-report", &status);
    let bins: Vec<_> = binary.calibration.iter().map(|bin| bin.rows as u64).collect();
    let shown = status["versions"][0]["calibration"].as_array().expect("a table");
    let shown: Vec<_> = shown.iter().filter_map(|bin| bin["rows"].as_u64()).collect();
    assert_eq!(shown, bins);

    // A second one takes its share, and leaves it again.
    let mut two = deployment.begin("evaluate", &[]);
    await_shares(SOON, PARTITIONS, &[&one, &two]);
    await_pairs(&[&one, &two], paired);
    let shares = [&one, &two].map(|evaluator| pairs(evaluator).unwrap_or_default());
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    let (end, _) = two.terminate(SOON);
    assert_eq!(end.code, Some(0), "{}", end.said);
    await_pairs(&[&one], paired);
    // Nothing is stored: who starts anew reads it all again.
    let (end, _) = one.terminate(SOON);
    assert_eq!(end.code, Some(0), "{}", end.said);
    let again = deployment.begin("evaluate", &[]);
    await_pairs(&[&again], paired);
    let reports = topics::read(&deployment, &deployment.topics.reports);
    let own = reports.iter().filter(|record| {
        record.key.as_deref().is_some_and(|key| {
            key.starts_with(deployment.name.as_bytes())
                && String::from_utf8_lossy(key).contains("-evaluate-")
        })
    });
    let taken_back = own.filter(|record| record.value.is_none()).count();
    assert_eq!(taken_back, 2, "whoever ends takes back its report");
}

/// Labels of a feeder's events by which `version` is right, and their keys.
fn labels_for(version: u32, numbers: std::ops::Range<u64>) -> Vec<(String, String)> {
    let label = |number: u64| {
        let (key, _) = feeder::event(number);
        let label = model::says(version, feeder::x(number) as f64);
        (key, format!(r#"{{"id":{number},"label":{label}}}"#))
    };
    numbers.map(label).collect()
}

/// The messages of a type on the control topic.
fn said(deployment: &Deployment, kind: &str) -> Vec<Value> {
    let records = topics::read(deployment, &deployment.topics.control);
    let values = records.iter().map(|record| record.value.as_deref().unwrap_or_default());
    let messages = values.filter_map(|value| serde_json::from_slice::<Value>(value).ok());
    messages.filter(|message| message["type"] == kind).collect()
}

#[test]
fn a_version_that_is_not_good_enough_is_sent_back_once() {
    let (deployment, labels) = deployment("evaluate-back");
    let deployment = deployment
        .with("evaluate.then", "rollback")
        .with("evaluate.mae_max", 1.0)
        .with("evaluate.rows_min", 500);
    deployment.announce(&model::bundle(2));
    let instance = deployment.start();
    let evaluator = deployment.begin("evaluate", &[]);
    feeder::burst(&deployment, 1_000);
    let mut probe = Probe::new(&deployment);
    probe.await_all(SOON);
    // Version 2 says 20 where 10 was right.
    publish_as_fed(&deployment, &labels, &labels_for(1, 0..1_000));
    await_report(&deployment, "the version before", |report| {
        let served = report.served.as_ref();
        served.is_some_and(|it| it.version == "1" && it.control_offset == Some(1))
    });
    let back = said(&deployment, "rollback");
    assert_eq!(back.len(), 1, "{back:?}");
    assert_eq!(back[0]["from"], "2");
    let reason = back[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("mae 10.0000 is above 1 (version 2, "), "{reason}");
    // What serves now is good, and nothing more is said.
    feeder::burst(&deployment, 1_000);
    probe.await_all(SOON);
    publish_as_fed(&deployment, &labels, &labels_for(1, 1_000..2_000));
    await_pairs(&[&evaluator], 2_000);
    let shown = eventually(SOON, "version 1 to be judged", || {
        let status = status(&evaluator);
        (status["served"] == "1" && status["versions"][0]["rows"] == 1_000).then_some(status)
    });
    assert_eq!((&shown["fault"], &shown["asked"]["control_offset"]), (&Value::Null, &1.into()));
    assert!(stays(A_WHILE, || said(&deployment, "rollback").len() == 1));
    let asks = series(&metrics(&evaluator), r#"foretell_asks_total{type="rollback"}"#);
    assert_eq!(asks, Some(1.0));
    drop(instance);
}

#[test]
fn training_is_asked_for_once_whoever_starts_again() {
    let (deployment, labels) = deployment("evaluate-ask");
    let deployment = deployment.with("evaluate.rmse_max", 5.0).with("evaluate.rows_min", 500);
    let instance = deployment.start();
    let evaluator = deployment.begin("evaluate", &[]);
    feeder::burst(&deployment, 600);
    let mut probe = Probe::new(&deployment);
    probe.await_all(SOON);
    // By another partitioner, and then by that of the events.
    publish(&deployment, &labels, &labels_for(2, 0..600));
    evaluator.await_saying(SOON, &["a label stands on partition", "murmur2_random"]);
    publish_as_fed(&deployment, &labels, &labels_for(2, 0..600));
    let asked = eventually(SOON, "a wish for training", || {
        said(&deployment, "retrain-request").into_iter().next()
    });
    let reason = asked["reason"].as_str().expect("a reason");
    assert!(reason.contains("rmse 10.0000 is above 5 (version 1, "), "{reason}");
    evaluator.kill();
    // The next one finds the same, and hears that it was said.
    let next = deployment.begin("evaluate", &[]);
    eventually(SOON, "the fault to be found again", || {
        let status = status(&next);
        status["fault"].as_str().is_some_and(|fault| fault.contains("rmse")).then_some(())
    });
    assert!(stays(A_WHILE, || said(&deployment, "retrain-request").len() == 1));
    // Instances and those who look at them have nothing to do with it.
    let told = eventually(SOON, "a converged fleet", || {
        let told = deployment.foretell("status", &["--json"]);
        told.status.success().then_some(told)
    });
    let verdict: Value = serde_json::from_slice(&told.stdout).expect("`--json` prints JSON");
    assert!(!verdict.to_string().contains("evaluate-ask-evaluate"), "{verdict:#}");
    drop(instance);
}

#[test]
fn what_cannot_be_joined_is_refused_with_a_hint() {
    let deployment = Deployment::new("evaluate-refused", 2).with("kafka.connect_timeout_ms", 5_000);
    let refused = |deployment: &Deployment, words: &[&str]| {
        let output = deployment.foretell("evaluate", &[]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "expected {words:?} in:\n{said}");
    };
    refused(&deployment, &["`evaluate.labels` is not set", "hint: "]);
    let labels = format!("{}-labels", deployment.name);
    let deployment =
        deployment.with("evaluate.labels", labels.as_str()).with("evaluate.listen", "off");
    refused(&deployment, &[&labels, "does not exist", "`evaluate.labels`"]);
    topics::make(&deployment, &labels, 3, &[]);
    refused(
        &deployment,
        &["has 2 partitions", "3", "hint: create the labels topic with 2 partitions"],
    );
    let same = deployment.topics.events.as_str();
    refused(
        &deployment.clone().with("evaluate.labels", same),
        &["is the topic of `topics.events` too"],
    );
}

#[test]
fn an_evaluator_of_nothing_is_ready_and_ends_when_it_is_told() {
    let (deployment, _) = deployment("evaluate-alone");
    let mut alone = deployment.begin("evaluate", &[]);
    await_pairs(&[&alone], 0);
    let ready = ask(&address(&alone), "GET /readyz", &[], "");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    let live = ask(&address(&alone), "GET /livez", &[], "");
    assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
    let (end, _) = alone.terminate(SOON);
    assert_eq!(end.code, Some(0), "{}", end.said);
}

#[test]
fn an_evaluator_outlasts_its_brokers_and_ends_without_them() {
    let broker = Broker::start("evaluate-away");
    let (deployment, labels) = deployment_on(&broker, "evaluate-away");
    let instance = deployment.start();
    let mut evaluator = deployment.begin("evaluate", &[]);
    let mut probe = Probe::new(&deployment);
    feeder::burst(&deployment, 500);
    probe.await_all(SOON);
    publish_as_fed(&deployment, &labels, &labels_for(1, 0..500));
    await_pairs(&[&evaluator], 500);
    // What is not settled when the only broker goes may be lost for good, with its marker.
    eventually(SOON, "the offsets of all events to be settled", || {
        topics::is_settled(&deployment, PARTITIONS).then_some(())
    });
    broker.stop();
    evaluator.await_saying(SOON, &["the consumer has trouble"]);
    eventually(SOON, "the evaluator to say that it is cut off", || {
        status(&evaluator)["waits_for"].to_string().contains("no broker").then_some(())
    });
    broker.restart();
    feeder::burst(&deployment, 500);
    probe.await_all(SOON);
    publish_as_fed(&deployment, &labels, &labels_for(1, 500..1_000));
    await_pairs(&[&evaluator], 1_000);
    broker.stop();
    evaluator.await_saying(SOON, &["the consumer has trouble"]);
    let (end, _) = evaluator.terminate(SOON);
    assert_eq!(end.code, Some(0), "{}", end.said);
    drop(instance);
}
