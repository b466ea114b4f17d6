//! Which letters were put back: notes on the dead-letters topic, as ranges of offsets.
//!
//! A note has neither key nor value, and one header, `foretell.redriven`, whose text lists the offsets of
//! its partition that are dealt with: `0-41,43-43`. It is written in the transaction that puts these
//! letters back. Kafka deletes a partition from its beginning, so a note is there as long as its letters.
//! A letter's headers are partly its event's, which is anyone's: a note is what has this header alone.

use std::collections::BTreeMap;

use super::letter;
use crate::record::{Header, NextOffset, Record};

/// The header that makes a record a note.
pub const NOTE: &str = "foretell.redriven";

/// Offsets by partition: the first of a range, and its last. Ranges do not touch.
#[derive(Debug, Default)]
pub struct Taken(BTreeMap<i32, BTreeMap<i64, i64>>);

/// A note that cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Unread(pub String);

impl Taken {
    /// Takes in what a record says, if it is a note.
    pub fn read<'m>(
        &mut self,
        record: &Record<'m>,
        headers: &mut dyn Iterator<Item = Header<'m>>,
    ) -> Result<(), Unread> {
        let Some(header) = note(record, headers) else { return Ok(()) };
        let text = letter::text(&[header], NOTE).unwrap_or_default();
        for range in text.split(',') {
            let range =
                parse(range).ok_or_else(|| Unread(format!("`{NOTE}` is no list of offsets")))?;
            self.add(record.partition, range);
        }
        Ok(())
    }

    fn add(&mut self, partition: i32, (mut first, mut last): (i64, i64)) {
        let ranges = self.0.entry(partition).or_default();
        // Those that overlap it, or touch it, become one with it.
        while let Some((&start, &end)) = ranges.range(..=NextOffset::after(last).get()).next_back()
            && NextOffset::after(end).get() >= first
        {
            ranges.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        ranges.insert(first, last);
    }

    pub fn covers(&self, partition: i32, offset: i64) -> bool {
        let range = self.0.get(&partition).and_then(|it| it.range(..=offset).next_back());
        range.is_some_and(|(_, last)| offset <= *last)
    }

    /// Where to look for letters that were not put back, on a partition that begins at `low`.
    pub fn first_open(&self, partition: i32, low: i64) -> i64 {
        let range = self.0.get(&partition).and_then(|it| it.range(..=low).next_back());
        range.map_or(low, |(_, last)| low.max(NextOffset::after(*last).get()))
    }
}

/// Is this record a note?
pub fn is_note<'m>(record: &Record<'m>, headers: &[Header<'m>]) -> bool {
    note(record, &mut headers.iter().copied()).is_some()
}

fn note<'m>(
    record: &Record<'m>,
    headers: &mut dyn Iterator<Item = Header<'m>>,
) -> Option<Header<'m>> {
    let header = headers.next()?;
    let is_alone = headers.next().is_none() && record.key.is_none() && record.value.is_none();
    (is_alone && header.name == NOTE.as_bytes()).then_some(header)
}

fn parse(range: &str) -> Option<(i64, i64)> {
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (0 <= first && first <= last && last < i64::MAX).then_some((first, last))
}

/// The text of a note.
pub fn text(ranges: &[(i64, i64)]) -> String {
    let ranges = ranges.iter().map(|(first, last)| format!("{first}-{last}"));
    ranges.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn record(value: Option<&'static [u8]>) -> Record<'static> {
        Record { partition: 2, offset: 50, timestamp_ms: None, key: None, value }
    }

    fn read(taken: &mut Taken, text: &str) -> Result<(), Unread> {
        let header = Header { name: NOTE.as_bytes(), value: Some(text.as_bytes()) };
        taken.read(&record(None), &mut [header].into_iter())
    }

    #[test]
    fn what_is_no_note_says_nothing() {
        let mut taken = Taken::default();
        let header = Header { name: NOTE.as_bytes(), value: Some(b"0-9") };
        let reason = Header { name: b"foretell.reason", value: Some(b"not_json") };
        taken.read(&record(Some(b"{}")), &mut [header].into_iter()).unwrap();
        taken.read(&record(None), &mut [header, reason].into_iter()).unwrap();
        taken.read(&record(None), &mut [].into_iter()).unwrap();
        assert!(!taken.covers(2, 5));
        taken.read(&record(None), &mut [header].into_iter()).unwrap();
        assert!(taken.covers(2, 5) && !taken.covers(1, 5) && !taken.covers(2, 10));
    }

    #[test]
    fn a_note_that_cannot_be_read_is_no_empty_note() {
        for text in ["", "1", "1-", "-1-4", "5-4", "1-2,", "1-x", "0-9223372036854775807"] {
            assert!(read(&mut Taken::default(), text).is_err(), "{text}");
        }
    }

    #[test]
    fn reading_goes_on_behind_what_was_taken_in_one_piece() {
        let mut taken = Taken::default();
        assert_eq!(taken.first_open(2, 7), 7);
        read(&mut taken, "0-9,12-14").unwrap();
        assert_eq!(taken.first_open(2, 0), 10);
        assert_eq!(taken.first_open(2, 11), 11);
        assert_eq!(taken.first_open(2, 13), 15);
        assert_eq!(taken.first_open(2, 99), 99);
    }

    proptest! {
        #[test]
        fn ranges_are_what_the_notes_list(
            notes in prop::collection::vec(prop::collection::vec((0_i64..60, 0_i64..6), 1..4), 0..12)
        ) {
            let (mut taken, mut expected) = (Taken::default(), BTreeSet::new());
            for note in notes {
                let ranges: Vec<_> = note.iter().map(|(first, more)| (*first, first + more)).collect();
                read(&mut taken, &text(&ranges)).unwrap();
                expected.extend(ranges.iter().flat_map(|(first, last)| *first..=*last));
            }
            for offset in 0..70 {
                prop_assert_eq!(taken.covers(2, offset), expected.contains(&offset));
            }
            let ranges = taken.0.remove(&2).unwrap_or_default();
            let apart = ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.1 + 1 < *b.0);
            prop_assert!(apart, "{:?}", ranges);
        }
    }
}
