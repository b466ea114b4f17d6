//! `foretell-train`, as a data scientist starts it: from labelled events to a bundle, or to a refusal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::program::{foretell, stderr};

pub fn command(config: &Path, part: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foretell-train"));
    command.arg("--config").arg(config).args(part);
    command
}

/// Runs a part of a training to its end.
pub fn train(config: &Path, part: &[&str]) -> Output {
    command(config, part).output().expect("foretell-train can be run")
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The configuration that is shipped, with a folder of its own for bundles, and some lines changed.
fn flights(folder: &Path, changes: &[(&str, &str)]) -> PathBuf {
    let shipped = fs::read_to_string(repository().join("config/train.toml")).unwrap();
    let mut text =
        shipped.replace("\"../examples", &format!("\"{}/examples", repository().display()));
    let out = folder.join("bundles").display().to_string();
    // Fewer trees are enough to be judged.
    let ours =
        [("\"../target/train\"", format!("\"{out}\"")), ("trees = 120", "trees = 30".into())];
    let given = changes.iter().map(|(from, to)| (*from, (*to).to_owned()));
    for (from, to) in ours.into_iter().chain(given) {
        assert!(text.contains(from), "`{from}` in config/train.toml");
        text = text.replace(from, &to);
    }
    let path = folder.join("train.toml");
    fs::write(&path, text).unwrap();
    path
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_flights_become_a_version_that_has_earned_its_announcement() {
    let folder = tempfile::tempdir().unwrap();
    let config = flights(folder.path(), &[]);
    let trained = train(&config, &["run", "--version", "3"]);
    assert!(trained.status.success(), "{}", stderr(&trained));
    let said = stderr(&trained);
    assert!(said.contains("without_label:90") && said.contains("to 20265 rows"), "{said}");
    let bundle = folder.path().join("bundles/3");
    let inspected = foretell().args(["model", "inspect"]).arg(&bundle).output().unwrap();
    assert!(inspected.status.success(), "{}", stderr(&inspected));
    let (manifest, report) =
        (read(&bundle.join("manifest.json")), read(&bundle.join("report.json")));
    assert_eq!(manifest["training"]["rows"], 20265);
    assert_eq!(manifest["training"]["metrics"]["auc"], report["new"]["metrics"]["auc"]);
    assert_eq!(report["served"]["version"], "1");
    // Of the rows that it was fitted to.
    assert_eq!(manifest["reference"]["rows"], 20265);
    assert_eq!(manifest["reference"]["outputs"][0]["name"], "probability");
    // What examples/flights/README.md says of the whole of December is 0.8872.
    let served = report["served"]["metrics"]["auc"].as_f64().unwrap();
    assert!((served - 0.8872).abs() < 0.02, "{served}");
    assert!(report["corner_cases"].as_array().unwrap().iter().all(|case| case["holds"] == true));
    let page = fs::read_to_string(bundle.join("report.md")).unwrap();
    assert!(page.starts_with("# late-arrival version 3\n\nIt has earned"), "{page}");
    // A version never changes.
    let again = train(&config, &["pack"]);
    assert_eq!(again.status.code(), Some(65));
    assert!(stderr(&again).contains("a version never changes"), "{}", stderr(&again));
}

#[test]
fn a_version_that_is_not_good_enough_is_refused_with_all_reasons_and_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    // Extrapolates from the one missing temperature, and is worse than what serves.
    let logistic = "model = \"logistic\"";
    let forest = "model = \"random_forest_classifier\"";
    let (trees, depth) = ("trees = 30", "max_depth = 12");
    let config = flights(
        folder.path(),
        &[
            (forest, logistic),
            (trees, ""),
            (depth, ""),
            ("min_samples_leaf = 20", ""),
            ("worse_by_max = 0.03", "worse_by_max = 0.0"),
        ],
    );
    let trained = train(&config, &["run", "--version", "3"]);
    assert_eq!(trained.status.code(), Some(65), "{}", stderr(&trained));
    let said = stderr(&trained);
    for reason in
        ["worse than version 1, which serves", "brier is", "corner case 1: expected label"]
    {
        assert!(said.contains(reason), "`{reason}` in {said}");
    }
    assert!(!folder.path().join("bundles/3").exists());
    let packed = train(&config, &["pack"]);
    assert_eq!(packed.status.code(), Some(65));
    assert!(stderr(&packed).contains("has not earned"), "{}", stderr(&packed));
}

#[test]
fn each_part_takes_up_where_the_one_before_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let config = flights(folder.path(), &[]);
    for (part, earlier) in
        [("clean", "load"), ("fit", "clean"), ("evaluate", "clean"), ("pack", "fit")]
    {
        let early = train(&config, &[part]);
        assert_eq!(early.status.code(), Some(65), "{part}");
        let wanted = format!("hint: `foretell-train {earlier}` makes it");
        assert!(stderr(&early).contains(&wanted), "{part}: {}", stderr(&early));
    }
    assert_eq!(train(&config, &["announce"]).status.code(), Some(78));
}

