//! Models written by the real libraries, scored here and compared with what those libraries
//! predicted. `tests/conformance/README.md` describes the cases.

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array2, ShapeBuilder};
use serde_json::Value;

use crate::features::contract::Term;
use crate::model::forest::Forest;
use crate::model::import::{ensemble, import};
use crate::model::manifest::Format;
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
    models: [Model; 2],
    x: Array2<f64>,
    expected: Value,
    tolerance: Value,
}

impl Case {
    fn read(folder: &Path) -> Self {
        let case = json(folder.join("case.json"));
        let bytes = fs::read(folder.join(case["model_file"].as_str().unwrap())).unwrap();
        let mut ensemble = ensemble(Format::Lightgbm, &bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        // Iteration ranges are no option of ours: a file that was saved after early stopping
        // holds the iterations that count.
        let range = &case["predict_params"];
        let first = range["start_iteration"].as_u64().unwrap_or(0) as usize * ensemble.outputs;
        ensemble.trees.drain(..first);
        if let Some(iterations) = range["num_iteration"].as_u64() {
            ensemble.trees.truncate(iterations as usize * ensemble.outputs);
        }
        let nodes = Model::Forest(Forest::of_nodes(ensemble.clone()));
        let models = [Model::Forest(Forest::new(ensemble)), nodes];
        let x = matrix(folder, &case, &models[0]);
        Self {
            models,
            x,
            expected: json(folder.join("expected.json")),
            tolerance: case["tolerance"].clone(),
        }
    }
}

/// The rows, by the model's own names and, for categories, its own vocabularies.
fn matrix(folder: &Path, case: &Value, model: &Model) -> Array2<f64> {
    let mut vocabularies = model.vocabularies().iter();
    let features: Vec<(&str, Option<&Vec<Term>>)> = case["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|feature| {
            let coded = feature["type"] == "categorical";
            (feature["name"].as_str().unwrap(), coded.then(|| vocabularies.next().unwrap()))
        })
        .collect();
    let names: Vec<&str> = features.iter().map(|(name, _)| *name).collect();
    assert_eq!(model.feature_names(), names, "{}", folder.display());
    for column in model.categorical() {
        let kind = case["features"][*column]["type"].as_str().unwrap();
        assert!(kind.starts_with("categorical"), "{} column {column}", folder.display());
    }
    let text = fs::read_to_string(folder.join("rows.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Array2::from_shape_fn((rows.len(), features.len()).f(), |(row, column)| {
        let (name, vocabulary) = features[column];
        let value = &rows[row][name];
        match vocabulary {
            _ if value.is_null() => f64::NAN,
            None => value.as_f64().unwrap(),
            Some(terms) => {
                let term: Term = serde_json::from_value(value.clone()).unwrap();
                terms.iter().position(|known| *known == term).map_or(f64::NAN, |code| code as f64)
            }
        }
    })
}

/// A list of numbers a row, or one number a row.
fn row_of(value: &Value, row: usize) -> Vec<f64> {
    match &value[row] {
        Value::Array(list) => list.iter().map(|v| v.as_f64().unwrap()).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

#[test]
fn lightgbm_raw_scores_are_bit_identical_and_outputs_within_tolerance() {
    for folder in folders("", "lightgbm-") {
        let case = Case::read(&folder);
        for model in &case.models {
            check(&case, model, &folder.file_name().unwrap().to_string_lossy());
        }
    }
}

fn check(case: &Case, model: &Model, name: &str) {
    let Case { x, expected, tolerance, .. } = case;
    let mut scratch = Scratch::default();
    let mut raw = Array2::zeros((x.nrows(), model.outputs()));
    let mut output = raw.clone();
    model.predict_raw(x.view(), &mut scratch, raw.view_mut());
    model.predict(x.view(), &mut scratch, output.view_mut());
    let rtol = tolerance["output"]["rtol"].as_f64().unwrap();
    let atol = tolerance["output"]["atol"].as_f64().unwrap();
    for row in 0..x.nrows() {
        assert_eq!(raw.row(row).to_vec(), row_of(&expected["raw"], row), "{name} row {row}");
        for (ours, theirs) in output.row(row).iter().zip(row_of(&expected["output"], row)) {
            let close = (ours - theirs).abs() <= atol + rtol * theirs.abs();
            assert!(close, "{name} row {row}: {ours} is not {theirs}");
        }
    }
}

#[test]
fn a_malformed_lightgbm_file_is_refused_and_the_message_says_why() {
    let mut faults = Vec::new();
    for folder in folders("malformed", "lightgbm-") {
        let case = json(folder.join("case.json"));
        let bytes = fs::read(folder.join(case["model_file"].as_str().unwrap())).unwrap();
        let name = folder.file_name().unwrap().display().to_string();
        match import(Format::Lightgbm, &bytes) {
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
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
