//! ONNX bundles, as a user meets them: the runtime's library is another process's to open, so that
//! it can also be missing.

use std::fs;
use std::path::Path;
use std::process::Output;

use foretell::model::bundle::sha256;
use foretell::model::columns::propose;
use foretell::model::import::facts;
use foretell::model::manifest::Format;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{foretell, stderr};

const FLIGHTS: &str = "tests/conformance/onnx-pipeline-forest";

/// The pipeline with strings and missing numbers as a bundle; its golden rows are the training
/// library's own answers.
fn bundle() -> TempDir {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join(FLIGHTS);
    let model = fs::read(case.join("model.onnx")).unwrap();
    let expected: Value =
        serde_json::from_slice(&fs::read(case.join("expected.json")).unwrap()).unwrap();
    let rows = fs::read_to_string(case.join("rows.jsonl")).unwrap();
    let golden: String = rows
        .lines()
        .zip(expected["library_output"].as_array().unwrap())
        .map(|(event, output)| format!("{{\"event\":{event},\"output\":[{}]}}\n", output[1]))
        .collect();
    let manifest = json!({
        "model": "late-arrival", "version": "1", "created": "2026-01-01T00:00:00Z",
        "artifact": {
            "format": "onnx", "path": "model.onnx", "sha256": sha256(&model), "bytes": model.len(),
        },
        "task": { "kind": "binary", "labels": ["on time", "late"] },
        "features": propose(&facts(Format::Onnx, &model).unwrap().columns),
        "golden": {
            "path": "golden.jsonl", "sha256": sha256(golden.as_bytes()), "tolerance": 1e-6,
        },
    });
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("model.onnx"), model).unwrap();
    fs::write(folder.path().join("golden.jsonl"), golden).unwrap();
    fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
    folder
}

fn inspect(bundle: &Path, library: Option<&str>) -> (Output, String) {
    let mut command = foretell();
    if let Some(library) = library {
        command.env("FORETELL_ONNXRUNTIME", library);
    }
    let output = command.args(["model", "inspect"]).arg(bundle).output().unwrap();
    let told = stderr(&output);
    (output, told)
}

#[test]
fn an_onnx_bundle_passes_the_gate_with_the_training_librarys_own_predictions() {
    let bundle = bundle();
    let (output, told) = inspect(bundle.path(), None);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("passes the gate: 106 golden rows"), "{told}");
}

#[test]
fn without_the_library_an_onnx_bundle_is_refused_with_a_hint_and_others_are_not() {
    let (nowhere, bundle) = ("/nowhere/libonnxruntime.so", bundle());
    let (output, told) = inspect(bundle.path(), Some(nowhere));
    // A refusal of the data, as of any other bundle; a panic would be 101.
    assert_eq!(output.status.code(), Some(65), "{told}");
    for words in [nowhere, "ONNX Runtime 1.17 or newer", "hint:", "set FORETELL_ONNXRUNTIME"] {
        assert!(told.contains(words), "`{told}` does not say `{words}`");
    }
    let lightgbm = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/bundles/1");
    let (output, told) = inspect(&lightgbm, Some(nowhere));
    assert!(output.status.success(), "{told}");
}
