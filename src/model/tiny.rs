//! Versions so small that a test knows what each says of each event.

use std::sync::Arc;

use super::import::{Source, import};
use super::manifest::{Format, Task, TaskKind};
use super::version::Version;
use crate::features::contract::{Feature, Kind};
use crate::features::decode::{Decoder, Limits};

/// A classifier that has one split: where feature `x` is above `half`, the probability is `high`,
/// else `low`. Every feature is required and stands at `/name`.
pub fn version(name: &str, features: &[&str], half: f64, [low, high]: [f64; 2]) -> Arc<Version> {
    let feature = |name: &&str| Feature {
        name: (*name).into(),
        path: format!("/{name}"),
        kind: Kind::Number,
        required: true,
        missing: None,
    };
    let contract: Vec<_> = features.iter().map(feature).collect();
    let limits = Limits { event_bytes_max: 1_024, json_depth_max: 8 };
    let model = model(features, half, low, high);
    Arc::new(Version {
        model: "tiny".into(),
        version: name.into(),
        digest: format!("sha256:{name}"),
        task: Task { kind: TaskKind::Binary, labels: Vec::new(), threshold: None },
        engine: import(Source::new(Format::Lightgbm, model.as_bytes())).expect("a model"),
        decoder: Decoder::new(&contract, &[], limits).expect("a contract"),
        contract,
        reference: None,
        bytes: model.len() as u64,
    })
}

/// As LightGBM writes it.
fn model(features: &[&str], half: f64, low: f64, high: f64) -> String {
    let (names, infos) = (features.join(" "), vec!["[0:1]"; features.len()].join(" "));
    let last = features.len() - 1;
    format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n\
         max_feature_idx={last}\nobjective=regression\nfeature_names={names}\nfeature_infos={infos}\n\n\
         Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold={half}\ndecision_type=2\n\
         left_child=-1\nright_child=-2\nleaf_value={low} {high}\nshrinkage=1\n\n\n\
         Tree=1\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=1000000\ndecision_type=2\n\
         left_child=-1\nright_child=-2\nleaf_value=0 1e308\nshrinkage=1\n\n\n\
         Tree=2\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=1000000\ndecision_type=2\n\
         left_child=-1\nright_child=-2\nleaf_value=0 1e308\nshrinkage=1\n\n\nend of trees\n"
    )
}
