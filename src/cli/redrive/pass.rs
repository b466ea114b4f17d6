//! One pass over the dead letters: those that are wanted are put back, some hundreds a transaction, each
//! of which notes what it put back.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use super::letter::{Letter, is_own};
use super::pace::Pace;
use super::report::{Left, Totals};
use super::taken::{NOTE, Taken, is_note, text};
use super::{Filter, original, stopped};
use crate::batch::Batch;
use crate::bus::Fatal;
use crate::bus::tail::Tail;
use crate::bus::writer::Writer;
use crate::cli::failure::Failure;
use crate::cli::reading;
use crate::config::Config;
use crate::encode::ATTEMPT;
use crate::record::{Header, Record};
use crate::reject::Reason;
use crate::stop::Stop;

/// Letters and bytes of a transaction.
const EVENTS_MAX: usize = 500;
const BYTES_MAX: usize = 8 << 20;
/// Bytes that a record takes besides key, value and headers, generously.
const RECORD_OVERHEAD: usize = 512;
/// Lengths of a header's name and value.
const HEADER_OVERHEAD: usize = 16;

pub struct Pass<'a> {
    config: &'a Config,
    filter: &'a Filter,
    taken: &'a Taken,
    limits: Limits,
    stop: &'a Stop,
    /// `None`: a dry run.
    writer: Option<Writer>,
    pace: Pace,
    chunk: Chunk,
    totals: Totals,
}

/// What the events topic has and takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub partitions: usize,
    /// The longest record, in bytes.
    pub record_bytes_max: usize,
}

/// What the next transaction puts back.
#[derive(Default)]
struct Chunk {
    /// The events, as they shall stand on their topic; their offset means nothing.
    events: Batch,
    bytes: usize,
    /// Reason and partition of each.
    of: Vec<(Reason, i32)>,
    /// The offsets of their letters, by the letters' partition.
    ranges: BTreeMap<i32, Vec<(i64, i64)>>,
    /// Partitions whose last letter was left where it is: no range goes over it.
    broken: BTreeSet<i32>,
}

impl<'a> Pass<'a> {
    /// A pass that tells what would be put back.
    pub fn new(
        config: &'a Config,
        filter: &'a Filter,
        taken: &'a Taken,
        limits: Limits,
        stop: &'a Stop,
    ) -> Self {
        let (writer, pace) = (None, Pace::new(None));
        let (chunk, totals) = Default::default();
        Self { config, filter, taken, limits, stop, writer, pace, chunk, totals }
    }

    /// The same, and puts it back, at most so many events a second.
    pub fn writing(self, writer: Writer, rate: Option<NonZeroU32>) -> Self {
        Self { writer: Some(writer), pace: Pace::new(rate), ..self }
    }

    /// Reads the letters to the end of their range. What was put back is told however it ends.
    pub fn run(mut self, letters: &mut Tail) -> (Totals, Result<(), Failure>) {
        let Config { kafka, topics, .. } = self.config;
        let what = if self.writer.is_some() { "putting back" } else { "counting" };
        let read =
            reading::to_end(letters, &topics.dead_letters, kafka, what, |record, headers| {
                if self.stop.is_requested() {
                    return Err(stopped());
                }
                self.consider(record, &headers.collect::<Vec<_>>())?;
                let is_full = self.chunk.bytes >= BYTES_MAX
                    || self.chunk.events.len() >= self.pace.events_max(EVENTS_MAX);
                if is_full { self.settle() } else { Ok(()) }
            });
        let outcome = read.and_then(|()| self.settle());
        (self.totals, outcome)
    }

