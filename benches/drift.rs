//! What counting for drift costs, in what the rest of an event's way through the core does: `cargo bench --bench drift`.
//!
//! The flights of December, tile by tile: decoded, scored and counted; then all of that but the counting; and so on, by
//! turns, so that a machine that is busy is busy for both. The quickest of each counts.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foretell::app::gate_settings_for_tools;
use foretell::batch::Batch;
use foretell::config::Output;
use foretell::drift::{Drift, Live};
use foretell::encode::{Encoder, Scored};
use foretell::model::gate::{self, Expected, Times};
use foretell::model::reference::Reference;
use foretell::model::version::Version;
use foretell::outbox::Outbox;
use foretell::record::Record;
use foretell::score::Scorer;

const TILE_ROWS: usize = 1024;
const TILES: usize = 16;
const ROUNDS: usize = 200;

fn main() {
    let (version, batches) = stage();
    let drift = Drift::new(&version, u64::MAX, &[]).expect("it has a reference");
    let encoder = Encoder::new("flights", &Output::default());
    let (mut scorer, mut live, mut outbox) =
        (Scorer::new(TILE_ROWS), Live::default(), Outbox::default());
    let rows: Vec<usize> = (0..TILE_ROWS).collect();
    // Decoding and scoring, counting, encoding.
    let mut quickest = vec![[Duration::MAX; 3]; TILES];
    for _ in 0..ROUNDS {
        for (batch, quickest) in batches.iter().zip(&mut quickest) {
            live.begin(&drift, 0);
            let began = Instant::now();
            let values = rows.iter().map(|&row| batch.record(row).value.unwrap_or_default());
            let scores = &scorer.score(&version, values);
            let scored = began.elapsed();
            live.count(&drift, scores);
            let counted = began.elapsed();
            live.settled(&drift);
            outbox.clear();
            let resumed = Instant::now();
            let scored_rows =
                Scored { scores, version: &version, control_offset: None, is_shadow: false };
            encoder.encode(batch, &rows, scored_rows, 1 << 20, &mut outbox);
            let times = [scored, counted - scored, resumed.elapsed()];
            for (least, time) in quickest.iter_mut().zip(times) {
                *least = time.min(*least);
            }
        }
    }
    let sum = |part: usize| quickest.iter().map(|times| times[part]).sum::<Duration>();
    let [scored, counted, encoded] = [sum(0), sum(1), sum(2)];
    let rows = (TILES * TILE_ROWS) as f64;
    let ns = |time: Duration| time.as_secs_f64() * 1e9 / rows;
    println!("decoding and scoring  {:7.1} ns an event", ns(scored));
    println!("encoding              {:7.1} ns an event", ns(encoded));
    println!("counting              {:7.1} ns an event", ns(counted));
    println!(
        "                      {:7.2} % of the others",
        100.0 * ns(counted) / ns(scored + encoded)
    );
}

/// Version 1 of the flights' model with a reference of the events that follow, each tile in a batch of its own.
fn stage() -> (Arc<Version>, Vec<Batch>) {
    let flights = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights");
    let (folder, mut times) = (flights.join("bundles/1"), Times::default());
    let admitted =
        gate::admit(&folder, Expected::default(), &gate_settings_for_tools(), &mut times);
    let mut version = admitted.expect("a bundle").version;
    let packed = File::open(flights.join("events.jsonl.zst")).expect("the sample");
    let lines = BufReader::new(zstd::Decoder::new(packed).expect("zstd")).lines();
    let lines: Vec<_> = lines.take(TILES * TILE_ROWS).map(|line| line.expect("a flight")).collect();
    let mut scorer = Scorer::new(lines.len());
    let scores = scorer.score(&version, lines.iter().map(String::as_bytes));
    let (contract, task, engine) = (&version.contract, &version.task, &version.engine);
    let reference = Reference::of(contract, task, engine, scores.features(), scores.results());
    version.reference = Some(reference);
    let batch = |lines: &[String]| {
        let mut batch = Batch::default();
        for (offset, line) in lines.iter().enumerate() {
            let record = Record {
                partition: 0,
                offset: offset as i64,
                timestamp_ms: Some(1),
                key: Some(b"key"),
                value: Some(line.as_bytes()),
            };
            batch.push(record, std::iter::empty());
        }
        batch
    };
    (Arc::new(version), lines.chunks(TILE_ROWS).map(batch).collect())
}
