//! Damaged files are refused, or are models all the same: nothing in them makes us panic.

use std::fs;
use std::path::Path;

use ndarray::{Array2, ShapeBuilder};
use proptest::prelude::*;

use super::{Source, facts, import};
use crate::model::columns::propose;
use crate::model::damage::damages;
use crate::model::manifest::Format;

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
        damages in damages(),
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
            model.outputs_of(&x);
        }
    }
}
