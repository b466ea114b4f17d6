//! What letters hold, byte for byte.

use std::path::Path;

use super::*;
use crate::features::decode::Limits;
use crate::model::gate::{self, Expected, Settings, Times};
use crate::outbox::Destination;
use crate::score::Scorer;

const LETTER_BYTES_MAX: usize = 4_096;

/// What comes of one event of the flights with a header of `bytes`: all that a topic would get.
#[derive(Debug)]
struct Sent {
    to: Destination,
    key: bool,
    value: usize,
    headers: Vec<(String, String)>,
    total: usize,
}

fn send(event: &[u8], header: (&str, usize), forward: &[String]) -> Sent {
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/bundles/1");
    let settings = Settings {
        captures: Vec::new(),
        limits: Limits { event_bytes_max: 1 << 20, json_depth_max: 64 },
        bytes_max: 1 << 30,
        trusted_keys: Vec::new(),
        tile_rows: 8,
    };
    let version = gate::admit(&bundle, Expected::default(), &settings, &mut Times::default())
        .unwrap()
        .version;
    let mut batch = Batch::default();
    let record = Record {
        partition: 3,
        offset: 1234,
        timestamp_ms: None,
        key: Some(b"key"),
        value: Some(event),
    };
    let text = "h".repeat(header.1);
    let header = Header { name: header.0.as_bytes(), value: Some(text.as_bytes()) };
    batch.push(record, std::iter::once(header));
    let mut scorer = Scorer::new(8);
    let scores = scorer.score(&version, std::iter::once(event));
    let scored =
        Scored { scores: &scores, version: &version, control_offset: Some(41), is_shadow: false };
    let mut outbox = Outbox::forwarding(forward);
    let encoder = Encoder::new("flights", &Output::default());
    encoder.encode(&batch, &[0], scored, LETTER_BYTES_MAX, &mut outbox);
    let letter = &outbox.letters()[0];
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<_> = outbox
        .headers(&batch, letter)
        .map(|header| (text(header.name), text(header.value.unwrap_or_default())))
        .collect();
    let value = outbox.value(&batch, letter).map_or(0, <[u8]>::len);
    let key = outbox.key(&batch, letter).is_some();
    let in_headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    Sent { to: letter.to, key, value, total: value + in_headers, headers }
}

const FLIGHT: &[u8] = br#"{"flight":{"carrier":"UA"},"scheduled":{"time":"2013-12-01T05:15:00-05:00"},"departure":{"delay":5}}"#;

fn header<'a>(sent: &'a Sent, name: &str) -> &'a str {
    sent.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

#[test]
fn a_large_header_that_is_not_passed_on_costs_a_prediction_nothing() {
    let sent = send(FLIGHT, ("baggage", 9_000), &[]);
    assert_eq!(sent.to, Destination::Predictions);
    assert!(sent.headers.is_empty() && sent.key);
}

#[test]
fn a_prediction_whose_headers_do_not_fit_is_a_dead_letter_that_does() {
    let sent = send(FLIGHT, ("baggage", 9_000), &["baggage".into()]);
    assert_eq!(sent.to, Destination::DeadLetters(Reason::PredictionTooLarge));
    assert!(sent.total <= LETTER_BYTES_MAX, "{sent:?}");
}

#[test]
fn a_dead_letter_is_cut_down_until_it_fits_and_says_so() {
    let whole = send(b"{", ("a", 1), &[]);
    assert_eq!((whole.key, whole.value, header(&whole, "a")), (true, 1, "h"));
    assert_eq!(header(&whole, "foretell.omitted_bytes"), "");

    let long = vec![b'['; 5_000];
    let without_value = send(&long, ("a", 1), &[]);
    assert_eq!((without_value.key, without_value.value), (true, 0));
    assert_eq!(header(&without_value, "a"), "h");
    assert_eq!(header(&without_value, "foretell.omitted_bytes"), "5000");

    let bare = send(b"{", ("a", 9_000), &[]);
    assert_eq!((bare.key, bare.value, header(&bare, "a")), (false, 0, ""));
    assert_eq!(header(&bare, "foretell.reason"), "not_json");
    assert_eq!(header(&bare, "__connect.errors.offset"), "1234");
    assert!(bare.total <= LETTER_BYTES_MAX);
}
