//! What no exported model shows: every type of input, batches of a fixed size, an open width. The
//! graphs are of one operator each.

use ndarray::{Array2, ShapeBuilder};
use prost::Message;

use super::proto::{Attribute, Dimension, Graph, Kind, Model, Node, Shape, TensorKind, Value};
use super::{Onnx, Scratch, element, facts};
use crate::features::contract::{Feature, Kind as FeatureKind};
use crate::model::import::{ImportError, Source};
use crate::model::manifest::{Format, TaskKind};

type Tensor<'a> = (&'a str, i32, &'a [Option<i64>]);

const COLUMN: &[Option<i64>] = &[None, Some(1)];

/// A file of one node, which reads all inputs; each output is of a node of its own.
fn file(operator: &str, inputs: &[Tensor<'_>], outputs: &[Tensor<'_>]) -> Vec<u8> {
    let value = |(name, element, dimensions): &Tensor<'_>| {
        let dimensions = dimensions.iter().map(|size| Dimension { size: *size }).collect();
        let tensor = TensorKind { element: *element, shape: Some(Shape { dimensions }) };
        Value { name: (*name).into(), kind: Some(Kind { tensor: Some(tensor) }) }
    };
    let node = |output: &Tensor<'_>| Node {
        inputs: inputs.iter().map(|input| input.0.into()).collect(),
        outputs: vec![output.0.into()],
        operator: operator.into(),
        ..Node::default()
    };
    let graph = Graph {
        nodes: outputs.iter().map(node).collect(),
        inputs: inputs.iter().map(value).collect(),
        outputs: outputs.iter().map(value).collect(),
        ..Graph::default()
    };
    // Version 8 of the format, version 17 of the operators: fields that are not read here.
    let mut file = vec![0x08, 8, 0x42, 2, 0x10, 17];
    // The runtime wants a graph to have a name.
    let mut graph = graph.encode_to_vec();
    graph.extend([0x12, 1, b'g']);
    file.push(0x3a);
    prost::encoding::encode_varint(graph.len() as u64, &mut file);
    file.extend(graph);
    assert!(Model::decode(file.as_slice()).unwrap().graph.is_some());
    file
}

fn import(file: &[u8], columns: usize) -> Result<Onnx, ImportError> {
    let feature = |number| Feature {
        name: format!("f{number}"),
        path: format!("/f{number}"),
        kind: FeatureKind::Number,
        required: false,
        missing: None,
    };
    let features: Vec<_> = (0..columns).map(feature).collect();
    Onnx::import(Source { features: &features, ..Source::new(Format::Onnx, file) })
}

/// Predictions for rows of features, NaN as `None`.
fn predict<const N: usize>(file: &[u8], rows: &[[f64; N]]) -> Vec<Option<f64>> {
    let model = import(file, N).unwrap();
    let x = Array2::from_shape_fn((rows.len(), N).f(), |(row, column)| rows[row][column]);
    let mut out = Array2::zeros((rows.len(), model.outputs()));
    model.predict(x.view(), &mut Scratch::default(), out.view_mut());
    out.iter().map(|number| Some(*number).filter(|number| !number.is_nan())).collect()
}

/// A hundred kilobytes of strings, and one input so wide that each of its columns would have them.
#[test]
fn strings_that_a_file_says_once_are_not_held_a_thousand_times() {
    let attribute = Attribute {
        name: "keys_strings".into(),
        strings: (0..10_000).map(|number| format!("{number:10}").into_bytes()).collect(),
        ..Attribute::default()
    };
    let dimensions = vec![Dimension { size: None }, Dimension { size: Some(60_000) }];
    let value = |name: &str, element| {
        let shape = Some(Shape { dimensions: dimensions.clone() });
        let kind = Some(Kind { tensor: Some(TensorKind { element, shape }) });
        Value { name: name.into(), kind }
    };
    let node = Node {
        inputs: vec!["words".into()],
        outputs: vec!["codes".into()],
        operator: "LabelEncoder".into(),
        attributes: vec![attribute],
        ..Node::default()
    };
    let graph = Graph {
        nodes: vec![node],
        inputs: vec![value("words", element::TEXT)],
        outputs: vec![value("codes", element::F32)],
        ..Graph::default()
    };
    let file = Model { graph: Some(graph), ..Model::default() }.encode_to_vec();
    let told = facts(&file).unwrap_err().to_string();
    assert!(told.contains("the strings of its text columns"), "{told}");
}

