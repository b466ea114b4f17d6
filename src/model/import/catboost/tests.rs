//! What the conformance cases do not show: categories and contracts, refusals, classes.

use std::fs;
use std::path::Path;

use ndarray::array;
use serde_json::{Value, json};

use crate::features::contract::{Feature, Kind, Term, Unknown};
use crate::model::Model;
use crate::model::import::{ImportError, Source, facts, import};
use crate::model::manifest::{Format, Iterations};

use super::features::hash;

/// Two columns: a number `x`, and a category `colour` whose splits ask for `red` and `3`.
fn model() -> Value {
    let float = |border: f64| json!({"split_type": "FloatFeature", "float_feature_index": 0, "border": border});
    let colour = |text: &str| json!({"split_type": "OneHotFeature", "cat_feature_index": 0, "value": hash(text)});
    json!({
        "model_info": {"params": {"loss_function": {"type": "RMSE"}}},
        "features_info": {
            "float_features": [{"feature_index": 0, "flat_feature_index": 4, "feature_name": "x",
                "nan_value_treatment": "AsTrue"}],
            "categorical_features": [{"feature_index": 0, "flat_feature_index": 2,
                "feature_name": "colour", "values": [hash("red"), hash("3")]}],
            "cat_features_hash": [
                {"hash": hash("red") as u32, "value": "red"}, {"hash": hash("3") as u32, "value": "3"},
                {"hash": hash("blue") as u32, "value": "blue"}],
        },
        "oblivious_trees": [
            {"splits": [float(0.5), colour("red")], "leaf_values": [1, 2, 3, 4]},
            {"splits": [colour("3")], "leaf_values": [0, 10]},
        ],
        "scale_and_bias": [2, [100]],
    })
}

fn contract(terms: &[Term]) -> Vec<Feature> {
    let feature = |name: &str, kind| Feature {
        name: name.into(),
        path: format!("/{name}"),
        kind,
        required: false,
        missing: None,
    };
    let kind = Kind::Category { vocabulary: terms.to_vec(), unknown: Unknown::Missing };
    vec![feature("colour", kind), feature("x", Kind::Number)]
}

fn text(text: &str) -> Term {
    Term::Text(text.into())
}

fn read(model: &Value, contract: &[Feature]) -> Result<Model, ImportError> {
    let bytes = model.to_string();
    import(Source { features: contract, ..Source::new(Format::Catboost, bytes.as_bytes()) })
}