    fn consider(&mut self, record: Record<'_>, headers: &[Header<'_>]) -> Result<(), Failure> {
        if is_note(&record, headers) {
            return Ok(());
        }
        self.totals.read += 1;
        let left = match Letter::of(headers) {
            None => Some(Left::NoLetter),
            Some(letter) => match self.passed_over(&record, &letter) {
                None => self.take(record, headers, &letter)?,
                left => left,
            },
        };
        if let Some(left) = left {
            *self.totals.left.entry(left).or_default() += 1;
            // What was put back before may well be noted once more.
            if left != Left::PutBackBefore {
                self.chunk.broken.insert(record.partition);
            }
        }
        Ok(())
    }

    /// Why a letter is not to be put back, if it is not.
    fn passed_over(&self, record: &Record<'_>, letter: &Letter<'_>) -> Option<Left> {
        let Filter { reason, partition, since, until, attempts_max } = self.filter;
        let time = record.timestamp_ms;
        let is_wanted = (reason.is_empty() || reason.contains(&letter.reason))
            && (partition.is_empty() || partition.contains(&letter.partition))
            && since.is_none_or(|since| time.is_some_and(|time| time >= since.as_millisecond()))
            && until.is_none_or(|until| time.is_some_and(|time| time < until.as_millisecond()));
        if self.taken.covers(record.partition, record.offset) {
            Some(Left::PutBackBefore)
        } else if letter.topic != self.config.topics.events {
            Some(Left::OtherTopic)
        } else if !is_wanted {
            Some(Left::Filtered)
        } else if letter.attempt >= *attempts_max {
            Some(Left::Attempts)
        } else {
            None
        }
    }

    /// Puts the letter's event into the chunk, or says why that cannot be.
    fn take(
        &mut self,
        record: Record<'_>,
        headers: &[Header<'_>],
        letter: &Letter<'_>,
    ) -> Result<Option<Left>, Failure> {
        if letter.omitted.is_none() {
            return Ok(self.add(record, record, headers, letter));
        }
        if !is_there(letter.partition, self.limits.partitions) {
            return Ok(Some(Left::Gone));
        }
        let Some(event) = original::fetch(self.config, letter, record.key)? else {
            return Ok(Some(Left::Gone));
        };
        let headers = event
            .headers
            .iter()
            .map(|(name, value)| Header { name: name.as_bytes(), value: value.as_deref() });
        let whole = Record {
            key: event.key.as_deref(),
            value: event.value.as_deref(),
            timestamp_ms: event.timestamp_ms,
            ..record
        };
        Ok(self.add(record, whole, &headers.collect::<Vec<_>>(), letter))
    }

    fn add(
        &mut self,
        place: Record<'_>,
        event: Record<'_>,
        headers: &[Header<'_>],
        letter: &Letter<'_>,
    ) -> Option<Left> {
        let attempt = letter.attempt.to_string();
        let attempt = Header { name: ATTEMPT.as_bytes(), value: Some(attempt.as_bytes()) };
        // Kept, so that the next refusal counts on.
        let own = headers.iter().copied().filter(is_own).chain([attempt]);
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let header_bytes = own.clone().map(|it| it.name.len() + length(it.value) + HEADER_OVERHEAD);
        let bytes = length(event.key) + length(event.value) + header_bytes.sum::<usize>();
        if bytes + RECORD_OVERHEAD > self.limits.record_bytes_max {
            return Some(Left::TooLong);
        }
        let Chunk { events, bytes: sum, of, ranges, broken } = &mut self.chunk;
        events.push(Record { partition: letter.partition, ..event }, own);
        *sum += bytes;
        of.push((letter.reason, letter.partition));
        let ranges = ranges.entry(place.partition).or_default();
        match (ranges.last_mut(), broken.remove(&place.partition)) {
            (Some((_, last)), false) => *last = place.offset,
            _ => ranges.push((place.offset, place.offset)),
        }
        None
    }

    /// Puts back what the chunk holds, in one transaction.
    fn settle(&mut self) -> Result<(), Failure> {
        if self.chunk.events.is_empty() {
            return Ok(());
        }
        if !self.pace.wait(self.chunk.events.len(), self.stop) {
            return Err(stopped());
        }
        if let Some(writer) = &mut self.writer {
            self.chunk.write(self.config, self.limits.partitions, writer)?;
        }
        for (reason, partition) in self.chunk.of.drain(..) {
            *self.totals.reasons.entry(reason).or_default() += 1;
            *self.totals.partitions.entry(partition).or_default() += 1;
        }
        self.chunk.events.clear();
        self.chunk.bytes = 0;
        self.chunk.ranges.clear();
        Ok(())
    }
}

impl Chunk {
    fn write(&self, config: &Config, partitions: usize, writer: &mut Writer) -> Result<(), Fatal> {
        let topics = &config.topics;
        for row in 0..self.events.len() {
            let event = self.events.record(row);
            let its_own = is_there(event.partition, partitions).then_some(event.partition);
            let to = (topics.events.as_str(), its_own);
            writer.write(to, event, self.events.headers(row))?;
        }
        for (&partition, ranges) in &self.ranges {
            let text = text(ranges);
            let header = Header { name: NOTE.as_bytes(), value: Some(text.as_bytes()) };
            let (key, value) = (None, None);
            let note = Record { partition, offset: 0, timestamp_ms: None, key, value };
            let to = (topics.dead_letters.as_str(), Some(partition));
            writer.write(to, note, [header].into_iter())?;
        }
        writer.commit()
    }
}

/// Does a topic of so many partitions have this one?
fn is_there(partition: i32, partitions: usize) -> bool {
    usize::try_from(partition).is_ok_and(|partition| partition < partitions)
}
