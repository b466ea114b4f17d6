//! A model so small that a test knows what each version says of each event.
//!
//! An event is `{"id":…,"x":…,"kind":…}`. Version *v* says 10·*v* where `x` < 500, 10·*v* + 1 up
//! to a million, and beyond it the sum of two numbers that no f64 holds. `kind` has to be `a` or `b`
//! where it is given.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::json;

use super::scratch;

pub const NAME: &str = "tiny";

/// What version `version` says of an event.
pub fn says(version: u32, x: f64) -> f64 {
    f64::from(version * 10 + u32::from(x >= 500.0))
}

/// The bundle of a version, packed by the program itself the first time it is asked for.
pub fn bundle(version: u32) -> PathBuf {
    static PACKING: Mutex<()> = Mutex::new(());
    let folder = scratch::folder("bundles").join(version.to_string());
    let _one_at_a_time = PACKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !folder.exists() {
        pack(version, &folder);
    }
    folder
}

/// The digest that a bundle is announced by.
pub fn digest(bundle: &Path) -> String {
    let manifest = fs::read(bundle.join("manifest.json")).expect("a bundle has a manifest");
    format!("sha256:{}", foretell::model::bundle::sha256(&manifest))
}

/// The message that announces a version, be it true or not.
pub fn retrain_complete(version: u32, uri: &Path, digest: &str) -> String {
    json!({
        "type": "retrain-complete", "model": NAME, "version": version.to_string(),
        "uri": uri, "digest": digest,
    })
    .to_string()
}

fn pack(version: u32, folder: &Path) {
    let work = scratch::folder(&format!("packing-{version}"));
    let file = |name: &str, text: String| {
        let path = work.join(name);
        fs::write(&path, text).expect("a file under target/tmp can be written");
        path
    };
    let golden = |x: f64| json!({"event": {"id": "golden", "x": x, "kind": "b"}, "output": [says(version, x)]});
    let output = Command::new(env!("CARGO_BIN_EXE_foretell"))
        .args(["model", "pack", "--name", NAME, "--version", &version.to_string()])
        .arg("--model")
        .arg(file("model.txt", lightgbm(version)))
        .arg("--contract")
        .arg(file("contract.json", contract()))
        .arg("--golden")
        .arg(file("golden.jsonl", format!("{}\n{}\n", golden(1.0), golden(900.0))))
        .arg("--out")
        .arg(folder)
        .output()
        .expect("foretell can be run");
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "expected the tiny model to be packed:\n{talk}");
}

fn contract() -> String {
    json!({
        "task": {"kind": "regression"},
        "features": [
            {"name": "x", "path": "/x", "kind": "number", "required": true},
            {"name": "kind", "path": "/kind",
             "kind": {"category": {"vocabulary": ["a", "b"], "unknown": "reject"}}},
        ],
    })
    .to_string()
}

/// As LightGBM writes it: two trees, which split on `x`.
fn lightgbm(version: u32) -> String {
    let (low, high) = (version * 10, version * 10 + 1);
    format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n\
         max_feature_idx=1\nobjective=regression\nfeature_names=x kind\n\
         feature_infos=[0:1e9] [0:1]\n\n\
         Tree=0\nnum_leaves=3\nnum_cat=0\nsplit_feature=0 0\nthreshold=499.5 1000000\n\
         decision_type=2 2\nleft_child=-1 -2\nright_child=1 -3\n\
         leaf_value={low} {high} 1e308\nshrinkage=1\n\n\n\
         Tree=1\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=1000000\n\
         decision_type=2\nleft_child=-1\nright_child=-2\n\
         leaf_value=0 1e308\nshrinkage=1\n\n\nend of trees\n"
    )
}
