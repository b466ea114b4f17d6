//! Steady state allocates nothing per event, and a hostile file no more than its length warrants:
//! counted, not believed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foretell::batch::Batch;
use foretell::config::Output;
use foretell::drift::{Drift, Live};
use foretell::encode::{Encoder, Scored};
use foretell::features::contract::Feature;
use foretell::features::decode::{Decoder, Limits};
use foretell::model::gate::{self, Expected, Settings, Times};
use foretell::model::import::{Source, facts, import};
use foretell::model::manifest::Format;
use foretell::model::reference::Reference;
use foretell::outbox::Outbox;
use foretell::record::{Header, Record};
use foretell::score::Scorer;

/// Counts the allocations of each thread by itself, so that tests beside this one do not count.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is the system's allocator's doing; counting touches a thread-local integer,
// which allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// All that is allocated, what is freed again included: what takes quadratic time by copying shows here.
fn bytes_allocated(work: impl FnOnce()) -> usize {
    let before = BYTES.get();
    work();
    BYTES.get() - before
}

fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn collecting_scoring_and_encoding_allocate_nothing_per_event() {
    let id = String::from("/id").try_into().unwrap();
    let output = Output { id: Some(id), ..Output::default() };
    let encoder = Encoder::new("flights", &output);
    let settings = Settings {
        captures: encoder.captures().to_vec(),
        limits: Limits { event_bytes_max: 1 << 20, json_depth_max: 64 },
        bytes_max: 1 << 30,
        trusted_keys: Vec::new(),
        tile_rows: 1024,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights");
    let admitted =
        gate::admit(&root.join("bundles/1"), Expected::default(), &settings, &mut Times::default())
            .unwrap();
    let mut version = admitted.version;
    let sample = std::fs::File::open(root.join("events.jsonl.zst")).unwrap();
    let text = String::from_utf8(zstd::decode_all(sample).unwrap()).unwrap();
    let events: Vec<&str> = text.lines().take(4096).collect();
    let trace = Header { name: b"traceparent", value: Some(b"00-ab-cd-01") };

    let mut scorer = Scorer::new(1024);
    let scores = scorer.score(&version, events[..1024].iter().map(|event| event.as_bytes()));
    let (contract, task, engine) = (&version.contract, &version.task, &version.engine);
    let reference = Reference::of(contract, task, engine, scores.features(), scores.results());
    version.reference = Some(reference);
    let version = Arc::new(version);
    let drift = Drift::new(&version, u64::MAX, &[]).unwrap();
    let mut live = Live::default();
    let mut batch = Batch::default();
    let mut outbox = Outbox::forwarding(&["traceparent".into()]);
    let mut rows = Vec::new();
    let mut sent = 0;
    let mut turn = || {
        batch.clear();
        for (offset, event) in events.iter().enumerate() {
            let record = Record {
                partition: (offset % 3) as i32,
                offset: offset as i64,
                timestamp_ms: Some(1),
                key: Some(b"key"),
                value: Some(event.as_bytes()),
            };
            batch.push(record, std::iter::once(trace));
        }
        live.begin(&drift, 0);
        for start in (0..batch.len()).step_by(1024) {
            rows.clear();
            rows.extend(start..start + 1024);
            let values = rows.iter().map(|&row| batch.record(row).value.unwrap_or_default());
            let scores = scorer.score(&version, values);
            live.count(&drift, &scores);
            outbox.clear();
            let scored = Scored {
                scores: &scores,
                version: &version,
                control_offset: Some(3),
                is_shadow: false,
            };
            encoder.encode(&batch, &rows, scored, 1 << 20, &mut outbox);
            for letter in outbox.letters() {
                sent += outbox.value(&batch, letter).map_or(0, <[u8]>::len);
                sent += outbox.headers(&batch, letter).count();
            }
        }
        live.settled(&drift);
    };
    // Buffers grow to their size once.
    turn();
    turn();
    assert_eq!(allocations(turn), 0, "of 4,096 events");
    assert!(sent > 4096 * 100, "something was written: {sent} bytes");
}

/// Model files that lie about their sizes, of every format but ONNX, whose runtime is not ours.
fn hostile_files() -> Vec<(Format, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let formats = [
        ("lightgbm", Format::Lightgbm),
        ("xgboost", Format::Xgboost),
        ("catboost", Format::Catboost),
        ("forest", Format::Forest),
        ("linear", Format::Linear),
    ];
    let paths = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let mut found = Vec::new();
    for (name, format) in formats {
        let malformed = paths(&folder.join("conformance/malformed"));
        let is_its = |path: &&PathBuf| {
            path.file_name().is_some_and(|it| it.to_str().unwrap().starts_with(name))
        };
        let files = malformed.iter().filter(is_its).flat_map(|case| paths(case));
        let models = files.filter(|file| file.file_stem().is_some_and(|stem| stem == "model"));
        found.extend(models.map(|file| (format, file)));
        found.extend(
            paths(&folder.join("fuzz/corpus").join(name)).into_iter().map(|it| (format, it)),
        );
    }
    assert!(found.len() > 100, "found only {}", found.len());
    found
}

#[test]
fn what_a_model_file_makes_its_importer_allocate_is_bounded_by_its_length() {
    for (format, file) in hostile_files() {
        let bytes = fs::read(&file).unwrap();
        let spent = bytes_allocated(|| {
            let _ = facts(format, &bytes);
            let _ = import(Source::new(format, &bytes));
        });
        let allowed = ALLOCATED_A_BYTE * bytes.len() + (64 << 10);
        assert!(spent <= allowed, "{}: {spent} for {} bytes", file.display(), bytes.len());
    }
}

/// Of a model file, read twice: its numbers become trees, bit-planes and nodes.
const ALLOCATED_A_BYTE: usize = 64;

/// Twice the trees take twice of it, and no square of it.
#[test]
fn importing_twice_as_much_allocates_twice_as_much() {
    let lightgbm = |trees: usize| {
        let tree = |index: usize| {
            let threshold = index as f64 + 0.5;
            format!(
                "Tree={index}\nnum_leaves=3\nnum_cat=0\nsplit_feature=0 1\nthreshold={threshold} 2\n\
                 decision_type=2 2\nleft_child=-1 -2\nright_child=1 -3\nleaf_value=1 2 3\nshrinkage=1\n\n\n"
            )
        };
        let trees: String = (0..trees).map(tree).collect();
        let head = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n\
                    max_feature_idx=1\nobjective=regression\nfeature_names=x y\n\
                    feature_infos=[0:1e9] [0:1]\n\n";
        format!("{head}{trees}end of trees\n")
    };
    let linear = |features: usize| {
        let names: Vec<_> = (0..features).map(|it| format!("\"f{it}\"")).collect();
        let ones = vec!["1"; features].join(",");
        format!(
            r#"{{"format":"foretell-linear","version":1,"link":"identity","features":[{}],"coefficients":[[{ones}]],"intercepts":[0]}}"#,
            names.join(",")
        )
    };
    let spent = |format, text: String| {
        bytes_allocated(|| drop(import(Source::new(format, text.as_bytes())).unwrap()))
    };
    for (format, one, two) in [
        (Format::Lightgbm, lightgbm(2000), lightgbm(4000)),
        (Format::Linear, linear(4000), linear(8000)),
    ] {
        let (one, two) = (spent(format, one), spent(format, two));
        assert!(two < 3 * one, "{format:?}: {one} bytes, and {two} for twice as much");
    }
}

#[test]
fn what_a_hostile_event_makes_its_reading_allocate_is_bounded_by_its_length() {
    let features: Vec<Feature> = serde_json::from_value(serde_json::json!([
        {"name": "x", "path": "/x", "kind": "number", "required": true},
        {"name": "c", "path": "/c", "kind": {"category": {"vocabulary": ["a"], "unknown": "reject"}}},
    ]))
    .unwrap();
    let limits = Limits { event_bytes_max: 8 << 20, json_depth_max: 64 };
    let decoder = Decoder::new(&features, &[], limits).unwrap();
    for (start, middle, end) in [
        (r#"{"x":"#, "[", ""),
        (r#"{"x":"#, "9", "}"),
        (r#"{"x":1,"y":"#, "9", "}"),
        (r#"{"x":1"#, r#","x":1"#, "}"),
        (r#"{"x":1"#, r#","c":"b""#, "}"),
        (r#"{"x":1"#, r#","y":"\u00e9""#, "}"),
        (r#"{"x":1,"c":""#, "b", r#""}"#),
        (r#"{"x":1,"c":""#, "\u{1F600}", ""),
        ("", " ", ""),
    ] {
        let spent = |length: usize| {
            let event = format!("{start}{}{end}", middle.repeat(length / middle.len()));
            let mut row = ndarray::Array1::zeros(2);
            bytes_allocated(|| {
                let _ = decoder.decode(event.as_bytes(), row.view_mut(), &mut []);
            })
        };
        let (one, two) = (spent(1 << 20), spent(2 << 20));
        // Numbers are copied, and each repetition of a field that is at fault says what is wrong.
        assert!(one < 16 << 20, "{one} bytes for 1 MB of `{middle}` behind `{start}`");
        assert!(two < 3 * one + (16 << 10), "{one} bytes and {two} for twice as many `{middle}`");
    }
}