/// y = 3a − 2b + 1, from a table with its own labels.
#[test]
fn a_table_with_its_own_labels_becomes_a_regression() {
    let folder = tempfile::tempdir().unwrap();
    let csv: String = (0..200).fold("id,a,b,y\n".into(), |text, n| {
        let (a, b) = (f64::from(n % 17), f64::from(n % 11));
        // One without a label, one that repeats an id.
        let (id, y) =
            (n.max(1), if n == 7 { String::new() } else { (3.0 * a - 2.0 * b + 1.0).to_string() });
        format!("{text}{id},{a},{b},{y}\n")
    });
    fs::write(folder.path().join("rows.csv"), csv).unwrap();
    let contract = r#"{"task":{"kind":"regression"},"features":[
        {"name":"a","path":"/a","kind":"number","required":true},
        {"name":"b","path":"/b","kind":"number","required":true}]}"#;
    fs::write(folder.path().join("contract.json"), contract).unwrap();
    let config = folder.path().join("train.toml");
    let text = r#"
        [model]
        name = "plane"
        contract = "contract.json"
        [data]
        events = ["rows.csv"]
        id = "/id"
        label = "/y"
        [fit]
        model = "linear"
        [evaluate]
        holdout = 0.25
        folds = 2
        bounds = {rmse = {max = 1e-9}, r2 = {min = 0.999999}}
        [bundle]
        folder = "bundles"
    "#;
    fs::write(&config, text).unwrap();
    let trained = train(&config, &["run", "--version", "1"]);
    assert!(trained.status.success(), "{}", stderr(&trained));
    let said = stderr(&trained);
    assert!(said.contains("without_label:1") && said.contains("duplicates:1"), "{said}");
    let report = read(&folder.path().join("bundles/1/report.json"));
    assert_eq!(report["folds"].as_array().unwrap().len(), 2);
    let bundle = folder.path().join("bundles/1");
    let scored = foretell()
        .args(["score", "--bundle"])
        .arg(bundle)
        .write_stdin("{\"a\":100,\"b\":-10}\n")
        .output()
        .unwrap();
    let prediction: Value = serde_json::from_slice(&scored.stdout).unwrap();
    let value = prediction["prediction"].as_f64().unwrap();
    assert!((value - 321.0).abs() < 1e-6, "{prediction}");
}

#[test]
fn what_is_wrong_with_the_configuration_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for (from, to, wanted) in [
        ("seed = 6", "sead = 6", "sead"),
        ("holdout = 0.25", "holdout = 1.5", "`evaluate.holdout`: 1.5 is not between 0 and 1"),
        ("\"/id\"", "7", "train.toml"),
        ("[evaluate.bounds.auc]", "[evaluate.bounds.acu]", "`evaluate.bounds.acu` bounds nothing"),
        ("slices = [\"origin\"]", "slices = [\"orgin\"]", "names `orgin`, which is no feature"),
        ("trees = 30", "alpha = 1.0", "alpha"),
        ("\"random_forest_classifier\"", "\"random_forest_regressor\"", "which says numbers"),
        ("\"random_forest_classifier\"", "\"random_forest\"", "random_forest_regressor"),
    ] {
        let config = flights(folder.path(), &[(from, to)]);
        let _ = fs::remove_dir_all(folder.path().join("bundles"));
        let ended = train(&config, &["run"]);
        let said = stderr(&ended);
        assert!(matches!(ended.status.code(), Some(65 | 78)), "{from}: {said}");
        assert!(said.contains(wanted), "`{wanted}` in {said}");
    }
}

/// Each schedule starts the program with words that it understands: it gets as far as its configuration.
#[test]
fn the_schedules_start_it_as_it_wants_to_be_started() {
    for (file, words) in [
        ("config/schedules/crontab", "foretell-train run --config /etc/foretell/train.toml"),
        (
            "config/schedules/foretell-train.service",
            "foretell-train run --config /etc/foretell/train.toml",
        ),
        ("config/kubernetes/train.yaml", r#"["run", "--config", "/etc/foretell/train.toml"]"#),
        ("Dockerfile", r#"["run", "--config", "/etc/foretell/train.toml"]"#),
    ] {
        let text = fs::read_to_string(repository().join(file)).unwrap();
        assert!(text.contains(words), "`{words}` in {file}");
    }
    let started = Command::new(env!("CARGO_BIN_EXE_foretell-train"))
        .args(["run", "--config", "/etc/foretell/train.toml"])
        .output()
        .unwrap();
    assert_eq!(started.status.code(), Some(78), "{}", stderr(&started));
    assert!(
        stderr(&started).contains("cannot read `/etc/foretell/train.toml`"),
        "{}",
        stderr(&started)
    );
}
