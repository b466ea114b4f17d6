//! schemas/ is what the types say. `FORETELL_BLESS=1 cargo test --test it schemas` writes it anew.

use std::fs;
use std::path::{Path, PathBuf};

use foretell::config::Config;
use foretell::control::message::Message;
use foretell::encode::{DeadLetterHeaders, Prediction, Rejection};
use foretell::model::import::forest::ForestFile;
use foretell::model::import::linear::LinearFile;
use foretell::model::manifest::{Contract, GoldenRow, Manifest};
use foretell::observe::quality::QualityReport;
use foretell::observe::reports::Report;
use schemars::{Schema, schema_for};

fn schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("prediction", schema_for!(Prediction<'static>)),
        ("rejection", schema_for!(Rejection<'static>)),
        ("dead-letter", schema_for!(DeadLetterHeaders)),
        ("control", schema_for!(Message)),
        ("report", schema_for!(Report)),
        ("quality-report", schema_for!(QualityReport)),
        ("manifest", schema_for!(Manifest)),
        ("golden-row", schema_for!(GoldenRow)),
        ("contract", schema_for!(Contract)),
        ("forest", schema_for!(ForestFile)),
        ("linear", schema_for!(LinearFile)),
        ("config", schema_for!(Config)),
    ]
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{name}.schema.json"))
}

/// The committed schema of this name, ready to judge.
pub fn validator(name: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(path(name)).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

/// Fails with what is wrong where, if `value` is not as the schema of `name` says.
#[track_caller]
pub fn assert_valid(name: &str, value: &serde_json::Value) {
    let faults: Vec<_> = validator(name)
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{value} is no {name}: {faults:#?}");
}

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    for (name, schema) in schemas() {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("FORETELL_BLESS").is_some() {
            fs::write(path(name), &text).unwrap();
        }
        let committed = fs::read_to_string(path(name)).unwrap_or_default();
        assert!(
            committed == text,
            "schemas/{name}.schema.json is not as the code has it: FORETELL_BLESS=1"
        );
    }
}

#[test]
fn the_example_bundles_are_valid() {
    for version in ["1", "2"] {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/bundles").join(version);
        let manifest = fs::read_to_string(folder.join("manifest.json")).unwrap();
        assert_valid("manifest", &serde_json::from_str(&manifest).unwrap());
        let golden = fs::read_to_string(folder.join("golden.jsonl")).unwrap();
        for line in golden.lines() {
            assert_valid("golden-row", &serde_json::from_str(line).unwrap());
        }
    }
}

#[test]
fn the_messages_of_the_design_are_valid() {
    for message in [
        r#"{"type":"retrain-complete","model":"late-arrival","version":"7","uri":"file:///models/7","digest":"sha256:ab","rollout":"immediate"}"#,
        r#"{"type":"promote","model":"late-arrival","version":"7"}"#,
        r#"{"type":"rollback","model":"late-arrival","from":"7","to":"6","reason":"auc fell"}"#,
        r#"{"type":"resume","model":"late-arrival","reason":"the producer is mended"}"#,
        r#"{"type":"retrain-request","model":"late-arrival","reason":"drift in dep_delay"}"#,
    ] {
        assert_valid("control", &serde_json::from_str(message).unwrap());
    }
}
