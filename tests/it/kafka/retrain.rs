//! From the topics and back to them: a training joins events with labels, beats what serves, announces
//! itself, and the instances follow.

use std::fs;
use std::path::Path;

use super::deployment::Deployment;
use super::eventually::SOON;
use super::instance::Instance;
use super::probe::Probe;
use super::reports::await_report;
use super::{feeder, scratch, topics};
use crate::program::stderr;
use crate::training::{self, train};

/// What a feeder's event becomes: 1 from x = 500 on.
fn label(number: u64) -> String {
    format!(r#"{{"id":{number},"label":{}}}"#, u8::from(feeder::x(number) >= 500))
}

fn configuration(deployment: &Deployment, labels: &str, folder: &Path) -> std::path::PathBuf {
    let contract = r#"{"task":{"kind":"regression"},"features":[
        {"name":"x","path":"/x","kind":"number","required":true}]}"#;
    fs::write(folder.join("contract.json"), contract).unwrap();
    let instances = deployment.configuration_file();
    let instances = instances.display();
    let text = format!(
        r#"
        [model]
        name = "tiny"
        contract = "contract.json"
        [data]
        kafka = {{config = "{instances}", labels = "{labels}"}}
        id = "/id"
        [fit]
        model = "random_forest_regressor"
        trees = 5
        [evaluate]
        served = "control"
        bounds = {{mae = {{max = 0.05, worse_by_max = 0.0}}}}
        [bundle]
        folder = "bundles"
        [announce]
        config = "{instances}"
        [watch]
        interval_minutes = 0
    "#
    );
    let path = folder.join("train.toml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_training_reads_the_topics_beats_what_serves_and_takes_over() {
    let folder = scratch::folder("retrain");
    let allowed =
        vec![folder.display().to_string(), scratch::folder("bundles").display().to_string()];
    // Five trees cost many times what the one split of version 1 does.
    let deployment = Deployment::new("retrain", 3)
        .with("model.allowed_uris", allowed)
        .with("gate.cost_ratio_max", 1000.0);
    let labels = format!("{}-labels", deployment.name);
    topics::make(&deployment, &labels, 3, &[]);
    let instance = deployment.start();
    let mut probe = Probe::new(&deployment);
    feeder::burst(&deployment, 3000);
    probe.await_all(SOON);
    // Late, and one of them corrected.
    let values: Vec<String> = (0..2900).map(label).collect();
    topics::publish_all(&deployment, &labels, "wrong", &[r#"{"id":"7","label":99}"#.into()]);
    topics::publish_all(&deployment, &labels, "wrong", &values);

    let config = configuration(&deployment, &labels, &folder);
    let trained = train(&config, &["run", "--version", "learnt"]);
    let said = stderr(&trained);
    assert!(trained.status.success(), "{said}");
    assert!(said.contains("load: 2900 labelled events"), "{said}");
    // Version 1 says 10 and 11.
    let report = String::from_utf8_lossy(&trained.stdout).into_owned();
    assert!(report.contains("1 (serves)") && report.contains("| mae | 0.0"), "{report}");
    await_report(&deployment, "the version that was learnt", |report| {
        report.served.as_ref().is_some_and(|served| served.version == "learnt")
    });
    // Somebody asks for the next one.
    let command = training::command(&config, &["watch"]);
    let watch = Instance::spawn("retrain-watch".into(), command, folder.join("watch.log"));
    watch.await_saying(SOON, &["waiting for requests"]);
    topics::control(&deployment, r#"{"type":"retrain-request","model":"tiny","reason":"drift"}"#);
    await_report(&deployment, "the version that was asked for", |report| {
        let served = report.served.as_ref().map(|served| served.version.as_str());
        served.is_some_and(|version| version != "learnt" && version != "1")
    });
    watch.await_saying(SOON, &["request", "drift"]);
    drop((watch, instance));
}