#[test]
fn a_hash_is_that_of_catboost() {
    let path = "tests/conformance/malformed/catboost-online-ctr/model.json";
    let mut checked = 0;
    for path in [path, "tests/conformance/catboost-onehot/model.json"] {
        let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let file: Value = serde_json::from_slice(&bytes).unwrap();
        for string in file["features_info"]["cat_features_hash"].as_array().unwrap() {
            let text = string["value"].as_str().unwrap();
            assert_eq!(u64::from(hash(text) as u32), string["hash"].as_u64().unwrap(), "{text}");
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked}");
}

#[test]
fn a_category_is_its_place_in_the_contract_and_the_model_knows_its_text() {
    let model =
        read(&model(), &contract(&[text("green"), text("red"), Term::Number(3.0)])).unwrap();
    // Columns in flat order, though flat numbers have gaps: colour, x.
    let x = array![
        [1.0, 0.0], // red, not greater
        [1.0, 1.0],
        [2.0, 0.0], // 3
        [0.0, 0.5], // green; the border itself is not greater
        [3.0, 0.0], // unknown ones are none of them
        [f64::NAN, f64::NAN],
    ];
    let sums = [3.0, 4.0, 1.0 + 10.0, 1.0, 1.0, 2.0];
    let wanted = sums.map(|sum| 2.0 * sum + 100.0);
    assert_eq!(model.outputs_of(&x).into_raw_vec_and_offset().0, wanted);
}

#[test]
fn the_strings_that_splits_ask_for_are_proposed() {
    let bytes = model().to_string();
    let columns = facts(Format::Catboost, bytes.as_bytes()).unwrap().columns;
    let proposed = crate::model::columns::propose(&columns);
    assert_eq!(proposed, contract(&[text("3"), text("red")]));
}

#[test]
fn a_column_has_its_name_of_training_or_its_number() {
    let mut model = model();
    let named = |model: &Value| {
        let columns = facts(Format::Catboost, model.to_string().as_bytes()).unwrap().columns;
        columns.into_iter().map(|column| (column.name, column.named)).collect::<Vec<_>>()
    };
    let pair = |name: &str, named| (name.to_owned(), named);
    model["features_info"]["float_features"][0]["feature_name"] = Value::Null;
    assert_eq!(named(&model), [pair("colour", true), pair("4", false)]);
    model["features_info"]["float_features"][0]["feature_id"] = json!("4");
    assert_eq!(named(&model), [pair("colour", true), pair("4", false)]);
    model["features_info"]["float_features"][0]["feature_id"] = json!("x");
    assert_eq!(named(&model), [pair("colour", true), pair("x", true)]);
}

#[test]
fn a_vocabulary_of_something_else_is_refused() {
    for (terms, wanted) in [
        (vec![text("cat"), text("dog")], "none of the vocabulary of `colour`"),
        (vec![text("red"), Term::Boolean(true)], "holds true: CatBoost takes strings and whole"),
        (vec![text("red"), Term::Number(0.5)], "holds 0.5: CatBoost takes strings and whole"),
    ] {
        let error = read(&model(), &contract(&terms)).unwrap_err().to_string();
        assert!(error.contains(wanted), "`{error}` does not say `{wanted}`");
    }
    let mut numbers = contract(&[]);
    numbers[0].kind = Kind::Number;
    let error = read(&model(), &numbers).unwrap_err().to_string();
    assert!(error.contains("`colour` does not: it needs `kind` `category`"), "{error}");
}

#[test]
fn losses_with_classes_have_an_output_a_class() {
    let mut model = model();
    model["model_info"] = json!({"params": {"loss_function": {"type": "MultiClassOneVsAll"}},
        "class_params": {"class_names": ["a", "b"]}});
    model["oblivious_trees"] = json!([{"splits": [], "leaf_values": [0, 1]}]);
    model["scale_and_bias"] = json!([1, [0, -1]]);
    let found = read(&model, &[]).unwrap().outputs_of(&array![[0.0, 0.0]]);
    assert_eq!(found, array![[0.5, 0.5]]);
    model["model_info"]["class_params"]["class_names"] = json!(["a", "b", "c"]);
    let error = read(&model, &[]).unwrap_err().to_string();
    assert!(error.contains("names 3 classes, the trees have outputs for 2"), "{error}");
}

#[test]
fn iterations_are_trees() {
    let bytes = model().to_string();
    let contract = contract(&[text("3"), text("red")]);
    let iterations = Some(Iterations { from: 1, to: 2 });
    let source = Source {
        iterations,
        features: &contract,
        ..Source::new(Format::Catboost, bytes.as_bytes())
    };
    assert_eq!(import(source).unwrap().outputs_of(&array![[0.0, 0.0]]), array![[120.0]]);
}

#[test]
fn what_is_doubtful_is_refused_and_the_message_says_where() {
    let leaf = json!({"value": 1});
    for (pointer, value, wanted) in [
        ("/model_info", json!({}), "`model_info` has no `params`"),
        (
            "/model_info/params/loss_function/type",
            json!("RMSEWithUncertainty"),
            "loss function `RMSEWithUncertainty` is not supported; train with one of these: Logloss",
        ),
        (
            "/model_info/params/loss_function/type",
            json!("MultiClass"),
            "1 outputs, which `MultiClass` never",
        ),
        ("/scale_and_bias/1", json!([]), "`scale_and_bias` holds no bias"),
        ("/scale_and_bias/1", json!([1, 2]), "2 outputs, which `RMSE` never has"),
        ("/oblivious_trees", json!([]), "the model has no trees"),
        ("/oblivious_trees", Value::Null, "neither `oblivious_trees` nor `trees`"),
        (
            "/oblivious_trees/1/splits/0/value",
            json!(7),
            "`value` 7 is none of the `values` of categorical feature 0 (tree 1)",
        ),
        (
            "/oblivious_trees/1/splits/0/cat_feature_index",
            json!(1),
            "`cat_feature_index` 1 is not in",
        ),
        (
            "/oblivious_trees/0/splits/0/border",
            json!(1e300),
            "split 0: `border` 1e300 is beyond f32 (tree 0)",
        ),
        ("/oblivious_trees/0/splits/0/border", Value::Null, "no `border`"),
        (
            "/oblivious_trees/0/splits/0/float_feature_index",
            json!(-1),
            "invalid value: integer `-1`",
        ),
        (
            "/features_info/float_features/0/flat_feature_index",
            json!(2),
            "two features have `flat_feature_index` 2",
        ),
        ("/features_info/cat_features_hash", json!("none"), "`features_info.cat_features_hash`"),
    ] {
        let mut model = model();
        *model.pointer_mut(pointer).unwrap() = value;
        let error = read(&model, &[]).unwrap_err().to_string();
        assert!(error.contains(wanted), "{pointer}: `{error}` does not say `{wanted}`");
    }
    for (key, value, wanted) in [
        ("trees", json!([leaf]), "both `oblivious_trees` and `trees`"),
        ("features_info", json!({"text_features": [{}]}), "text features are not supported"),
    ] {
        let mut model = model();
        model[key] = value;
        let error = read(&model, &[]).unwrap_err().to_string();
        assert!(error.contains(wanted), "{key}: `{error}` does not say `{wanted}`");
    }
}

#[test]
fn nested_trees_are_checked_node_by_node() {
    let mut model = model();
    model["oblivious_trees"] = Value::Null;
    let split = json!({"split_type": "FloatFeature", "float_feature_index": 0, "border": 0});
    let (one, two) = (json!({"value": 1}), json!({"value": [2]}));
    model["trees"] = json!([{"split": split, "left": one, "right": two}]);
    let x = array![[0.0, 0.0], [0.0, 1.0]];
    assert_eq!(read(&model, &[]).unwrap().outputs_of(&x), array![[102.0], [104.0]]);
    for (node, wanted) in [
        (json!({"split": split, "left": one}), "neither `split`, `left` and `right` alone"),
        (
            json!({"split": split, "left": one, "right": one, "value": 1}),
            "nor `value` alone (tree 0)",
        ),
        (json!({}), "nor `value` alone"),
        (
            json!({"split": split, "left": one, "right": {"value": [1, 2]}}),
            "holds 2 numbers for 1 outputs (tree 0)",
        ),
        (json!({"value": "1"}), "`trees[0].value`"),
    ] {
        model["trees"] = json!([node]);
        let error = read(&model, &[]).unwrap_err().to_string();
        assert!(error.contains(wanted), "`{error}` does not say `{wanted}`");
    }
}

#[test]
fn json_nested_without_end_is_refused() {
    let depth = 10_000;
    let nested = r#"{"left":"#.repeat(depth) + "0" + &"}".repeat(depth);
    let mut model = model();
    model["oblivious_trees"] = Value::Null;
    model["trees"] = json!(["NESTED"]);
    let bytes = model.to_string().replace("\"NESTED\"", &nested);
    let error = import(Source::new(Format::Catboost, bytes.as_bytes())).unwrap_err().to_string();
    assert!(error.contains("recursion limit exceeded"), "{error}");
}