#[test]
fn booleans_are_0_and_1_and_nothing_else() {
    let inputs = [("which", element::BOOLEAN, COLUMN), ("a", element::F32, COLUMN)];
    let file = file(
        "Where",
        &[inputs[0], inputs[1], ("b", element::F32, COLUMN)],
        &[("y", element::F32, COLUMN)],
    );
    let rows = [[1.0, 5.0, 6.0], [0.0, 5.0, 6.0], [f64::NAN, 5.0, 6.0], [2.0, 5.0, 6.0]];
    assert_eq!(predict(&file, &rows), [Some(5.0), Some(6.0), None, None]);
}

#[test]
fn doubles_stay_doubles_and_inputs_may_have_one_dimension() {
    let flat: &[Option<i64>] = &[None];
    let inputs = [("a", element::F64, flat), ("b", element::F64, flat)];
    let file = file("Add", &inputs, &[("y", element::F64, flat)]);
    assert_eq!(predict(&file, &[[0.1, 0.2], [1.0, f64::NAN]]), [Some(0.1 + 0.2), None]);
}

#[test]
fn integers_are_whole_and_in_range_or_their_row_has_no_prediction() {
    for (element, largest) in [(element::I32, 2_147_483_646.0), (element::I64, 1e15)] {
        let inputs = [("a", element, COLUMN), ("b", element, COLUMN)];
        let file = file("Add", &inputs, &[("y", element, COLUMN)]);
        let rows = [[largest, 1.0], [-3.0, 1.0], [0.5, 1.0], [1e300, 1.0], [1.0, f64::NAN]];
        let found = predict(&file, &rows);
        assert_eq!(found, [Some(largest + 1.0), Some(-2.0), None, None, None]);
    }
}

#[test]
fn a_fixed_batch_is_filled_up() {
    let four: &[Option<i64>] = &[Some(4), Some(1)];
    let inputs = [("a", element::I64, four), ("b", element::I64, four)];
    let file = file("Add", &inputs, &[("y", element::I64, four)]);
    let rows: Vec<[f64; 2]> = (0..10).map(|row| [f64::from(row), 100.0]).collect();
    let expected: Vec<_> = (100..110).map(|sum| Some(f64::from(sum))).collect();
    assert_eq!(predict(&file, &rows), expected);
}

#[test]
fn an_open_width_is_the_contracts() {
    let open: &[Option<i64>] = &[None, None];
    let file = file("Identity", &[("x", element::F32, open)], &[("y", element::F32, open)]);
    assert_eq!(predict(&file, &[[1.0, 2.0, 3.0]]), [Some(1.0), Some(2.0), Some(3.0)]);
    let told = facts(&file).unwrap_err().to_string();
    assert!(told.contains("input `x` leaves its number of columns open"), "{told}");
}

#[test]
fn of_several_wide_outputs_none_is_guessed() {
    let two: &[Option<i64>] = &[None, Some(2)];
    let outputs = [("y", element::F32, two), ("z", element::F32, two)];
    let file = file("Identity", &[("x", element::F32, two)], &outputs);
    let told = import(&file, 2).unwrap_err().to_string();
    assert!(told.contains("which of the outputs `y`, `z` is the prediction"), "{told}");
}

#[test]
fn what_a_file_merely_declares_is_not_believed() {
    let wide: &[Option<i64>] = &[None, Some(1 << 40)];
    let high: &[Option<i64>] = &[Some(1 << 40), Some(2)];
    for (shape, what) in [(wide, "more than 65536 columns"), (high, "65536 at most are fed")] {
        let file = file("Identity", &[("x", element::F32, shape)], &[("y", element::F32, shape)]);
        assert!(facts(&file).unwrap_err().to_string().contains(what), "{what}");
        assert!(import(&file, 2).unwrap_err().to_string().contains(what), "{what}");
    }
}

/// skl2onnx calls distances and anomaly scores `scores`: they are no probabilities of two classes.
#[test]
fn two_scores_beside_a_label_are_two_outputs_and_two_probabilities_are_one() {
    let two: &[Option<i64>] = &[None, Some(2)];
    let with = |name| {
        let outputs = [("label", element::I64, two), (name, element::F32, two)];
        let file = file("Cast", &[("x", element::F32, two)], &outputs);
        facts(&file).unwrap().1
    };
    assert_eq!(with("scores"), TaskKind::Regression);
    assert_eq!(with("probabilities"), TaskKind::Binary);
}
