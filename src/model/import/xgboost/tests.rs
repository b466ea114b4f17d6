//! What no file of the library shows, and what a hostile one may.

use std::fs;
use std::path::Path;

use ndarray::array;
use serde_json::{Value, json};

use crate::model::Model;
use crate::model::import::{Source, import};
use crate::model::manifest::Format;

fn case(name: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    serde_json::from_slice(&fs::read(root.join(name).join("model.json")).unwrap()).unwrap()
}

fn read(file: &Value) -> Result<Model, String> {
    let text = file.to_string();
    import(Source::new(Format::Xgboost, text.as_bytes())).map_err(|error| error.to_string())
}

/// A model of one tree over `features` columns.
fn model(features: usize, outputs: usize, tree: &Value) -> Value {
    json!({"version": [3, 4, 1], "learner": {
        "attributes": {}, "feature_names": [], "feature_types": [],
        "learner_model_param": {
            "base_score": "0", "num_class": "0", "num_feature": features.to_string(),
            "num_target": outputs.to_string(),
        },
        "objective": {"name": "reg:squarederror"},
        "gradient_booster": {"name": "gbtree", "model": {
            "gbtree_model_param": {"num_trees": "1", "num_parallel_tree": "1"},
            "iteration_indptr": [0, 1], "tree_info": [0], "trees": [tree],
        }},
    }})
}

/// A leaf, whose vector stands where `right` says.
fn leaf(right: i64, weights: &[f64]) -> Value {
    json!({
        "tree_param": {"num_nodes": "1", "size_leaf_vector": weights.len().to_string()},
        "left_children": [-1], "right_children": [right], "split_indices": [0],
        "split_conditions": [0.0], "default_left": [0], "leaf_weights": weights,
    })
}

#[test]
fn a_tree_of_one_leaf_may_hold_a_vector() {
    for right in [-1, 0] {
        let model = read(&model(1, 2, &leaf(right, &[0.5, -1.5]))).unwrap();
        assert_eq!(model.outputs_of(&array![[7.0]]), array![[0.5, -1.5]]);
    }
}

#[test]
fn leaves_do_not_share_a_vector() {
    let tree = json!({
        "tree_param": {"num_nodes": "3", "size_leaf_vector": "2"},
        "left_children": [1, -1, -1], "right_children": [2, 0, 0], "split_indices": [0, 0, 0],
        "split_conditions": [0.5, 0.0, 0.0], "default_left": [0, 0, 0], "leaf_weights": [1.0, 2.0],
    });
    let told = read(&model(1, 2, &tree)).unwrap_err();
    assert!(told.contains("`leaf_weights` holds 2 values for 4"), "{told}");
}

#[test]
fn dart_without_its_weights_is_refused() {
    let mut file = case("xgboost-v17-dart");
    assert!(read(&file).is_ok());
    file["learner"]["gradient_booster"].as_object_mut().unwrap().remove("weight_drop").unwrap();
    let told = read(&file).unwrap_err();
    assert!(told.contains("`dart` has no `weight_drop`"), "{told}");
}

/// A split whose only category is far out; the tables of many such would be gigabytes.
#[test]
fn far_categories_are_walked_or_refused() {
    let tree = |code: u32| {
        json!({
            "tree_param": {"num_nodes": "3", "size_leaf_vector": "1"},
            "left_children": [1, -1, -1], "right_children": [2, -1, -1],
            "split_indices": [0, 0, 0], "split_conditions": [0.0, 3.0, 4.0],
            "default_left": [0, 0, 0], "split_type": [1, 0, 0], "categories": [code],
            "categories_nodes": [0], "categories_segments": [0], "categories_sizes": [1],
        })
    };
    let code = (1 << 24) - 1;
    let model = |count: usize| {
        let mut file = model(count, 1, &tree(code));
        let trees: Vec<Value> = (0..count)
            .map(|column| {
                let mut tree = tree(code);
                tree["split_indices"][0] = json!(column);
                tree
            })
            .collect();
        let booster = &mut file["learner"]["gradient_booster"]["model"];
        booster["gbtree_model_param"]["num_trees"] = json!(count.to_string());
        booster["iteration_indptr"] = (0..=count).collect();
        booster["tree_info"] = json!(vec![0; count]);
        booster["trees"] = json!(trees);
        file
    };
    let one = read(&model(1)).unwrap();
    let x = array![[f64::from(code)], [1.0], [f64::NAN]];
    assert_eq!(one.outputs_of(&x), array![[4.0], [3.0], [4.0]]);
    let told = read(&model(3)).unwrap_err();
    assert!(told.contains("sets of `categories` need more than"), "{told}");
}
