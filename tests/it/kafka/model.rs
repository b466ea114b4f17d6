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

/// What may be wrong with a version although its golden rows come out right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    Nothing,
    /// It requires a field that no event has.
    AsksForMore,
    /// Where `x` is 500 or more its result is no number.
    Overflows,
}

/// The bundle of a version, packed by the program itself the first time it is asked for.
pub fn bundle(version: u32) -> PathBuf {
    flawed_bundle(version, Flaw::Nothing)
}

/// The same of a version that has a flaw.
pub fn flawed_bundle(version: u32, flaw: Flaw) -> PathBuf {
    static PACKING: Mutex<()> = Mutex::new(());
    let name = match flaw {
        Flaw::Nothing => version.to_string(),
        _ => format!("{version}-{flaw:?}"),
    };
    let folder = scratch::folder("bundles").join(name);
    let _one_at_a_time = PACKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !folder.exists() {
        pack(version, flaw, &folder);
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
    announcement(version, uri, digest).to_string()
}

/// The message that announces a bundle, and what more it shall say.
pub fn retrain_complete_with(version: u32, bundle: &Path, more: serde_json::Value) -> String {
    let mut message = announcement(version, bundle, &digest(bundle));
    for (name, value) in more.as_object().into_iter().flatten() {
        message[name] = value.clone();
    }
    message.to_string()
}

fn announcement(version: u32, uri: &Path, digest: &str) -> serde_json::Value {
    json!({
        "type": "retrain-complete", "model": NAME, "version": version.to_string(),
        "uri": uri, "digest": digest,
    })
}

fn pack(version: u32, flaw: Flaw, folder: &Path) {
    let work = scratch::folder(&format!("packing-{version}-{flaw:?}"));
    let file = |name: &str, text: String| {
        let path = work.join(name);
        fs::write(&path, text).expect("a file under target/tmp can be written");
        path
    };
    let golden = |x: f64| json!({"event": {"id": "golden", "x": x, "kind": "b", "more": x}, "output": [says(version, x)]});
    let high = if flaw == Flaw::Overflows { 2.0 } else { 900.0 };
    let output = Command::new(env!("CARGO_BIN_EXE_foretell"))
        .args(["model", "pack", "--name", NAME, "--version", &version.to_string()])
        .arg("--model")
        .arg(file("model.txt", lightgbm(version, flaw)))
        .arg("--contract")
        .arg(file("contract.json", contract(flaw)))
        .arg("--golden")
        .arg(file("golden.jsonl", format!("{}\n{}\n", golden(1.0), golden(high))))
        .arg("--out")
        .arg(folder)
        .output()
        .expect("foretell can be run");
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "expected the tiny model to be packed:\n{talk}");
}

fn contract(flaw: Flaw) -> String {
    let path = if flaw == Flaw::AsksForMore { "/more" } else { "/x" };
    json!({
        "task": {"kind": "regression"},
        "features": [
            {"name": "x", "path": path, "kind": "number", "required": true},
            {"name": "kind", "path": "/kind",
             "kind": {"category": {"vocabulary": ["a", "b"], "unknown": "reject"}}},
        ],
    })
    .to_string()
}

/// As LightGBM writes it: two trees, which split on `x`.
fn lightgbm(version: u32, flaw: Flaw) -> String {
    let (low, high) = (version * 10, version * 10 + 1);
    let too_much = if flaw == Flaw::Overflows { 499.5 } else { 1e6 };
    format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n\
         max_feature_idx=1\nobjective=regression\nfeature_names=x kind\n\
         feature_infos=[0:1e9] [0:1]\n\n\
         Tree=0\nnum_leaves=3\nnum_cat=0\nsplit_feature=0 0\nthreshold=499.5 {too_much}\n\
         decision_type=2 2\nleft_child=-1 -2\nright_child=1 -3\n\
         leaf_value={low} {high} 1e308\nshrinkage=1\n\n\n\
         Tree=1\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold={too_much}\n\
         decision_type=2\nleft_child=-1\nright_child=-2\n\
         leaf_value=0 1e308\nshrinkage=1\n\n\nend of trees\n"
    )
}
