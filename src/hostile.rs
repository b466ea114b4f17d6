//! What comes from outside, as bytes: each target takes any bytes at all and has to come to a verdict,
//! without a panic. The fuzzers of tests/fuzz call them (`make fuzz`), and so does a test below with
//! every input that is kept there.

use ndarray::{Array2, ShapeBuilder as _};
use serde::de::IgnoredAny;
use serde_json::json;

use crate::control::message::Message;
use crate::features::contract::Feature;
use crate::features::decode::Limits;
use crate::features::reference;
use crate::model::forest::{self, Forest};
use crate::model::import::{self, Parsed, Source, recognise};
use crate::model::linear as coefficients;
use crate::model::manifest::{Contract, Format, GoldenRow, Manifest};
use crate::predict::{events, tensors};
use crate::quality::label::Told;
use crate::quality::measure::measure;
use crate::quality::said::Prediction;
use crate::quality::window::Window;

/// A target by the name that its fuzzer and its folder of inputs have.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 11] = [
    ("event", event),
    ("request", request),
    ("control", control),
    ("manifest", manifest),
    ("lightgbm", lightgbm),
    ("xgboost", xgboost),
    ("catboost", catboost),
    ("forest", forest),
    ("linear", linear),
    ("onnx", onnx),
    ("labelled", labelled),
];

/// An event under a contract with a feature of each kind: the decoder says what its specification says.
pub fn event(bytes: &[u8]) {
    let limits = Limits { event_bytes_max: 1 << 16, json_depth_max: 32 };
    let captures = ["/id", "/a/b", ""].map(str::to_owned);
    reference::check(&contract(), &captures, limits, bytes);
}

/// One feature of each kind, at places that events share and that lie within each other.
fn contract() -> Vec<Feature> {
    let terms = json!(["a", 1, "1", true, 0]);
    let category = |unknown: &str| json!({"category": {"vocabulary": terms, "unknown": unknown}});
    let time = |part: &str| json!({"timestamp": {"part": part}});
    let features = json!([
        {"name": "number", "path": "/x", "kind": "number", "required": true},
        {"name": "deep", "path": "/a/b", "kind": "number", "missing": -1.0},
        {"name": "list", "path": "/a/0", "kind": "boolean"},
        {"name": "odd", "path": "/m~0n/x~1y", "kind": "number"},
        {"name": "coded", "path": "/c", "kind": category("code")},
        {"name": "known", "path": "/d", "kind": category("reject")},
        {"name": "again", "path": "/c", "kind": category("missing")},
        {"name": "month", "path": "/t", "kind": time("month")},
        {"name": "weekday", "path": "/t", "kind": time("weekday")},
        {"name": "epoch", "path": "/t", "kind": time("epoch_seconds")},
    ]);
    serde_json::from_value(features).expect("this is a contract")
}

/// The body of a request to be scored, as `/predict` reads it and as `/v2` does: refused, or so many events, each of
/// them whole, within what was sent, in its order.
pub fn request(bytes: &[u8]) {
    const ROWS_MAX: usize = 64;
    let is_json = |event: &[u8]| serde_json::from_slice::<IgnoredAny>(event).is_ok();
    if let Ok(Some(events)) = events::split(bytes, ROWS_MAX) {
        assert!(events.len() <= ROWS_MAX && events.is_sorted_by(|a, b| a.end <= b.start));
        assert!(events.into_iter().all(|event| is_json(&bytes[event])));
    }
    if let Ok(((text, rows), wanted)) = tensors::read(bytes, &contract(), &[], ROWS_MAX) {
        assert!(rows.len() <= ROWS_MAX && rows.is_sorted_by(|a, b| a.end <= b.start));
        // Whole events are what the sender says they are: the decoder judges them.
        assert!(rows.into_iter().all(|row| !wanted.is_flat || is_json(&text[row])));
    }
}

/// A control message is refused, or is the same when it has been written and read again.
pub fn control(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else { return };
    let written = serde_json::to_vec(&message).expect("a message can be written");
    assert_eq!(Message::parse(&written).as_ref(), Ok(&message), "{message:?}");
}

/// The texts of a bundle: its manifest, its contract, a golden row.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        let written = serde_json::to_vec(&manifest).expect("a manifest can be written");
        assert_eq!(serde_json::from_slice::<Manifest>(&written).ok().as_ref(), Some(&manifest));
        let limits = Limits { event_bytes_max: 1 << 16, json_depth_max: 32 };
        let _ = crate::features::decode::Decoder::new(&manifest.features, &[], limits);
    }
    let _ = serde_json::from_slice::<Contract>(bytes);
    let _ = serde_json::from_slice::<GoldenRow>(bytes);
    let _ = recognise(bytes);
}

/// Predictions and labels, a line each: whatever can be joined is measured, in numbers.
pub fn labelled(bytes: &[u8]) {
    let mut window = Window::new(8);
    for (time, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if let Ok(prediction) = Prediction::parse(line) {
            let _ = window.predicted(0, time as i64, prediction);
        }
        if let Ok(told) = Told::parse(line) {
            window.labelled(0, time as i64, told);
        }
    }
    for quality in measure(&window) {
        assert!(quality.rows + quality.unusable <= window.held().pairs, "{quality:?}");
        assert!(quality.metrics.values().all(|value| value.is_finite()), "{quality:?}");
    }
}

pub fn lightgbm(bytes: &[u8]) {
    import(Format::Lightgbm, bytes);
}

/// JSON and UBJSON: the importer tells them apart by their bytes.
pub fn xgboost(bytes: &[u8]) {
    import(Format::Xgboost, bytes);
}

