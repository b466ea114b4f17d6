//! What is linked into `foretell`, as cargo resolves it.

use std::path::Path;
use std::process::Command;

/// The crates under the program with these features, besides the default ones.
fn crates(features: &str) -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{lib}", "--features", features, "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn what_trains_is_no_part_of_what_predicts() {
    let trainer = |crates: Vec<String>| crates.iter().any(|name| name == "smartcore");
    assert!(!trainer(crates("")));
    assert!(!trainer(crates("onnx,http,s3,gs,az")));
    assert!(trainer(crates("train")), "`cargo tree` does not say what this test looks for");
}
