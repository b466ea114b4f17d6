//! A batch: the records collected between two transactions, their bytes in one arena.
//!
//! Records are copied out of the client once, so that a batch is plain data: it outlives an
//! abort, a rebalance and a new producer, and no part of it points into librdkafka.

use std::ops::Range;
use std::time::Duration;

use crate::record::{Header, NextOffset, Record};

/// When a batch is closed: by whichever bound is met first.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub rows_max: usize,
    /// Keys, values and headers together. The record that crosses the bound still belongs to the
    /// batch, so the arena holds up to one record more.
    pub bytes_max: usize,
    /// From the first record on.
    pub age_max: Duration,
}

/// Records of several partitions; those of one partition in the order of their offsets.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    rows: Vec<Row>,
    headers: Vec<HeaderSpans>,
}

/// A record whose bytes stand in the arena.
#[derive(Debug)]
struct Row {
    partition: i32,
    offset: i64,
    timestamp_ms: Option<i64>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

#[derive(Debug)]
struct HeaderSpans {
    name: Range<usize>,
    value: Option<Range<usize>>,
}

impl Batch {
    /// Copies a record to the end of the batch.
    pub fn push<'a>(&mut self, record: Record<'a>, headers: impl Iterator<Item = Header<'a>>) {
        let first_header = self.headers.len();
        for header in headers {
            let name = self.store(header.name);
            let value = header.value.map(|value| self.store(value));
            self.headers.push(HeaderSpans { name, value });
        }
        let key = record.key.map(|key| self.store(key));
        let value = record.value.map(|value| self.store(value));
        self.rows.push(Row {
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key,
            value,
            headers: first_header..self.headers.len(),
        });
    }

    fn store(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Has the batch met its bound of rows or bytes?
    pub fn is_full(&self, bounds: &Bounds) -> bool {
        self.rows.len() >= bounds.rows_max || self.bytes.len() >= bounds.bytes_max
    }

    /// The record at `row`, in `0..len()`.
    pub fn record(&self, row: usize) -> Record<'_> {
        let row = &self.rows[row];
        Record {
            partition: row.partition,
            offset: row.offset,
            timestamp_ms: row.timestamp_ms,
            key: row.key.clone().map(|span| &self.bytes[span]),
            value: row.value.clone().map(|span| &self.bytes[span]),
        }
    }

