//! What the brokers keep: the events as they were published, and what became of them.

use crate::batch::Batch;
use crate::outbox::{Letter, Outbox};
use crate::record::{Header, Record};

/// A record at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Stored {
    /// A letter, with the key and time of the event that it answers.
    pub fn letter(batch: &Batch, outbox: &Outbox, letter: &Letter) -> Self {
        let event = batch.record(letter.row);
        let header = |h: Header<'_>| (h.name.to_vec(), h.value.map(<[u8]>::to_vec));
        Self {
            timestamp_ms: event.timestamp_ms,
            key: outbox.key(batch, letter).map(<[u8]>::to_vec),
            value: outbox.value(batch, letter).map(<[u8]>::to_vec),
            headers: outbox.headers(batch, letter).map(header).collect(),
        }
    }

    /// What a producer counts against the longest record of its topic.
    pub fn bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(value));
        length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }

    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(known, _)| known == name.as_bytes());
        found.and_then(|(_, value)| value.as_deref())
    }

    fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() })
    }
}

/// One partition of the events topic. Offsets ascend with gaps, as transaction markers and
/// compaction leave them.
#[derive(Debug, Default)]
pub struct Events {
    entries: Vec<(i64, Stored)>,
    end: i64,
}

impl Events {
    /// Appends an event, `gap` offsets behind the end.
    pub fn append(&mut self, gap: i64, event: Stored) -> i64 {
        let offset = self.end + gap;
        self.entries.push((offset, event));
        self.end = offset + 1;
        offset
    }

    /// Where the next record goes.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// The first record at or after `offset`, if there is one by now.
    pub fn read(&self, offset: i64) -> Option<(i64, &Stored)> {
        let at = self.entries.partition_point(|(known, _)| *known < offset);
        self.entries.get(at).map(|(offset, event)| (*offset, event))
    }

    /// The last `count` records, oldest first.
    pub fn last(&self, count: usize) -> &[(i64, Stored)] {
        &self.entries[self.entries.len().saturating_sub(count)..]
    }

    /// The offset of the record `back` records before `offset`, not before `first`.
    pub fn before(&self, offset: i64, back: usize, first: i64) -> i64 {
        let at = self.entries.partition_point(|(known, _)| *known < offset);
        self.entries.get(at.saturating_sub(back)).map_or(offset, |(o, _)| (*o).clamp(first, offset))
    }
}

/// Copies a record of the log into a batch, as a consumer does.
pub fn copy(partition: i32, offset: i64, event: &Stored, batch: &mut Batch) {
    let record = Record {
        partition,
        offset,
        timestamp_ms: event.timestamp_ms,
        key: event.key.as_deref(),
        value: event.value.as_deref(),
    };
    batch.push(record, event.headers());
}

/// A record on an output topic: there for `read_committed` readers once its transaction is
/// committed.
#[derive(Debug, Clone)]
pub struct Output {
    pub topic: Topic,
    pub partition: i32,
    /// Number of its transaction.
    pub transaction: usize,
    pub record: Stored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    Predictions,
    DeadLetters,
    Shadow,
}
