//! The events of a run: good ones, tombstones, and poison of every kind that a decoder meets.

use foretell::bus::memory::log::Stored;
use foretell::reject::Reason;

use super::versions::EVENT_BYTES_MAX;

/// The longest letter. Some events are longer.
pub const LETTER_BYTES_MAX: usize = 3_000;

/// An event as it was published, and what has to become of it.
#[derive(Debug, Clone)]
pub struct Input {
    pub partition: i32,
    pub offset: i64,
    pub event: Stored,
    pub fate: Fate,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// A prediction of this `x`, under this id.
    Prediction {
        x: f64,
        id: String,
    },
    DeadLetter(Reason),
    /// A tombstone leaves nothing behind.
    Nothing,
}

/// The `number`th event of a run. `is_garbage`: its producer is broken.
pub fn event(number: usize, is_garbage: bool, rng: &mut fastrand::Rng) -> (Stored, Fate) {
    let id = format!("event-{number}");
    let dice = if is_garbage { 2 } else { rng.u32(..20) };
    let (value, fate) = match dice {
        0 | 1 => (None, Fate::Nothing),
        2..=5 => {
            let (value, reason) = poison(&id, rng);
            (Some(value), Fate::DeadLetter(reason))
        }
        _ => {
            let x = f64::from(rng.u32(..=8)) / 8.0;
            let value = format!(r#"{{"id":"{id}","x":{x},"y":{},"tag":[{number}]}}"#, rng.u8(..));
            (Some(value.into_bytes()), Fate::Prediction { x, id })
        }
    };
    let key = rng.bool().then(|| format!("key-{number}").into_bytes());
    let mut headers = Vec::new();
    let mut header = |name: &str, value: &str| headers.push((name.into(), Some(value.into())));
    if rng.u32(..4) == 0 {
        header("traceparent", &format!("00-{number}"));
        header("secret", "stays here");
    }
    if rng.u32(..8) == 0 {
        // It was a dead letter once, and somebody put it back.
        header("foretell.reason", "an earlier reason");
        header("foretell.attempt", "1");
    }
    let timestamp_ms = rng.bool().then_some(1_700_000_000_000 + number as i64);
    (Stored { timestamp_ms, key, value, headers }, fate)
}

fn poison(id: &str, rng: &mut fastrand::Rng) -> (Vec<u8>, Reason) {
    let padded = |bytes: usize| format!(r#"{{"x":1,"pad":"{}"}}"#, "p".repeat(bytes)).into_bytes();
    match rng.u32(..9) {
        0 => (b"{\"x\":".to_vec(), Reason::NotJson),
        1 => (b"\xff\xfe".to_vec(), Reason::NotUtf8),
        2 => (b"[1]".to_vec(), Reason::NotAnObject),
        3 => (br#"{"y":1}"#.to_vec(), Reason::RequiredFeatureMissing),
        4 => (br#"{"x":"much"}"#.to_vec(), Reason::WrongKind),
        5 => (br#"{"x":1,"z":[[[[[[[[[]]]]]]]]]}"#.to_vec(), Reason::TooDeep),
        6 => (padded(EVENT_BYTES_MAX), Reason::TooLarge),
        7 => (padded(LETTER_BYTES_MAX), Reason::TooLarge),
        _ => {
            // Within the bounds of an event; its prediction carries the tag twice, and is not.
            let tag = "t".repeat(LETTER_BYTES_MAX / 2 - 200);
            let value = format!(r#"{{"id":"{id}","x":1,"tag":"{tag}"}}"#);
            (value.into_bytes(), Reason::PredictionTooLarge)
        }
    }
}
