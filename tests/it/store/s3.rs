//! S3 as it is spoken by moto (`tests/moto.sh`).

use std::fs;
use std::path::{Path, PathBuf};

use foretell::model::store::Settings;

use super::{digest, fetch, flights, settings};

/// S3 by a server that speaks it. The client takes endpoint and credentials from the environment, so
/// it runs in a process that has them: this program, once more, as [`fetch_as_told`].
#[test]
fn a_bundle_comes_from_s3() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("s3-{}", std::process::id()));
    let endpoint = moto(&["start", scratch.to_str().unwrap(), &std::process::id().to_string()]);
    moto(&["put", &endpoint, "models", "flights/1", flights().to_str().unwrap()]);
    let check = |uri: &str, expected: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::s3::fetch_as_told", "--ignored", "--nocapture"])
            .env("FORETELL_TEST_URI", uri)
            .env("FORETELL_TEST_CACHE", scratch.join("cache"))
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains(expected), "expected {expected:?} of {uri}, got:\n{told}");
    };
    check(
        "s3://models/flights/2",
        "transient=true: cannot read `s3://models/flights/2/manifest.json`",
    );
    check("s3://models/flights/1", "version 1");
    check("s3://models/secret/1", "transient=false: `s3://models/secret/1` may not be read from");
    check("s3://models/flights/../secret", "transient=false");
    let hex = digest(&flights())["sha256:".len()..].to_owned();
    assert!(scratch.join("cache").join(hex).join("model.txt").exists());
    let _ = fs::remove_dir_all(scratch);
}

fn moto(arguments: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moto.sh");
    let output = std::process::Command::new(script).args(arguments).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "moto.sh {arguments:?} failed:\n{talk}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
#[ignore = "started by the test of S3, with an environment of its own"]
fn fetch_as_told() {
    let Ok(uri) = std::env::var("FORETELL_TEST_URI") else { return };
    let cache = std::env::var_os("FORETELL_TEST_CACHE").map(PathBuf::from);
    match fetch(Settings { cache, ..settings("s3://models/flights") }, &uri, &flights()) {
        Ok(bundle) => println!("version {}", bundle.manifest.version),
        Err(fault) => println!("transient={}: {fault}", fault.is_transient()),
    }
}
