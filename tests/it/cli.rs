//! The command line as a user and as a script meet it. What needs a broker is in `kafka/`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::program::{foretell, stderr};
use crate::schemas::assert_valid;

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights").join(path)
}

/// The golden rows of a bundle: events and outputs.
fn golden(version: &str) -> Vec<(String, f64)> {
    let text = fs::read_to_string(example(&format!("bundles/{version}/golden.jsonl"))).unwrap();
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        (row["event"].to_string(), row["output"][0].as_f64().unwrap())
    };
    text.lines().map(row).collect()
}

#[test]
fn score_gives_the_training_librarys_own_predictions() {
    for version in ["1", "2"] {
        let golden = golden(version);
        let events: String = golden.iter().map(|(event, _)| format!("{event}\n")).collect();
        let bundle = example(&format!("bundles/{version}"));
        let output = foretell()
            .args(["score", "--id", "/id", "--carry", "from=/origin", "--bundle"])
            .arg(bundle)
            .write_stdin(events)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), golden.len());
        for (line, (event, expected)) in text.lines().zip(&golden) {
            let prediction: Value = serde_json::from_str(line).unwrap();
            let event: Value = serde_json::from_str(event).unwrap();
            assert_valid("prediction", &prediction);
            assert_eq!(prediction["probability"].as_f64(), Some(*expected));
            assert_eq!(prediction["id"], event["id"]);
            assert_eq!(prediction["carry"]["from"], event["origin"]);
            assert_eq!(prediction["version"], version);
        }
    }
}

#[test]
fn score_tells_what_it_rejects_and_scores_the_rest() {
    let (good, _) = &golden("1")[0];
    let output = foretell()
        .args(["score", "--bundle"])
        .arg(example("bundles/1"))
        .write_stdin(format!("{good}\n{{\"broken\"\n\n[]\n{good}\n"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(65));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
    let told = stderr(&output);
    assert!(told.contains("line 2: not_json: "), "{told}");
    assert!(told.contains("line 4: not_an_object: "), "{told}");
    assert!(told.contains("2 events were rejected"), "{told}");
}

/// Packs the flights model anew, with this contract changed by `change`.
fn pack(out: &Path, change: impl FnOnce(&mut Value)) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let manifest = fs::read_to_string(example("bundles/1/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let mut contract = json!({"task": manifest["task"], "features": manifest["features"]});
    change(&mut contract);
    let contract_file = folder.path().join("contract.json");
    fs::write(&contract_file, contract.to_string()).unwrap();
    foretell()
        .args(["model", "pack", "--name", "late-arrival", "--version", "3", "--json", "--model"])
        .arg(example("bundles/1/model.txt"))
        .arg("--contract")
        .arg(contract_file)
        .arg("--golden")
        .arg(example("bundles/1/golden.jsonl"))
        .arg("--out")
        .arg(out)
        .output()
        .unwrap()
}

#[test]
fn pack_makes_a_bundle_that_inspect_lets_pass() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("models/3");
    let packed = pack(&out, |_| {});
    assert!(packed.status.success(), "{}", stderr(&packed));
    let told: Value = serde_json::from_slice(&packed.stdout).unwrap();
    assert_eq!(told["golden_difference"], 0.0);
    let manifest = fs::read_to_string(out.join("manifest.json")).unwrap();
    assert_valid("manifest", &serde_json::from_str(&manifest).unwrap());

    let inspected = foretell().args(["model", "inspect", "--json"]).arg(&out).output().unwrap();
    assert!(inspected.status.success(), "{}", stderr(&inspected));
    let seen: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(seen["digest"], told["digest"]);

    let again = pack(&out, |_| {});
    assert_eq!(again.status.code(), Some(65));
    assert!(stderr(&again).contains("a version never changes"), "{}", stderr(&again));
}

#[test]
fn pack_refuses_a_contract_that_the_golden_rows_contradict() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("3");
    let swapped = pack(&out, |contract| {
        contract["features"].as_array_mut().unwrap().swap(0, 4);
    });
    assert_eq!(swapped.status.code(), Some(65));
    let told = stderr(&swapped);
    assert!(told.contains("contract: column 0 of the model is `departure_delay`"), "{told}");
    let other_field = pack(&out, |contract| {
        contract["features"][4]["path"] = json!("/scheduled/minutes");
    });
    let told = stderr(&other_field);
    assert!(told.contains("golden: row 1 gives"), "{told}");
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "a failed pack leaves nothing behind");
}

#[test]
fn a_bundle_with_a_changed_model_is_refused_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["manifest.json", "model.txt", "golden.jsonl"] {
        fs::copy(example("bundles/1").join(name), folder.path().join(name)).unwrap();
    }
    let model = folder.path().join("model.txt");
    let text = fs::read_to_string(&model).unwrap();
    let longer = text.replacen("leaf_value=", "leaf_value=1", 1);
    let other = text.replacen("leaf_value=-0.", "leaf_value=-1.", 1);
    assert!(other != text && other.len() == text.len());
    for changed in [longer, other] {
        fs::write(&model, changed).unwrap();
        let output = foretell().args(["model", "inspect"]).arg(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(65));
        assert!(stderr(&output).contains("its manifest says"), "{}", stderr(&output));
    }
}

#[test]
fn usage_errors_exit_with_64() {
    for arguments in [&["frobnicate"][..], &["run", "--frobnicate"], &["model", "promote"]] {
        let output = foretell().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", stderr(&output));
    }
    assert!(foretell().arg("--help").output().unwrap().status.success());
}

#[test]
fn a_configuration_with_many_faults_tells_all_of_them_and_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("foretell.toml");
    fs::write(&file, "[batch]\nrows_maxx = 3\nage_max_ms = \"soon\"\n[topics]\nevents = 7\n")
        .unwrap();
    let output = foretell().args(["run", "--config"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let told = stderr(&output);
    for part in [
        "rows_maxx",
        "did you mean `batch.rows_max`?",
        "age_max_ms",
        "topics.events",
        "kafka.bootstrap_servers",
    ] {
        assert!(told.contains(part), "`{part}` is missing in: {told}");
    }
}

#[test]
fn completions_and_man_page_come_from_the_command_line_itself() {
    for shell in ["bash", "zsh", "fish"] {
        let output = foretell().args(["completions", shell]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("rollback"), "{shell}");
    }
    let man = foretell().arg("man").output().unwrap();
    assert!(String::from_utf8_lossy(&man.stdout).contains(".TH foretell"));
}
