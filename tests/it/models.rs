//! A model file of each format on its way into a bundle and out as predictions, as its user goes it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::program::{foretell, stderr};
use crate::schemas::assert_valid;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(name)
}

fn model(case: &Path) -> PathBuf {
    let files = fs::read_dir(case).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.file_stem().unwrap() == "model").unwrap()
}

/// The events of a case, each with what its library's `predict` gives.
fn rows(case: &Path) -> Vec<(String, Value)> {
    let expected = fs::read(case.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let events = fs::read_to_string(case.join("rows.jsonl")).unwrap();
    let outputs = expected["output"].as_array().unwrap().iter().map(|output| match output {
        Value::Array(_) => output.clone(),
        number => json!([number]),
    });
    events.lines().map(str::to_owned).zip(outputs).collect()
}

fn golden(rows: &[(String, Value)], folder: &Path) -> PathBuf {
    let path = folder.join("golden.jsonl");
    let lines = rows.iter().map(|(event, output)| {
        let event: Value = serde_json::from_str(event).unwrap();
        format!("{}\n", json!({"event": event, "output": output}))
    });
    fs::write(&path, lines.collect::<String>()).unwrap();
    path
}

/// Packs a model with the contract that its file suggests.
fn pack(model: &Path, golden: &Path, out: &Path, more: &[&str]) -> std::process::Output {
    foretell()
        .args(["model", "pack", "--name", "m", "--version", "1", "--json", "--model"])
        .arg(model)
        .arg("--golden")
        .arg(golden)
        .arg("--out")
        .arg(out)
        .args(more)
        .output()
        .unwrap()
}

fn predictions(bundle: &Path, rows: &[(String, Value)]) -> Vec<Value> {
    let events: String = rows.iter().map(|(event, _)| format!("{event}\n")).collect();
    let output =
        foretell().args(["score", "--bundle"]).arg(bundle).write_stdin(events).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn close(ours: &Value, theirs: &Value) -> bool {
    let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
    (ours - theirs).abs() <= 1e-5 * theirs.abs().max(1.0)
}

/// What a prediction says, in the shape that the library gives it in.
fn in_shape_of(theirs: &Value, prediction: &Value) -> Value {
    let classes = theirs.as_array().unwrap().len();
    match prediction {
        Value::Object(said) if said.contains_key("probabilities") && classes > 1 => {
            (0..classes).map(|class| said["probabilities"][class.to_string()].clone()).collect()
        }
        Value::Object(said) if said.contains_key("probability") => {
            let second = said["probability"].as_f64().unwrap();
            if classes == 2 { json!([1.0 - second, second]) } else { json!([second]) }
        }
        said => match &said["prediction"] {
            Value::Array(values) => json!(values),
            value => json!([value]),
        },
    }
}

fn check(case: &Path, model: &Path, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(case);
    let out = folder.path().join("bundle");
    let packed = pack(model, &golden(&rows, folder.path()), &out, &[]);
    assert!(packed.status.success(), "{name}: {}", stderr(&packed));
    let predictions = predictions(&out, &rows);
    assert_eq!(predictions.len(), rows.len());
    for (prediction, (_, theirs)) in predictions.iter().zip(&rows) {
        assert_valid("prediction", prediction);
        let ours = in_shape_of(theirs, prediction);
        let pairs = ours.as_array().unwrap().iter().zip(theirs.as_array().unwrap());
        assert!(pairs.clone().all(|(a, b)| close(a, b)), "{name}: {ours} is not {theirs}");
    }
}

#[test]
fn a_model_of_each_format_is_packed_by_its_content_and_predicts_what_its_library_does() {
    let names = [
        "lightgbm-sklearn-pandas-mixed",
        "xgboost-pandas-mixed",
        "xgboost-multi-softmax",
        "xgboost-multi-target",
        "xgboost-hinge",
        "xgboost-gblinear-multi",
        "catboost-onehot",
        "catboost-multiclass",
        "catboost-binary",
        #[cfg(feature = "onnx")]
        "onnx-pipeline-logreg",
        #[cfg(feature = "onnx")]
        "onnx-pipeline-string-labels",
    ];
    for name in names {
        // By content: a name says nothing.
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("model.bin");
        fs::copy(model(&case(name)), &copy).unwrap();
        check(&case(name), &copy, name);
    }
}

#[test]
fn a_linear_model_written_by_hand_is_packed_and_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("logistic.json");
    let file = json!({
        "format": "foretell-linear", "version": 1, "link": "logistic", "features": ["a", "b"],
        "coefficients": [[0.5, -2.0]], "intercepts": [0.25],
    });
    fs::write(&model, file.to_string()).unwrap();
    let output = |a: f64, b: f64| 1.0 / (1.0 + (-(0.5 * a - 2.0 * b + 0.25)).exp());
    let row = |a: f64, b: f64| (json!({"a": a, "b": b}).to_string(), json!([output(a, b)]));
    let rows = [row(1.0, 0.0), row(-3.0, 0.75)];
    let out = folder.path().join("bundle");
    let packed = pack(&model, &golden(&rows, folder.path()), &out, &[]);
    assert!(packed.status.success(), "{}", stderr(&packed));
    assert!(close(&predictions(&out, &rows)[1]["probability"], &rows[1].1[0]));
}

#[test]
fn a_forest_written_by_hand_is_packed_and_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("forest.json");
    // The threshold belongs to the left.
    let file = json!({
        "format": "foretell-forest", "version": 1, "link": "identity", "combine": "mean",
        "start": [0], "features": ["a", "b"],
        "trees": [
            {"feature": [0, 1], "threshold": [1, 2], "left": [-1, -2], "right": [1, -3],
             "leaves": [[0.0], [0.5], [1.0]]},
            {"feature": [], "threshold": [], "left": [], "right": [], "leaves": [[0.25]]},
        ],
    });
    fs::write(&model, file.to_string()).unwrap();
    let row = |a: f64, b: f64, says: f64| (json!({"a": a, "b": b}).to_string(), json!([says]));
    let rows = [row(1.0, 9.0, 0.125), row(1.5, 2.0, 0.375), row(1.5, 2.5, 0.625)];
    let out = folder.path().join("bundle");
    let packed = pack(&model, &golden(&rows, folder.path()), &out, &[]);
    assert!(packed.status.success(), "{}", stderr(&packed));
    let predictions = predictions(&out, &rows);
    for (prediction, (_, says)) in predictions.iter().zip(&rows) {
        assert!(close(&prediction["prediction"], &says[0]), "{prediction}");
    }
}

