//! Damaged files are refused, or are models all the same: nothing in them makes us panic.

use std::fs;
use std::path::Path;

use ndarray::{Array2, ShapeBuilder};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Source, columns, import};
use crate::features::contract::Feature;
use crate::model::Scratch;
use crate::model::columns::propose;
use crate::model::manifest::Format;

/// What a damaged disk, a careless editor or an attacker makes of a file.
#[derive(Debug, Clone)]
enum Damage {
    Cut(prop::sample::Index),
    Byte(prop::sample::Index, u8),
    Word(prop::sample::Index, &'static str),
    Line { from: prop::sample::Index, to: prop::sample::Index },
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Byte(at, byte) => *at.get_mut(bytes) = *byte,
            Self::Word(at, word) => {
                let start = at.index(bytes.len());
                let is_end = |byte: &u8| byte.is_ascii_whitespace();
                let length = bytes[start..].iter().position(is_end).unwrap_or(0);
                bytes.splice(start..start + length, word.bytes());
            }
            Self::Line { from, to } => {
                let mut lines: Vec<Vec<u8>> =
                    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                let line = from.get(&lines).clone();
                lines.insert(to.index(lines.len()), line);
                *bytes = lines.concat();
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    let words =
        vec!["-1", "99999999999", "nan", "inf", "1e400", "", "0", "8", "Tree=1", "is_linear=1"];
    prop_oneof![
        index().prop_map(Damage::Cut),
        (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        (index(), prop::sample::select(words)).prop_map(|(at, word)| Damage::Word(at, word)),
        (index(), index()).prop_map(|(from, to)| Damage::Line { from, to }),
    ]
}

fn file(case: &str, name: &str) -> Vec<u8> {
    let path = format!("tests/conformance/{case}/{name}");
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Without the parameters after the trees, which are of no interest here.
fn lightgbm(case: &str) -> Vec<u8> {
    let mut bytes = file(case, "model.txt");
    let end = bytes.windows(12).position(|window| window == b"end of trees").unwrap();
    bytes.truncate(end + 13);
    bytes
}

/// With few trees and borders, so that damage meets what matters; the proposed contract.
fn catboost(case: &str, trees: &str) -> (Vec<u8>, Vec<Feature>) {
    let mut file: Value = serde_json::from_slice(&file(case, "model.json")).unwrap();
    file[trees].as_array_mut().unwrap().truncate(3);
    file["model_info"] = json!({"params": {"loss_function": {"type": "RMSE"}}});
    for feature in file["features_info"]["float_features"].as_array_mut().unwrap() {
        feature["borders"] = Value::Null;
    }
    // A value a line: words and lines are what gets damaged.
    let bytes = serde_json::to_vec_pretty(&file).unwrap();
    let contract = propose(&columns(Format::Catboost, &bytes).unwrap());
    (bytes, contract)
}

fn check(source: Source<'_>, damages: &[Damage]) {
    let mut bytes = source.bytes.to_vec();
    damages.iter().for_each(|damage| damage.apply(&mut bytes));

    if let Ok(model) = import(Source { bytes: &bytes, ..source }) {
        let shape = (70, model.columns().len());
        let x = Array2::from_shape_fn(shape.f(), |(row, _)| row as f64 / 7.0 - 2.0);
        let mut out = Array2::zeros((70, model.outputs()));
        model.predict(x.view(), &mut Scratch::default(), out.view_mut());
    }
}

proptest! {
    #[test]
    fn a_damaged_lightgbm_file_is_refused_or_scores_but_never_panics(
        damages in prop::collection::vec(damage(), 1..4),
        linear in any::<bool>(),
    ) {
        let case = if linear { "lightgbm-linear-tree-cat" } else { "lightgbm-sklearn-pandas-mixed" };
        check(Source::new(Format::Lightgbm, &lightgbm(case)), &damages);
    }

    #[test]
    fn a_damaged_catboost_file_is_refused_or_scores_but_never_panics(
        damages in prop::collection::vec(damage(), 1..3),
        nested in any::<bool>(),
    ) {
        let (case, trees) = if nested {
            ("catboost-depthwise", "trees")
        } else {
            ("catboost-onehot", "oblivious_trees")
        };
        let (bytes, features) = catboost(case, trees);
        check(Source { features: &features, ..Source::new(Format::Catboost, &bytes) }, &damages);
    }
}
