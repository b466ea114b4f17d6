//! Models written by the real libraries, scored here and compared with what those libraries
//! predicted. `tests/conformance/README.md` describes the cases.

#[cfg(feature = "onnx")]
mod onnx;

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView1, ShapeBuilder};
use serde_json::Value;

use crate::features::contract::Feature;
use crate::features::decode::{Decoder, Limits};
use crate::model::columns::propose;
use crate::model::forest::Forest;
use crate::model::import::{ImportError, Parsed, Source, facts, import, parse};
use crate::model::manifest::{Format, Iterations};
use crate::model::{Model, Scratch};

fn folders(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(parent);
    let entries = fs::read_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut folders: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .collect();
    folders.sort();
    assert!(!folders.is_empty(), "no {prefix} case below {}", root.display());
    folders
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(&path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One case's model, its rows as the matrix, and what the library made of them.
struct Case {
    /// As it serves, and with all trees as nodes.
    models: Vec<Model>,
    x: Array2<f64>,
    expected: Value,
    tolerance: Value,
    /// Are the raw scores the library's to the last bit? CatBoost's order of adding is not known:
    /// most of its scores are, others differ in the last digit. Where XGBoost 2.1 begins with a
    /// probability, it predicted with another margin than its file's, by an ulp or so; why is not known.
    exact: bool,
}

impl Case {
    /// Reads a case as a user would: the contract is the one that the model's file proposes.
    fn read(folder: &Path, format: Format) -> Self {
        let case = json(folder.join("case.json"));
        let bytes = fs::read(folder.join(case["model_file"].as_str().unwrap())).unwrap();
        let columns = good(facts(format, &bytes), folder).columns;
        let mut contract = propose(&columns);
        // Names that the model file does not have are the user's to give.
        let told = case["features"].as_array().unwrap();
        for ((feature, column), told) in contract.iter_mut().zip(&columns).zip(told) {
            if !column.named {
                feature.name = told["name"].as_str().unwrap().to_owned();
                feature.path = format!("/{}", feature.name);
            }
        }
        let iterations = iterations(&case["predict_params"]);
        let source = Source { format, bytes: &bytes, iterations, features: &contract };
        let mut models = vec![good(import(source), folder)];
        if let Ok(Parsed::Forest(ensemble)) = parse(source) {
            models.push(Model::Forest(Forest::of_nodes(ensemble).into()));
        }
        Self {
            x: matrix(folder, &case, &contract),
            models,
            exact: format != Format::Catboost
                && !(case["library_version"].as_str().unwrap().starts_with("2.1")
                    && case["objective"] == "binary:logistic"),
            expected: json(folder.join("expected.json")),
            tolerance: case["tolerance"].clone(),
        }
    }
}

fn good<T>(read: Result<T, ImportError>, folder: &Path) -> T {
    read.unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// As LightGBM and XGBoost name the iterations to predict with.
fn iterations(params: &Value) -> Option<Iterations> {
    let number = |value: &Value| value.as_u64().map(|number| number as usize);
    let from = number(&params["start_iteration"]).unwrap_or(0);
    let of_lightgbm = number(&params["num_iteration"]).map(|count| (from, from + count));
    let range = &params["iteration_range"];
    let (from, to) = of_lightgbm.or(number(&range[0]).zip(number(&range[1])))?;
    Some(Iterations { from, to })
}

/// The rows of a case, decoded as events are.
fn matrix(folder: &Path, case: &Value, contract: &[Feature]) -> Array2<f64> {
    let names = case["features"].as_array().unwrap().iter().map(|feature| &feature["name"]);
    assert!(names.eq(contract.iter().map(|feature| &feature.name)), "{}", folder.display());
    let limits = Limits { event_bytes_max: 1 << 20, json_depth_max: 4 };
    let decoder = Decoder::new(contract, &[], limits).unwrap();
    let text = fs::read_to_string(folder.join("rows.jsonl")).unwrap();
    let mut x = Array2::zeros((text.lines().count(), contract.len()).f());
    for (line, row) in text.lines().zip(x.rows_mut()) {
        let decoded = decoder.decode(line.as_bytes(), row, &mut []);
        decoded.unwrap_or_else(|reject| panic!("{}: {line}: {reject}", folder.display()));
    }
    x
}

/// A list of numbers a row, or one number a row.
fn row_of(value: &Value, row: usize) -> Vec<f64> {
    match &value[row] {
        Value::Array(list) => list.iter().map(|v| v.as_f64().unwrap()).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

#[test]
fn lightgbm_is_reproduced() {
    check_all("lightgbm-", Format::Lightgbm);
}

#[test]
fn catboost_is_reproduced() {
    check_all("catboost-", Format::Catboost);
}

#[test]
fn xgboost_is_reproduced() {
    check_all("xgboost-", Format::Xgboost);
}

/// Raw scores are those of the library to the last bit, unless the case says why they need not be.
fn check_all(prefix: &str, format: Format) {
    for folder in folders("", prefix) {
        let case = Case::read(&folder, format);
        for model in &case.models {
            check(&case, model, &folder.file_name().unwrap().to_string_lossy());
        }
    }
}

fn check(case: &Case, model: &Model, name: &str) {
    let Case { x, expected, tolerance, .. } = case;
    let mut raw = Array2::zeros((x.nrows(), model.outputs()));
    model.predict_raw(x.view(), &mut Scratch::default(), raw.view_mut());
    for row in 0..x.nrows() {
        let place = format!("{name} row {row}");
        let wanted = row_of(&expected["raw"], row);
        if case.exact {
            assert_eq!(raw.row(row).to_vec(), wanted, "{place}");
        } else {
            near(raw.row(row), &wanted, &tolerance["raw"], &place);
        }
    }
    check_outputs(case, model, name);
}

fn check_outputs(case: &Case, model: &Model, name: &str) {
    let Case { x, expected, tolerance, .. } = case;
    let output = model.outputs_of(x);
    let classifies = !expected["labels"].is_null();
    for row in 0..x.nrows() {
        let place = format!("{name} row {row}");
        let wanted = row_of(&expected["output"], row);
        match wanted.as_slice() {
            // Of two classes we give the probability of the second alone.
            [_, second] if classifies && model.outputs() == 1 => {
                near(output.row(row), &[*second], &tolerance["output"], &place);
            }
            // `multi:softmax` gives the class alone.
            [class] if model.outputs() > 1 => {
                let largest = output.row(row).iter().copied().fold(0.0, f64::max);
                assert_eq!(output[[row, *class as usize]], largest, "{place}");
            }
            wanted => near(output.row(row), wanted, &tolerance["output"], &place),
        }
    }
}

fn near(ours: ArrayView1<'_, f64>, theirs: &[f64], tolerance: &Value, place: &str) {
    assert_eq!(ours.len(), theirs.len(), "{place}");
    let rtol = tolerance["rtol"].as_f64().unwrap();
    let atol = tolerance["atol"].as_f64().unwrap();
    for (ours, theirs) in ours.iter().zip(theirs) {
        let close = (ours - theirs).abs() <= atol + rtol * theirs.abs();
        assert!(close, "{place}: {ours} is not {theirs}");
    }
}

#[test]
fn a_malformed_lightgbm_file_is_refused_and_the_message_says_why() {
    assert_eq!(faults_of_refusals("lightgbm-", Format::Lightgbm), [""; 0]);
}

#[test]
fn a_malformed_catboost_file_is_refused_and_the_message_says_why() {
    assert_eq!(faults_of_refusals("catboost-", Format::Catboost), [""; 0]);
}

#[test]
fn a_malformed_xgboost_file_is_refused_and_the_message_says_why() {
    assert_eq!(faults_of_refusals("xgboost-", Format::Xgboost), [""; 0]);
}

/// Says which of the malformed files of a format load, or are refused without the words that tell
/// a user what is wrong.
fn faults_of_refusals(prefix: &str, format: Format) -> Vec<String> {
    let mut faults = Vec::new();
    for folder in folders("malformed", prefix) {
        let case = json(folder.join("case.json"));
        let bytes = fs::read(folder.join(case["model_file"].as_str().unwrap())).unwrap();
        let name = folder.file_name().unwrap().display().to_string();
        match import(Source::new(format, &bytes)) {
            // Harmless all the same, such as UBJSON in a file that ends in .json.
            Ok(_) if case["must"] == "reject-or-limit" => {}
            Ok(_) => faults.push(format!("{name}: loads")),
            Err(error) => {
                let message = error.to_string();
                let words = case["error_should_mention"].as_array().unwrap().iter();
                let words = words.map(|word| word.as_str().unwrap());
                faults.extend(
                    words
                        .filter(|word| !message.contains(word))
                        .map(|word| format!("{name}: `{message}` does not say `{word}`")),
                );
            }
        }
    }
    faults
}

#[cfg(not(feature = "onnx"))]
#[test]
fn an_onnx_model_is_refused_by_a_program_without_the_feature() {
    let told = "this foretell was built without the feature `onnx`";
    assert_eq!(import(Source::new(Format::Onnx, &[])).unwrap_err().to_string(), told);
    assert_eq!(facts(Format::Onnx, &[]).unwrap_err().to_string(), told);
}
