//! What the reader makes of a record: a prediction, a dead letter.

use serde::Deserialize;

use crate::bus::tail::Record;

/// A prediction, as any application may read it.
#[derive(Debug, Deserialize)]
pub struct Prediction {
    pub id: String,
    pub label: String,
    pub probability: f64,
    pub version: String,
    pub input: Input,
    pub carry: Flight,
}

/// The event that it answers.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Input {
    pub partition: i32,
    pub offset: u64,
}

/// What the tour has carried over from the event (`config/demo.toml`).
#[derive(Debug, Deserialize)]
pub struct Flight {
    pub carrier: String,
    pub number: u32,
    pub origin: String,
    pub dest: String,
    /// In minutes; negative: it left early.
    pub delay: i32,
}

impl Prediction {
    pub fn read(record: &Record) -> Option<Self> {
        serde_json::from_slice(record.value.as_deref()?).ok()
    }
}

/// A dead letter, as its headers tell it.
#[derive(Debug)]
pub struct DeadLetter {
    pub input: Input,
    pub reason: String,
    pub message: String,
}

impl DeadLetter {
    pub fn read(record: &Record) -> Option<Self> {
        let input = Input {
            partition: record.header("__connect.errors.partition")?.parse().ok()?,
            offset: record.header("__connect.errors.offset")?.parse().ok()?,
        };
        Some(Self {
            input,
            reason: record.header("foretell.reason")?,
            message: record.header("__connect.errors.exception.message")?,
        })
    }
}