#[test]
fn the_proposed_contract_is_a_contract() {
    let case = case("xgboost-pandas-mixed");
    let output = foretell()
        .args(["model", "pack", "--propose-contract", "--model"])
        .arg(model(&case))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let contract: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_valid("contract", &contract);
    let origin = &contract["features"][1];
    assert_eq!(origin["name"], "origin");
    assert_eq!(origin["kind"]["category"]["vocabulary"], json!(["EWR", "JFK", "LGA"]));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("contract.json");
    fs::write(&file, &output.stdout).unwrap();
    let (golden, out) = (golden(&rows(&case), folder.path()), folder.path().join("bundle"));
    let told_to = pack(&model(&case), &golden, &out, &["--contract", file.to_str().unwrap()]);
    assert!(told_to.status.success(), "{}", stderr(&told_to));
}

#[test]
fn a_vocabulary_in_another_order_than_the_models_is_refused() {
    let case = case("xgboost-pandas-mixed");
    let mut contract = foretell();
    contract.args(["model", "pack", "--propose-contract", "--model"]).arg(model(&case));
    let mut contract: Value = serde_json::from_slice(&contract.output().unwrap().stdout).unwrap();
    let terms = &mut contract["features"][1]["kind"]["category"]["vocabulary"];
    terms.as_array_mut().unwrap().swap(0, 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("contract.json");
    fs::write(&file, contract.to_string()).unwrap();
    let (golden, out) = (golden(&rows(&case), folder.path()), folder.path().join("bundle"));
    let refused = pack(&model(&case), &golden, &out, &["--contract", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(65));
    assert!(stderr(&refused).contains("a category's code is its place"), "{}", stderr(&refused));
}

#[test]
fn a_model_that_stopped_early_is_packed_with_all_iterations_or_up_to_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let case = case("xgboost-early-stopping-best");
    let (model, golden) = (model(&case), golden(&rows(&case), folder.path()));
    let all = pack(&model, &golden, &folder.path().join("all"), &[]);
    assert_eq!(all.status.code(), Some(65));
    assert!(
        stderr(&all).contains("hint: early stopping found the first 8 iterations"),
        "{}",
        stderr(&all)
    );
    for (out, iterations) in [("best", "best"), ("first", "8"), ("range", "0..8")] {
        let out = folder.path().join(out);
        let packed = pack(&model, &golden, &out, &["--iterations", iterations]);
        assert!(packed.status.success(), "{iterations}: {}", stderr(&packed));
    }
    let beyond = pack(&model, &golden, &folder.path().join("beyond"), &["--iterations", "5..900"]);
    assert!(stderr(&beyond).contains("iterations 5 to 900 were asked for"), "{}", stderr(&beyond));
}

#[test]
fn a_golden_row_with_another_class_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let case = case("xgboost-multi-softmax");
    let mut rows = rows(&case);
    rows[2].1 = json!([0.0]);
    let golden = golden(&rows, folder.path());
    let packed = pack(&model(&case), &golden, &folder.path().join("bundle"), &[]);
    assert_eq!(packed.status.code(), Some(65));
    assert!(
        stderr(&packed).contains("row 3 gives [") && stderr(&packed).contains("0 was recorded")
    );
}

#[test]
fn inspect_shows_what_the_trees_are_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let case = case("xgboost-early-stopping-best");
    let out = folder.path().join("bundle");
    let golden = golden(&rows(&case), folder.path());
    let packed = pack(&model(&case), &golden, &out, &["--iterations", "best"]);
    assert!(packed.status.success(), "{}", stderr(&packed));
    let output = foretell().args(["model", "inspect", "--json"]).arg(&out).output().unwrap();
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let trees = &seen["model"]["trees"];
    assert_eq!((&trees["trees"], &trees["as_planes"]), (&json!(8), &json!(8)));
    // A binary tree has one leaf more than splits.
    let uses = trees["features"].as_array().unwrap();
    let splits: u64 = uses.iter().map(|used| used["splits"].as_u64().unwrap()).sum();
    assert_eq!(trees["leaves"].as_u64().unwrap(), splits + 8);
    assert!(uses.iter().all(|used| used["gain"].as_f64().unwrap() >= 0.0), "{uses:?}");
    assert!(seen["model"]["rows_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_is_no_model_is_named_for_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model");
    let given: [(&[u8], &str); 4] = [
        (b"\x1f\x8b\x08\x00", "compressed with gzip"),
        (b"\x80\x04\x95", "Python pickle"),
        (b"{\"a\": 1}", "no model file that is known here"),
        (b"", "the file is empty"),
    ];
    for (bytes, what) in given {
        fs::write(&file, bytes).unwrap();
        let mut command = foretell();
        let output = command.args(["model", "pack", "--propose-contract", "--model"]).arg(&file);
        let output = output.output().unwrap();
        assert_eq!(output.status.code(), Some(65));
        assert!(stderr(&output).contains(what), "{}", stderr(&output));
    }
}