pub fn catboost(bytes: &[u8]) {
    import(Format::Catboost, bytes);
}

pub fn forest(bytes: &[u8]) {
    import(Format::Forest, bytes);
}

pub fn linear(bytes: &[u8]) {
    import(Format::Linear, bytes);
}

/// All that is done with an ONNX file before Microsoft's runtime sees it.
pub fn onnx(bytes: &[u8]) {
    let _ = import::facts(Format::Onnx, bytes);
}

/// A model file is refused, or scores; a forest the same in both of the engine's forms.
fn import(format: Format, bytes: &[u8]) {
    let source = Source::new(format, bytes);
    let _ = import::facts(format, bytes);
    let Ok(parsed) = import::parse(source) else { return };
    match parsed {
        Parsed::Linear(linear) => {
            let x = rows(linear.columns().len());
            let mut out = Array2::zeros((x.nrows(), linear.outputs()));
            linear.predict(x.view(), &mut coefficients::Scratch::default(), out.view_mut());
        }
        Parsed::Forest(ensemble) => {
            let nodes = Forest::of_nodes(ensemble.clone());
            let planes = Forest::new(ensemble);
            let x = rows(nodes.columns().len());
            let score = |forest: &Forest| {
                let mut scratch = forest::Scratch::default();
                let mut out = Array2::zeros((x.nrows(), forest.outputs()));
                forest.predict_raw(x.view(), &mut scratch, out.view_mut());
                out.mapv(|value: f64| if value.is_nan() { u64::MAX } else { value.to_bits() })
            };
            assert_eq!(score(&nodes), score(&planes), "both forms of the trees agree");
        }
    }
}

/// Enough rows for the engine to take its way for many, with all that is special about numbers.
fn rows(columns: usize) -> Array2<f64> {
    const VALUES: [f64; 9] =
        [0.0, f64::NAN, 1.0, -1.0, 0.5, f64::INFINITY, f64::NEG_INFINITY, 1e300, -0.0];
    Array2::from_shape_fn((70, columns).f(), |(row, column)| VALUES[(row + column) % VALUES.len()])
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::reject::Reason;

    /// What production sends that nobody expects, and what becomes of it.
    #[test]
    fn each_kind_of_hostile_event_has_its_verdict() {
        let limits = Limits { event_bytes_max: 4 << 20, json_depth_max: 32 };
        let check = |event: &[u8], expected: Option<Reason>| {
            let found = reference::run(&contract(), &[], limits, event).err();
            let start = String::from_utf8_lossy(&event[..event.len().min(60)]).into_owned();
            assert_eq!(found.map(|reject| reject.reason), expected, "{start}");
        };
        let free = |value: &str| format!(r#"{{"x":1,"free":{value}}}"#).into_bytes();
        let read = |value: &str| format!(r#"{{"x":{value}}}"#).into_bytes();
        let deep = |open: &str, close: &str| open.repeat(1 << 19) + &close.repeat(1 << 19);
        check(&free(&deep("[", "]")), Some(Reason::TooDeep));
        check(&free(&deep("[", "")), Some(Reason::TooDeep));
        check(&free(&deep(r#"{"a":"#, "}")), Some(Reason::TooDeep));
        check(deep("[", "]").as_bytes(), Some(Reason::TooDeep));
        check(&free(&format!(r#""{}""#, deep("[", "]"))), None);
        check(&free(&"9".repeat(1000)), None);
        check(&read(&"9".repeat(1000)), Some(Reason::NotJson));
        check(&read(&format!("0.{}", "9".repeat(1000))), None);
        check(&read(&format!("1e-{}", "9".repeat(1000))), None);
        check(&read("01"), Some(Reason::NotJson));
        for token in ["NaN", "Infinity", "-Infinity", "nan", "inf", "undefined", "0x1F"] {
            check(&read(token), Some(Reason::NotJson));
            check(&free(token), Some(Reason::NotJson));
        }
        check(br#"{"x":"no","x":1}"#, None);
        check(br#"{"x":1,"x":"no"}"#, Some(Reason::WrongKind));
        check(&[&br#"{"x":1"#[..], &br#","free":0"#.repeat(100_000), b"}"].concat(), None);
        check(&free(r#""\ud800""#), None);
        check(br#"{"x":1,"d":"\udc00"}"#, Some(Reason::NotJson));
        check(&[&b"\xef\xbb\xbf"[..], &read("1")].concat(), Some(Reason::NotJson));
        check(b"{\"x\":1,\"free\":\"\xff\"}", Some(Reason::NotUtf8));
        check(b"{\"x\":1,\"free\":\"\xed\xa0\x80\"}", Some(Reason::NotUtf8));
        check(b"{\"x\":1,\"free\":\"\xc0\xaf\"}", Some(Reason::NotUtf8));
        check(b"{\"x\":1,\"free\":\"\0\"}", Some(Reason::NotJson));
        check(&[&read("1")[..], b"{}"].concat(), Some(Reason::NotJson));
        check(b"", Some(Reason::NotJson));
        check(&vec![b' '; 5 << 20], Some(Reason::TooLarge));
    }

    /// Those that the fuzzers found worth keeping, and all that was ever a fault.
    #[test]
    fn every_input_that_is_kept_has_a_verdict() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        for (name, target) in TARGETS {
            let folder = fs::read_dir(corpus.join(name)).unwrap();
            let files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
            assert!(!files.is_empty(), "expected inputs of `{name}` to be kept");
            for file in files {
                // Shown if it panics.
                println!("{}", file.display());
                target(&fs::read(file).unwrap());
            }
        }
    }
}
