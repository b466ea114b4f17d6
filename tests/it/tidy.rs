//! The house keeps its order: what may import what, and where the few sharp tools are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms that it may import from, besides itself. The core (`score` and below)
/// has no IO, no clock, no threads and no metrics.
const LAW: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("reject", &[]),
    ("heart", &[]),
    ("stop", &[]),
    ("config", &[]),
    ("batch", &["record"]),
    ("breaker", &["reject"]),
    ("outbox", &["batch", "record", "reject"]),
    ("features", &["reject"]),
    ("model", &["compare", "features", "score", "reject", "stop"]),
    ("compare", &["model"]),
    ("recent", &[]),
    ("shadow", &["compare", "model", "score"]),
    ("drift", &["features", "model", "score"]),
    ("score", &["features", "model", "reject"]),
    ("serving", &["drift", "model", "shadow", "stop"]),
    ("encode", &["batch", "config", "features", "model", "outbox", "record", "reject", "score"]),
    ("predict", &["encode", "features", "model", "reject", "score", "serving", "stop"]),
    ("quality", &["config", "model"]),
    ("bus", &["batch", "config", "heart", "outbox", "record", "reject", "stop"]),
    ("control/message", &[]),
    ("control/registry", &["control/message"]),
    ("control/alarm", &["config", "control/message", "drift", "serving"]),
    ("control/event", &["compare", "control/message", "model", "serving"]),
    ("control/fetches", &["control/target", "model"]),
    ("control/refused", &["model"]),
    ("control/say", &["bus", "control/message"]),
    ("control/setup", &["config", "model", "stop"]),
    ("control/target", &["control/registry", "model"]),
    ("control/trial", &["compare", "config", "control/message", "model", "recent", "serving"]),
    (
        "control/loader",
        &[
            "bus",
            "compare",
            "config",
            "control/alarm",
            "control/event",
            "control/fetches",
            "control/message",
            "control/refused",
            "control/registry",
            "control/setup",
            "control/target",
            "control/trial",
            "model",
            "recent",
            "serving",
            "shadow",
            "stop",
        ],
    ),
    (
        "worker",
        &[
            "batch", "breaker", "bus", "drift", "encode", "model", "outbox", "recent", "record",
            "reject", "score", "serving", "shadow",
        ],
    ),
    (
        "observe",
        &[
            "bus",
            "compare",
            "config",
            "control/message",
            "control/registry",
            "control/say",
            "drift",
            "encode",
            "features",
            "heart",
            "model",
            "predict",
            "quality",
            "record",
            "reject",
            "score",
            "serving",
            "shadow",
            "stop",
            "worker",
        ],
    ),
    // Offline: only its own program imports it.
    (
        "training",
        &[
            "app",
            "batch",
            "bus",
            "cli",
            "config",
            "control/message",
            "control/registry",
            "encode",
            "features",
            "model",
            "outbox",
            "quality",
            "record",
            "score",
            "stop",
        ],
    ),
    ("app", &["*"]),
    ("cli", &["*"]),
    // Calls whatever reads bytes from outside.
    ("hostile", &["*"]),
    ("main", &["*"]),
    ("bin", &["*"]),
    ("lib", &["*"]),
    ("control", &["*"]),
];

/// A crate, and the only rooms, or parts of one, that may know it.
const CRATES: &[(&str, &[&str])] = &[
    ("rdkafka", &["bus"]),
    ("tokio", &["app", "observe", "cli", "model/store"]),
    ("object_store", &["model/store"]),
    ("reqwest", &["model/store"]),
    ("url", &["model/store"]),
    ("minisign", &["cli", "model/signature"]),
    ("minisign_verify", &["config", "model/signature"]),
    ("axum", &["observe"]),
    ("metrics", &["observe"]),
    ("csv", &["training"]),
    ("indicatif", &["cli", "training"]),
    ("clap", &["cli", "main", "training"]),
    ("smartcore", &["training"]),
    ("ort", &["model"]),
    ("prost", &["model"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Every source file: its room, its path below `src`, its text.
fn sources() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    files(&source(), &mut found);
    assert!(found.len() > 30, "found only {} files", found.len());
    let read = |path: PathBuf| {
        let below = path.strip_prefix(source()).unwrap().to_str().unwrap().to_owned();
        (room(&below), below, fs::read_to_string(&path).unwrap())
    };
    found.into_iter().map(read).collect()
}

/// `control` is three rooms; every other folder or file is one.
fn room(path: &str) -> String {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    match path.split_once('/') {
        Some(("control", rest)) => format!("control/{}", rest.split('/').next().unwrap()),
        Some((folder, _)) => folder.into(),
        None => path.into(),
    }
}

/// The rooms that a text imports from: `crate::x` or `crate::x::y`, outside its tests.
fn imports(text: &str) -> Vec<String> {
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mentions = product.lines().filter(|line| !line.trim_start().starts_with("//"));
    mentions
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            let name = |text: &str| -> String {
                text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
            };
            let first = name(rest);
            match rest.strip_prefix("control::") {
                Some(rest) => format!("control/{}", name(rest)),
                None => first,
            }
        })
        .filter(|room| !room.is_empty())
        .collect()
}

#[test]
fn upper_rooms_import_lower_ones_and_never_the_reverse() {
    let law: BTreeMap<_, _> = LAW.iter().copied().collect();
    let mut broken = Vec::new();
    for (room, path, text) in sources() {
        let allowed =
            law.get(room.as_str()).unwrap_or_else(|| panic!("{path}: no law for `{room}`"));
        for import in imports(&text) {
            let all = allowed.contains(&"*") && !(import == "training" && room != "bin");
            let free = import == room || all || allowed.contains(&import.as_str());
            if !free {
                broken.push(format!("{path} imports {import}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_crate_is_known_only_where_it_belongs() {
    let mut broken = Vec::new();
    for (room, path, text) in sources() {
        for (name, rooms) in CRATES {
            let used = text.lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//")
                    && (line.contains(&format!(" {name}::"))
                        || line.contains(&format!("({name}::")))
            });
            let belongs = rooms.iter().any(|at| {
                *at == room
                    || path.trim_end_matches(".rs") == *at
                    || path.starts_with(&format!("{at}/"))
            });
            if used && !belongs {
                broken.push(format!("{path} uses {name}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn unsafe_code_stands_in_one_file() {
    for (_, path, text) in sources() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let sharp =
            code.filter(|line| line.contains("unsafe {") || line.contains("unsafe fn")).count();
        assert!(sharp == 0 || path == "bus/native.rs", "{path} has {sharp} lines of unsafe code");
    }
}

#[test]
fn no_file_runs_away() {
    for (_, path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 500, "{path} has {lines} lines");
    }
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let manifest = fs::read_to_string(source().parent().unwrap().join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("[dependencies]").unwrap();
    let (dependencies, _) = rest.split_once("\n[").unwrap();
    let first = dependencies.lines().find(|line| !line.trim().is_empty()).unwrap();
    assert!(first.starts_with('#'), "the first dependency has no reason: {first}");
}
