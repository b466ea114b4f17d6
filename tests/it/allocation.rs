//! Steady state allocates nothing per event: counted, not believed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use foretell::batch::Batch;
use foretell::config::Output;
use foretell::encode::{Encoder, Scored};
use foretell::features::decode::Limits;
use foretell::model::gate::{self, Expected, Settings, Times};
use foretell::outbox::Outbox;
use foretell::record::{Header, Record};
use foretell::score::Scorer;

/// Counts the allocations of each thread by itself, so that tests beside this one do not count.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system's allocator's doing; counting touches a thread-local integer,
// which allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
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
    let version = admitted.version;
    let sample = std::fs::File::open(root.join("events.jsonl.zst")).unwrap();
    let text = String::from_utf8(zstd::decode_all(sample).unwrap()).unwrap();
    let events: Vec<&str> = text.lines().take(4096).collect();
    let trace = Header { name: b"traceparent", value: Some(b"00-ab-cd-01") };

    let mut scorer = Scorer::new(1024);
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
        for start in (0..batch.len()).step_by(1024) {
            rows.clear();
            rows.extend(start..start + 1024);
            let values = rows.iter().map(|&row| batch.record(row).value.unwrap_or_default());
            let scores = scorer.score(&version, values);
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
    };
    // Buffers grow to their size once.
    turn();
    turn();
    assert_eq!(allocations(turn), 0, "of 4,096 events");
    assert!(sent > 4096 * 100, "something was written: {sent} bytes");
}
