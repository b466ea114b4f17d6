//! What decoding an event costs: `cargo bench --bench decode`.
//!
//! The budget is 0.6 µs for a 350-byte event with 21 features on one core, and no allocation.
//! `serde_json::Value` is the yardstick: it only parses the same bytes. A processor learns one
//! event by heart, so that a thousand different flights are measured too.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use foretell::features::contract::Feature;
use foretell::features::decode::{Decoder, Limits};
use foretell::model::manifest::Manifest;
use ndarray::{Array2, ShapeBuilder};
use serde_json::{Value, json};

/// Counts allocations, so that the table shows that there are none.
#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const EVENT: &[u8] = br#"{"id":"UA1545-2013-01-01","scheduled":"2013-01-01T05:15:00-05:00","carrier":"UA","flight":1545,"origin":"EWR","dest":"IAH","distance":1400,"departure":{"delay":2.0,"gate":"C71"},"weather":{"temp":39.02,"dewp":28.04,"humid":64.43,"wind_dir":260,"wind_speed":12.65858,"precip":0.0,"pressure":1011.9,"visib":10.0},"plane":{"year":1999,"seats":149,"engines":2}}"#;

/// Rows of a tile.
const ROWS: usize = 1000;

fn main() {
    println!("an event of {} bytes, {} features", EVENT.len(), contract().len());
    divan::main();
}

fn contract() -> Vec<Feature> {
    let numbers = [
        "distance",
        "departure/delay",
        "weather/temp",
        "weather/dewp",
        "weather/humid",
        "weather/wind_dir",
        "weather/wind_speed",
        "weather/precip",
        "weather/pressure",
        "weather/visib",
        "plane/year",
        "plane/seats",
        "plane/engines",
    ];
    let parts = ["month", "day", "weekday", "hour", "minute"];
    let numbers = numbers.map(|path| json!({"path": format!("/{path}"), "kind": "number"}));
    let parts =
        parts.map(|part| json!({"path": "/scheduled", "kind": {"timestamp": {"part": part}}}));
    let categories = categories().map(|(path, vocabulary)| {
        json!({"path": format!("/{path}"), "kind": {"category": {"vocabulary": vocabulary}}})
    });
    let features = parts.into_iter().chain(categories).chain(numbers).enumerate();
    features
        .map(|(column, mut feature)| {
            feature["name"] = json!(format!("f{column}"));
            serde_json::from_value(feature).expect("a feature")
        })
        .collect()
}

/// Terms as many and as long as the flights from New York have.
fn categories() -> [(&'static str, Vec<String>); 3] {
    let split = |terms: &str| terms.split(' ').map(str::to_owned).collect();
    let carriers = split("9E AA AS B6 DL EV F9 FL HA MQ OO UA US VX WN YV");
    let airport = |i: u8| format!("{}{}X", char::from(b'A' + i % 26), i / 26);
    let mut destinations: Vec<_> = (0..104).map(airport).collect();
    destinations.push("IAH".to_owned());
    [("carrier", carriers), ("origin", split("EWR JFK LGA")), ("dest", destinations)]
}

const LIMITS: Limits = Limits { event_bytes_max: 1 << 20, json_depth_max: 32 };

/// Decodes a tile of equal events into the rows of a column-major matrix.
fn decode_tile(bencher: Bencher<'_, '_>, captures: &[&str]) {
    let captures: Vec<_> = captures.iter().map(|&path| path.to_owned()).collect();
    let decoder = Decoder::new(&contract(), &captures, LIMITS).expect("a contract");
    decode_all(bencher, &decoder, &[EVENT; ROWS]);
}

fn decode_all(bencher: Bencher<'_, '_>, decoder: &Decoder, events: &[&[u8]]) {
    let mut matrix = Array2::<f64>::zeros((events.len(), decoder.features().len()).f());
    let mut spans = vec![None; decoder.captures()];
    bencher.counter(ItemsCount::new(events.len())).bench_local(|| {
        for (row, event) in matrix.rows_mut().into_iter().zip(events) {
            decoder.decode(black_box(event), row, &mut spans).expect("a flight");
        }
    });
}

/// The first flights of the sample, as the demo's model reads them: 20 features and the id.
#[divan::bench]
fn rows_of_different_flights(bencher: Bencher<'_, '_>) {
    let flights = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights");
    let manifest = fs::read(flights.join("bundles/1/manifest.json")).expect("a manifest");
    let manifest: Manifest = serde_json::from_slice(&manifest).expect("a manifest");
    let decoder =
        Decoder::new(&manifest.features, &["/id".to_owned()], LIMITS).expect("a contract");
    let packed = File::open(flights.join("events.jsonl.zst")).expect("the sample");
    let lines = BufReader::new(zstd::Decoder::new(packed).expect("zstd")).lines();
    let lines: Vec<_> = lines.take(ROWS).map(|line| line.expect("a flight")).collect();
    let events: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    decode_all(bencher, &decoder, &events);
}

#[divan::bench]
fn rows_of_features(bencher: Bencher<'_, '_>) {
    decode_tile(bencher, &[]);
}

#[divan::bench]
fn rows_and_an_id(bencher: Bencher<'_, '_>) {
    decode_tile(bencher, &["/id"]);
}

#[divan::bench]
fn rows_and_a_parent_object(bencher: Bencher<'_, '_>) {
    decode_tile(bencher, &["/id", "/weather"]);
}

#[divan::bench]
fn serde_json_value(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        for _ in 0..ROWS {
            let event: Value = serde_json::from_slice(black_box(EVENT)).expect("a flight");
            black_box(&event);
        }
    });
}
