//! Damaged files are refused, or are models all the same: nothing in them makes us panic.

use std::fs;
use std::path::Path;

use ndarray::{Array2, ShapeBuilder};
use proptest::prelude::*;

use super::{Source, facts, import};
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
                let is_end = |byte: &u8| byte.is_ascii_whitespace() || b",]}".contains(byte);
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

/// A file that its format reads, or is an error.
fn file() -> impl Strategy<Value = (Format, &'static str)> {
    prop::sample::select(vec![
        (Format::Catboost, "catboost-depthwise/model.json"),
        (Format::Catboost, "catboost-onehot/model.json"),
        (Format::Lightgbm, "lightgbm-sklearn-pandas-mixed/model.txt"),
        (Format::Lightgbm, "lightgbm-linear-tree-cat/model.txt"),
        (Format::Xgboost, "xgboost-v17-categorical-partition/model.json"),
        (Format::Xgboost, "xgboost-multi-output-class/model.ubj"),
        (Format::Xgboost, "xgboost-gblinear-multi/model.json"),
        (Format::Xgboost, "xgboost-pandas-mixed/model.ubj"),
    ])
}

proptest! {
    #[test]
    fn a_damaged_file_is_refused_or_scores_but_never_panics(
        damages in prop::collection::vec(damage(), 1..4),
        (format, path) in file(),
    ) {
        let path = format!("tests/conformance/{path}");
        let mut bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        // The parameters after LightGBM's trees are of no interest here.
        let end = bytes.windows(12).position(|window| window == b"end of trees");
        bytes.truncate(end.map_or(bytes.len(), |end| end + 13));
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        let contract = facts(format, &bytes).map(|facts| propose(&facts.columns));
        let features = contract.unwrap_or_default();
        let source = Source { features: &features, ..Source::new(format, &bytes) };
        if let Ok(model) = import(source) {
            let shape = (70, model.columns().len());
            let x = Array2::from_shape_fn(shape.f(), |(row, _)| row as f64 / 7.0 - 2.0);
            let mut out = Array2::zeros((70, model.outputs()));
            model.predict(x.view(), &mut Scratch::default(), out.view_mut());
        }
    }
}
