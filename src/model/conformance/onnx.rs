//! ONNX models: `expected` is what ONNX Runtime made of them under Python, and the training
//! library's own answer where the case has one.

use std::fs;
use std::path::Path;
use std::thread;

use ndarray::{Array2, Axis, concatenate};

use super::{Case, check_outputs, faults_of_refusals, folders};
use crate::features::contract::Term;
use crate::model::Scratch;
use crate::model::columns::ColumnKind;
use crate::model::import::{Source, facts, import};
use crate::model::manifest::{Format, Iterations};

fn case(name: &str) -> Case {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    Case::read(&root.join(name), Format::Onnx)
}

/// The graph does it all: there is nothing raw before its outputs.
#[test]
fn outputs_are_within_tolerance() {
    let folders = folders("", "onnx-");
    assert!(folders.len() >= 49);
    for folder in folders {
        let case = Case::read(&folder, Format::Onnx);
        check_outputs(&case, &case.models[0], &folder.file_name().unwrap().to_string_lossy());
    }
}

#[test]
fn a_malformed_file_is_refused_and_the_message_says_why() {
    let faults = faults_of_refusals("onnx-", Format::Onnx);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The graph gathers the row of a table by an integer: 3 numbers for it are one input, `id` another.
#[test]
fn a_row_that_fails_or_cannot_be_fed_is_nan_and_harms_no_other() {
    let Case { models, mut x, .. } = case("onnx-embedding");
    let whole = models[0].outputs_of(&x);
    let bad = [(0, f64::NAN), (3, 0.5), (7, 1e9), (8, -1e300), (x.nrows() - 1, f64::INFINITY)];
    for (row, id) in bad {
        x[[row, 0]] = id;
    }
    let found = models[0].outputs_of(&x);
    for (row, (found, whole)) in found.rows().into_iter().zip(whole.rows()).enumerate() {
        let is_bad = bad.iter().any(|(bad, _)| *bad == row);
        assert_eq!(found[0].is_nan(), is_bad, "row {row}: {found}");
        assert!(is_bad || (found[0] - whole[0]).abs() < 1e-6, "row {row}: {found} is not {whole}");
    }
}

#[test]
fn workers_share_a_model_and_change_between_models() {
    let models = ["onnx-pipeline-forest", "onnx-embedding", "onnx-mlp-fixed-1"].map(case);
    let alone = models.each_ref().map(|case| case.models[0].outputs_of(&case.x));
    let work = || {
        let mut scratch = Scratch::default();
        for turn in 0..30 {
            let (Case { models, x, .. }, alone) = (&models[turn % 3], &alone[turn % 3]);
            let mut out = Array2::zeros(alone.dim());
            models[0].predict(x.view(), &mut scratch, out.view_mut());
            assert_eq!(out, alone);
        }
    };
    thread::scope(|scope| {
        (0..4).for_each(|_| {
            scope.spawn(work);
        });
    });
}

#[test]
fn a_category_that_is_missing_or_unknown_is_fed_as_one_that_the_graph_does_not_know() {
    let Case { models, x, .. } = case("onnx-pipeline-forest");
    let (first, carrier) = (x.select(Axis(0), &[0]), 3);
    let rows = [f64::NAN, 16.0, 1e9].map(|code| {
        let mut row = first.clone();
        row[[0, carrier]] = code;
        row
    });
    let [missing, beyond, far] = &rows;
    let x = concatenate![Axis(0), first.view(), missing.view(), beyond.view(), far.view()];
    let found = models[0].outputs_of(&x);
    assert!(found.iter().all(|number| number.is_finite()), "{found}");
    assert!(found[[1, 0]] == found[[2, 0]] && found[[2, 0]] == found[[3, 0]], "{found}");
}

fn bytes(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    fs::read(root.join(name).join("model.onnx")).unwrap()
}

#[test]
fn a_contract_is_proposed_with_the_strings_that_the_graph_knows() {
    for name in ["onnx-pipeline-forest", "onnx-pipeline-ordinal"] {
        let columns = facts(Format::Onnx, &bytes(name)).unwrap().columns;
        let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["dep_delay", "distance", "hour", "carrier", "origin", "dest"]);
        assert_eq!(columns[0].kind, ColumnKind::Number);
        let airports = ["EWR", "JFK", "LGA"].map(|name| Term::Text(name.into()));
        assert_eq!(columns[4].kind, ColumnKind::Terms(airports.into()));
    }
}

#[test]
fn what_an_onnx_model_cannot_be_asked_is_refused() {
    let refusal = |source: Source<'_>| import(source).unwrap_err().to_string();
    let bytes_of_strings = bytes("onnx-pipeline-forest");
    let without = Source::new(Format::Onnx, &bytes_of_strings);
    assert!(refusal(without).contains("input `carrier` takes strings"), "{}", refusal(without));
    let some = Some(Iterations { from: 0, to: 1 });
    let cut = Source { iterations: some, ..Source::new(Format::Onnx, &bytes_of_strings) };
    assert!(refusal(cut).contains("iterations"), "{}", refusal(cut));
}
