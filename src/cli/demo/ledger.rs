//! The account: each event by its partition and offset, and every answer to it. A fold over what
//! was read; it knows no clock and no Kafka.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::answer::{DeadLetter, Input, Prediction};
use super::fact::{Read, Topic};
use super::quality::Quality;

pub struct Ledger {
    partitions: BTreeMap<i32, Partition>,
    versions: Vec<Version>,
    reasons: BTreeMap<String, u64>,
    counts: Counts,
    quality: Quality,
    /// From an event's timestamp to the moment its prediction was read, in milliseconds.
    latency: Histogram<u64>,
}

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub events: u64,
    pub predictions: u64,
    pub dead_letters: u64,
    /// Events with an answer; an event may be read after its answer.
    pub answered: u64,
    /// Answers to an event that had one.
    pub doubled: u64,
    /// Records on predictions or dead letters that cannot be read as such.
    pub unreadable: u64,
}

impl Counts {
    /// Events without an answer.
    pub fn open(&self) -> u64 {
        self.events.saturating_sub(self.answered)
    }
}

/// The predictions of one version, over all partitions.
#[derive(Debug)]
pub struct Version {
    pub name: String,
    pub predictions: u64,
    pub first_at: Instant,
    pub last_at: Instant,
}

/// One partition of the events.
#[derive(Debug, Default)]
pub struct Partition {
    /// By offset: was the event read, how many answers were.
    events: Vec<(bool, u8)>,
    /// Who scored, in the order of the predictions: usually one turn a version.
    pub turns: Vec<Turn>,
    last_at: Option<Instant>,
    /// The longest time without an answer since this was last asked to be watched.
    pub silence: Duration,
}

/// Consecutive predictions of one version, from one event's offset to another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub version: String,
    pub first: u64,
    pub last: u64,
}

/// What a record turned out to be.
pub enum Entry {
    Event,
    Prediction(Prediction),
    DeadLetter(DeadLetter),
    Unreadable,
}

impl Ledger {
    pub fn new(quality: Quality) -> Self {
        Self {
            partitions: BTreeMap::new(),
            versions: Vec::new(),
            reasons: BTreeMap::new(),
            counts: Counts::default(),
            quality,
            latency: histogram(),
        }
    }

    /// Takes a record into account.
    pub fn enter(&mut self, read: &Read) -> Entry {
        match read.topic {
            Topic::Events => {
                self.event(read.record.partition, read.record.offset);
                Entry::Event
            }
            Topic::Predictions => match Prediction::read(&read.record) {
                Some(prediction) => {
                    self.prediction(&prediction, read);
                    Entry::Prediction(prediction)
                }
                None => self.unreadable(),
            },
            Topic::DeadLetters => match DeadLetter::read(&read.record) {
                Some(letter) => {
                    self.counts.dead_letters += 1;
                    *self.reasons.entry(letter.reason.clone()).or_default() += 1;
                    self.answer(letter.input, read.at);
                    Entry::DeadLetter(letter)
                }
                None => self.unreadable(),
            },
        }
    }

    fn unreadable(&mut self) -> Entry {
        self.counts.unreadable += 1;
        Entry::Unreadable
    }

    fn event(&mut self, partition: i32, offset: i64) {
        let Ok(offset) = u64::try_from(offset) else { return };
        self.counts.events += 1;
        self.partitions.entry(partition).or_default().event(offset).0 = true;
    }

    fn prediction(&mut self, prediction: &Prediction, read: &Read) {
        let Prediction { version, input, .. } = prediction;
        self.counts.predictions += 1;
        if let Some(latency_ms) = read.latency_ms() {
            self.latency.saturating_record(latency_ms);
        }
        match self.versions.iter_mut().find(|known| known.name == *version) {
            Some(known) => {
                known.predictions += 1;
                known.last_at = read.at;
            }
            None => self.versions.push(Version {
                name: version.clone(),
                predictions: 1,
                first_at: read.at,
                last_at: read.at,
            }),
        }
        self.partitions.entry(input.partition).or_default().turn(version, input.offset);
        if self.answer(*input, read.at) {
            self.quality.note(prediction);
        }
    }

    /// Says whether this is the first answer to the event.
    fn answer(&mut self, input: Input, at: Instant) -> bool {
        let partition = self.partitions.entry(input.partition).or_default();
        let silence = partition.last_at.map_or(Duration::ZERO, |last| at - last);
        partition.silence = partition.silence.max(silence);
        partition.last_at = Some(at);
        let (_, answers) = partition.event(input.offset);
        *answers = answers.saturating_add(1);
        let is_first = *answers == 1;
        if is_first {
            self.counts.answered += 1;
        } else {
            self.counts.doubled += 1;
        }
        is_first
    }

    /// Forgets latencies: those of the first events hold the time that it took to join the group.
    pub fn forget_latency(&mut self) {
        self.latency.reset();
    }

    /// From now on the longest silence of each partition is watched anew.
    pub fn watch_silence(&mut self) {
        for partition in self.partitions.values_mut() {
            partition.silence = Duration::ZERO;
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Events that were read and never answered. Unlike [`Counts::open`] it looks at each.
    pub fn lost(&self) -> u64 {
        let events = self.partitions.values().flat_map(|partition| &partition.events);
        events.filter(|(is_event, answers)| *is_event && *answers == 0).count() as u64
    }

    /// In the order in which they first served.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    pub fn partitions(&self) -> &BTreeMap<i32, Partition> {
        &self.partitions
    }

    pub fn reasons(&self) -> &BTreeMap<String, u64> {
        &self.reasons
    }

    pub fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    pub fn quality(&self) -> &Quality {
        &self.quality
    }
}

impl Partition {
    fn event(&mut self, offset: u64) -> &mut (bool, u8) {
        let at = offset as usize;
        if self.events.len() <= at {
            self.events.resize(at + 1, (false, 0));
        }
        &mut self.events[at]
    }

    fn turn(&mut self, version: &str, offset: u64) {
        match self.turns.last_mut() {
            Some(turn) if turn.version == version => turn.last = offset,
            _ => self.turns.push(Turn { version: version.into(), first: offset, last: offset }),
        }
    }
}

/// Three digits are more than a millisecond clock deserves.
pub fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three significant digits are allowed")
}
