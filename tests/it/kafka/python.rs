//! The loop in a data scientist's own tools: `examples/flights/retrain.py`, which knows of foretell what
//! everybody may know.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rdkafka::producer::BaseRecord;
use serde_json::Value;

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::instance::Instance;
use super::reports::await_report;
use super::{scratch, topics};
use crate::program::stderr;

/// The first week of December, about.
const FLIGHTS: usize = 6000;

fn flights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights")
}

fn lines(name: &str) -> Vec<String> {
    let bytes = fs::read(flights().join(name)).expect("the example is there");
    let text = zstd::decode_all(&*bytes).expect("it is compressed");
    String::from_utf8(text).expect("it is text").lines().map(Into::into).collect()
}

/// Publishes lines under their ids.
fn publish(deployment: &Deployment, topic: &str, lines: &[String]) {
    let producer = topics::producer(deployment, &Arc::new(AtomicU64::new(0)));
    for line in lines {
        let json: Value = serde_json::from_str(line).expect("each line is JSON");
        let id = json["id"].as_str().expect("it has an id");
        let record = BaseRecord::to(topic).key(id).payload(line);
        producer.send(record).map_err(|(error, _)| error).expect("the queue has room");
    }
    topics::flush(&producer);
}

#[test]
fn a_training_in_python_reads_the_topics_and_takes_over() {
    let folder = scratch::folder("python");
    let bundles = folder.join("bundles");
    let allowed = [bundles.clone(), flights().join("bundles")];
    let allowed: Vec<String> = allowed.iter().map(|path| path.display().to_string()).collect();
    let deployment = Deployment::new("python", 3)
        .with("model.name", "late-arrival")
        .with("model.bundle", flights().join("bundles/1").display().to_string())
        .with("model.allowed_uris", allowed);
    let labels_topic = format!("{}-labels", deployment.name);
    topics::make(&deployment, &labels_topic, 3, &[]);
    let instance = deployment.start();
    publish(&deployment, &deployment.topics.events, &lines("events.jsonl.zst")[..FLIGHTS]);
    // One that is refused bears the id of one that was scored.
    let broken = lines("events.jsonl.zst")[7].replace("\"delay\":", "\"delay\":\"five\",\"was\":");
    publish(&deployment, &deployment.topics.events, &[broken]);
    publish(&deployment, &labels_topic, &lines("labels.jsonl.zst"));
    eventually(SOON, "all flights to be answered", || {
        let answered = topics::read(&deployment, &deployment.topics.predictions).len();
        (answered == FLIGHTS).then_some(())
    });

    let config = deployment.configuration_file();
    let retrain = |options: &[&str]| {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/retrain.sh"));
        command.args([
            "run",
            "--labels",
            &labels_topic,
            "--foretell",
            env!("CARGO_BIN_EXE_foretell"),
        ]);
        command.arg("--config").arg(&config).arg("--bundles").arg(&bundles).args(options);
        command
    };
    let refused = retrain(&["--auc-min", "0.999"]).output().expect("the script can be run");
    let talk = stderr(&refused);
    assert_eq!(refused.status.code(), Some(65), "{talk}");
    assert!(
        talk.contains("nothing is announced: auc 0.") && talk.contains("below 0.999"),
        "{talk}"
    );
    assert_eq!(topics::read(&deployment, &deployment.topics.control).len(), 0);

    // Four days of flights are no half year.
    let bounds = ["--auc-min", "0.8", "--worse-by-max", "0.1"];
    let trained = retrain(&bounds).args(["--version", "learnt"]).output().expect("it can be run");
    let said = stderr(&trained);
    assert!(trained.status.success(), "{said}");
    assert!(said.contains("6,000 flights were scored"), "{said}");
    await_report(&deployment, "the version that was learnt", |report| {
        report.served.as_ref().is_some_and(|served| served.version == "learnt")
    });
    // Somebody asks for the next one.
    let mut command = retrain(&bounds);
    command.args(["--watch", "--pause", "0"]);
    let watch = Instance::spawn("python-watch".into(), command, folder.join("watch.log"));
    watch.await_saying(SOON, &["waiting for requests"]);
    let request = r#"{"type":"retrain-request","model":"late-arrival","reason":"drift"}"#;
    topics::publish(&deployment, &deployment.topics.control, "late-arrival", request);
    await_report(&deployment, "the version that was asked for", |report| {
        let served = report.served.as_ref().map(|served| served.version.as_str());
        served.is_some_and(|version| version != "learnt" && version != "1")
    });
    watch.await_saying(SOON, &["asked to train: drift"]);
    drop((watch, instance));
}
