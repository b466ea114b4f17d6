//! Versions so small that a prediction's value tells which one made it.

use std::sync::Arc;

use foretell::encode::Encoder;
use foretell::features::contract::{Feature, Kind};
use foretell::features::decode::{Decoder, Limits};
use foretell::model::import::{Source, import};
use foretell::model::manifest::{Format, Task, TaskKind};
use foretell::model::version::Version;

/// The longest event that is decoded.
pub const EVENT_BYTES_MAX: usize = 2_000;

/// Version `number`: one split of `x` at a half. Every other version has a second column, so that
/// a change of version changes the matrix.
pub fn version(number: usize, encoder: &Encoder) -> Arc<Version> {
    let names: &[&str] = if number.is_multiple_of(2) { &["x"] } else { &["x", "y"] };
    let features: Vec<Feature> = names.iter().map(|name| feature(name, *name == "x")).collect();
    let limits = Limits { event_bytes_max: EVENT_BYTES_MAX, json_depth_max: 8 };
    Arc::new(Version {
        model: "tiny".into(),
        version: number.to_string(),
        digest: format!("sha256:{number:064}"),
        task: Task { kind: TaskKind::Regression, labels: Vec::new(), threshold: None },
        engine: import(Source::new(Format::Lightgbm, model(number, names).as_bytes()))
            .expect("a model"),
        decoder: Decoder::new(&features, encoder.captures(), limits).expect("a contract"),
        contract: features,
        reference: None,
        bytes: 0,
    })
}

/// What version `number` predicts for `x`.
pub fn value(number: usize, x: f64) -> f64 {
    10.0 * number as f64 + if x <= 0.5 { 1.0 } else { 2.0 }
}

fn feature(name: &str, required: bool) -> Feature {
    let path = format!("/{name}");
    Feature { name: name.into(), path, kind: Kind::Number, required, missing: None }
}

/// As LightGBM writes it.
fn model(number: usize, names: &[&str]) -> String {
    let infos = vec!["[0:1]"; names.len()].join(" ");
    format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n\
         max_feature_idx={last}\nobjective=regression\nfeature_names={names}\nfeature_infos={infos}\n\n\
         Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nsplit_gain=1\nthreshold=0.5\n\
         decision_type=2\nleft_child=-1\nright_child=-2\nleaf_value={low} {high}\n\
         leaf_weight=1 1\nleaf_count=1 1\ninternal_value=0\ninternal_weight=2\ninternal_count=2\n\
         is_linear=0\nshrinkage=1\n\n\nend of trees\n",
        last = names.len() - 1,
        names = names.join(" "),
        low = value(number, 0.0),
        high = value(number, 1.0),
    )
}