    /// The headers of the record at `row`, in their order.
    pub fn headers(&self, row: usize) -> impl ExactSizeIterator<Item = Header<'_>> + Clone {
        self.headers[self.rows[row].headers.clone()].iter().map(|spans| Header {
            name: &self.bytes[spans.name.clone()],
            value: spans.value.clone().map(|span| &self.bytes[span]),
        })
    }

    /// Where each partition stands once this batch is settled, by partition.
    pub fn next_offsets(&self) -> Vec<(i32, NextOffset)> {
        let mut next: Vec<(i32, NextOffset)> = Vec::new();
        for row in &self.rows {
            let after = NextOffset::after(row.offset);
            match next.iter_mut().find(|(partition, _)| *partition == row.partition) {
                Some((_, at)) => *at = after,
                None => next.push((row.partition, after)),
            }
        }
        next.sort_unstable_by_key(|(partition, _)| *partition);
        next
    }

    /// Forgets the records of a partition that is no longer ours; its next owner reads them
    /// again. Says how many there were.
    pub fn forget(&mut self, partition: i32) -> usize {
        self.retain(|row| row.partition != partition)
    }

    /// Forgets the records of `partition` that `next` covers: the broker has them settled.
    pub fn forget_settled(&mut self, partition: i32, next: NextOffset) -> usize {
        self.retain(|row| row.partition != partition || !next.covers(row.offset))
    }

    /// Keeps the first half, at least one record, and puts the rest before what is in `behind`.
    pub fn halve(&mut self, behind: &mut Self) {
        let half = self.len().div_ceil(2);
        let mut rest = Self::default();
        for (batch, rows) in [(&*self, half..self.len()), (&*behind, 0..behind.len())] {
            rows.for_each(|row| rest.push(batch.record(row), batch.headers(row)));
        }
        self.rows.truncate(half);
        *behind = rest;
    }

    /// Forgotten rows leave their bytes in the arena until the batch is cleared.
    fn retain(&mut self, keep: impl Fn(&Row) -> bool) -> usize {
        let before = self.rows.len();
        self.rows.retain(keep);
        before - self.rows.len()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
        self.headers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: i32, offset: i64, value: &[u8]) -> Record<'_> {
        Record { partition, offset, timestamp_ms: Some(7), key: Some(b"k"), value: Some(value) }
    }

    fn batch(places: &[(i32, i64)]) -> Batch {
        let mut batch = Batch::default();
        for &(partition, offset) in places {
            batch.push(record(partition, offset, b"v"), std::iter::empty());
        }
        batch
    }

    #[test]
    fn a_record_comes_back_as_it_was_pushed() {
        let header = Header { name: b"traceparent", value: None };
        let mut batch = batch(&[(0, 1)]);
        batch.push(record(3, 9, b"{}"), [header].into_iter());
        assert_eq!(batch.record(1), record(3, 9, b"{}"));
        assert_eq!(batch.headers(1).collect::<Vec<_>>(), [header]);
        assert_eq!(batch.headers(0).len(), 0);
    }

    #[test]
    fn next_offsets_are_one_past_the_last_of_each_partition() {
        let batch = batch(&[(2, 5), (0, 40), (2, 6), (0, 44)]);
        assert_eq!(batch.next_offsets(), [(0, NextOffset::at(45)), (2, NextOffset::at(7))]);
    }

    #[test]
    fn a_revoked_partition_leaves_nothing_behind() {
        let mut batch = batch(&[(2, 5), (0, 40), (2, 6)]);
        assert_eq!(batch.forget(2), 2);
        assert_eq!(batch.next_offsets(), [(0, NextOffset::at(41))]);
    }

    #[test]
    fn settled_records_are_forgotten_and_later_ones_kept() {
        let mut batch = batch(&[(2, 5), (0, 5), (2, 6)]);
        assert_eq!(batch.forget_settled(2, NextOffset::at(6)), 1);
        assert_eq!(batch.record(0).offset, 5);
        assert_eq!(batch.record(1).offset, 6);
    }

    #[test]
    fn the_second_half_goes_before_what_comes_later() {
        let header = Header { name: b"traceparent", value: Some(b"1") };
        let (mut first, mut behind) = (batch(&[(0, 1), (1, 7)]), batch(&[(0, 3)]));
        first.push(record(0, 2, b"w"), [header].into_iter());
        first.halve(&mut behind);
        assert_eq!(first.next_offsets(), [(0, NextOffset::at(2)), (1, NextOffset::at(8))]);
        assert_eq!(behind.len(), 2);
        assert_eq!(behind.record(0), record(0, 2, b"w"));
        assert_eq!(behind.headers(0).collect::<Vec<_>>(), [header]);
        assert_eq!(behind.record(1), record(0, 3, b"v"));
        let mut alone = batch(&[(0, 1)]);
        alone.halve(&mut behind);
        assert_eq!((alone.len(), behind.len()), (1, 2));
    }

    #[test]
    fn a_batch_is_full_by_rows_or_by_bytes() {
        let age_max = Duration::from_millis(25);
        let batch = batch(&[(0, 1), (0, 2)]);
        assert!(batch.is_full(&Bounds { rows_max: 2, bytes_max: 1000, age_max }));
        assert!(batch.is_full(&Bounds { rows_max: 9, bytes_max: 4, age_max }));
        assert!(!batch.is_full(&Bounds { rows_max: 9, bytes_max: 5, age_max }));
    }
}
