//! What an operator, and a job that retrains, see of the whole fleet.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::{model, scratch};
use crate::program::stderr;
use crate::schemas::assert_valid;

/// Nothing is given up before a test is.
const WAIT: [&str; 2] = ["--wait", "90s"];

#[track_caller]
fn check(output: &Output, code: i32, says: &[&str]) {
    let told = stdout(output) + &stderr(output);
    assert_eq!(output.status.code(), Some(code), "expected {code} of:\n{told}");
    for part in says {
        assert!(told.contains(part), "expected `{part}` in:\n{told}");
    }
}

/// Waits until so many instances are ready and serve what they shall.
#[track_caller]
fn await_converged(deployment: &Deployment, instances: u64) -> Value {
    eventually(SOON, &format!("{instances} instances to have converged"), || {
        let output = deployment.foretell("status", &["--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).expect("the status is JSON");
        assert_eq!(output.status.success(), status["converged"] == true);
        (status["converged"] == true && status["counted"] == instances).then_some(status)
    })
}

/// The bundle of a version with a manifest of 100 kB.
fn bundle_with_long_manifest(version: u32) -> PathBuf {
    let (from, to) = (model::bundle(version), scratch::folder("bundles").join("long-manifest"));
    fs::create_dir_all(&to).expect("a folder under target/tmp");
    for file in fs::read_dir(from).expect("a bundle is a folder").flatten() {
        fs::copy(file.path(), to.join(file.file_name())).expect("a file can be copied");
    }
    let manifest = to.join("manifest.json");
    let text = fs::read_to_string(&manifest).expect("a bundle has a manifest");
    fs::write(&manifest, text + &"\n".repeat(100_000)).expect("a file can be written");
    to
}

#[test]
fn a_fleet_converges_and_an_announcement_waits_for_it() {
    let deployment = Deployment::new("fleet", 2);
    let nobody = "not converged on 1: no instance of model `tiny` reports";
    check(&deployment.foretell("status", &[]), 1, &[nobody]);
    check(&deployment.foretell("model promote", &["1", "--wait", "0s"]), 75, &["not within 0s"]);

    let (_one, _two) = (deployment.start(), deployment.start());
    let status = await_converged(&deployment, 2);
    for report in status["reports"].as_array().expect("a list of reports") {
        assert_valid("report", report);
    }
    let two = model::bundle(2);
    let announce = [&[two.to_str().expect("a path is text")], &WAIT[..]].concat();
    check(&deployment.foretell("model announce", &announce), 0, &["converged on 2 (2 of 2)"]);
    check(&deployment.foretell("status", &[]), 0, &["converged on 2 (2 of 2)", "last refusal"]);
    let back = [&["--from", "2", "--reason", "drill"], &WAIT[..]].concat();
    check(&deployment.foretell("model rollback", &back), 0, &["converged on 1 (2 of 2)"]);

    let output = deployment.foretell("model list", &["--json"]);
    let entries = stdout(&output);
    let entries = entries.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
    let entries: Vec<Value> = entries.collect();
    let shown = |entry: &Value| {
        ["what", "version", "effect"].map(|name| entry[name].as_str().unwrap_or("-").to_owned())
    };
    let expect = [
        ["promoted", "1", "nothing"],
        ["announced", "2", "serves"],
        ["rolled back", "1", "serves"],
    ];
    assert_eq!(entries.iter().map(shown).collect::<Vec<_>>(), expect);
    assert_eq!((&entries[2]["from"], &entries[2]["reason"]), (&"2".into(), &"drill".into()));
}

#[test]
fn an_announcement_that_one_instance_refuses_fails_and_names_it() {
    let deployment = Deployment::new("fleet-refusal", 2);
    let small = [("model.bytes_max", 50_000.into()), ("delivery.instance_id", "small".into())];
    let (_one, _small) = (deployment.start(), deployment.start_with(&small));
    await_converged(&deployment, 2);
    let bundle = bundle_with_long_manifest(3);
    let announce = [&[bundle.to_str().expect("a path is text")], &WAIT[..]].concat();
    let refused = ["version 3 was refused by", "-small on ", "fetch: ", "larger than 50000 bytes"];
    check(&deployment.foretell("model announce", &announce), 65, &refused);
    let behind = eventually(SOON, "the other instance to serve version 3", || {
        let output = deployment.foretell("status", &[]);
        stdout(&output).contains("not converged on 3 (1 of 2)").then_some(output)
    });
    check(&behind, 1, &["-small on ", "serves 1; refused 3 at "]);
    let unknown = [&["9"], &WAIT[..]].concat();
    let never = "passed over: version `9` was never announced";
    check(&deployment.foretell("model promote", &unknown), 65, &[never]);
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
