//! The account: each event by its partition and offset, and every answer to it. A fold over what
//! was read; it knows no clock and no Kafka.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::answer::{DeadLetter, Input, Prediction};
use super::fact::{Read, Topic};
use super::quality::Quality;
use crate::control::message::Message;

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
    Message(Message),
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
            Topic::Control => {
                let value = read.record.value.as_deref().unwrap_or_default();
                Message::parse(value).map_or_else(|_| self.unreadable(), Entry::Message)
            }
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

    /// The producer's new release is out: predictions are judged apart from now on.
    pub fn release(&mut self) {
        self.quality.release();
    }

    /// Predictions of a version.
    pub fn predictions_by(&self, version: &str) -> u64 {
        let found = self.versions.iter().find(|known| known.name == version);
        found.map_or(0, |version| version.predictions)
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

/// Milliseconds up to an hour; a longer time counts as an hour.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000, 3).expect("bounds and digits are allowed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::tail::Record;
    use crate::cli::demo::flights::Arrivals;

    /// A ledger with entries: events, predictions and dead letters of partition 0, by offset.
    struct Case(Ledger, Instant);

    impl Case {
        fn new() -> Self {
            Self(Ledger::new(Quality::new(Arrivals::unpack().unwrap())), Instant::now())
        }

        fn enter(&mut self, topic: Topic, record: Record, after_ms: u64) -> &mut Self {
            let at = self.1 + Duration::from_millis(after_ms);
            self.0.enter(&Read { topic, record, at, at_ms: 1_000 });
            self
        }

        fn event(&mut self, offset: i64) -> &mut Self {
            self.enter(Topic::Events, record(offset), 0)
        }

        fn prediction(&mut self, offset: i64, version: &str, after_ms: u64) -> &mut Self {
            let json = serde_json::json!({
                "id": "x", "label": "late", "probability": 0.5, "version": version,
                "input": {"partition": 0, "offset": offset},
                "carry": {"carrier": "UA", "number": 1, "origin": "EWR", "dest": "IAH", "delay": 0},
            });
            let value = Some(json.to_string().into_bytes());
            self.enter(Topic::Predictions, Record { value, ..record(77) }, after_ms)
        }

        fn dead_letter(&mut self, offset: i64) -> &mut Self {
            let header = |name: &str, value: String| (name.to_owned(), Some(value.into_bytes()));
            let headers = vec![
                header("__connect.errors.partition", "0".into()),
                header("__connect.errors.offset", offset.to_string()),
                header("__connect.errors.exception.message", "no".into()),
                header("foretell.reason", "not_json".into()),
            ];
            self.enter(Topic::DeadLetters, Record { headers, ..record(77) }, 0)
        }
    }

    fn record(offset: i64) -> Record {
        Record {
            partition: 0,
            offset,
            timestamp_ms: Some(990),
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn each_event_has_one_answer_or_is_told() {
        let mut case = Case::new();
        // The answer may be read before its event; a dead letter is an answer too.
        case.prediction(0, "1", 0).event(0).event(1).event(2).event(3);
        case.dead_letter(1).prediction(3, "1", 0).prediction(3, "1", 0);
        let counts = case.0.counts();
        assert_eq!((counts.events, counts.predictions, counts.dead_letters), (4, 3, 1));
        assert_eq!((counts.open(), case.0.lost(), counts.doubled), (1, 1, 1));
        assert_eq!(case.0.reasons()["not_json"], 1);
        assert_eq!(case.0.latency().max(), 10);
    }

    #[test]
    fn an_answer_to_another_event_does_not_hide_a_loss() {
        let mut case = Case::new();
        case.event(0).prediction(5, "1", 0);
        assert_eq!((case.0.counts().open(), case.0.lost()), (0, 1));
    }

    #[test]
    fn what_cannot_be_read_is_counted() {
        let mut case = Case::new();
        case.enter(Topic::Predictions, record(0), 0).enter(Topic::DeadLetters, record(0), 0);
        assert_eq!(case.0.counts().unreadable, 2);
    }

    #[test]
    fn the_versions_take_turns_and_silence_is_measured() {
        let mut case = Case::new();
        case.prediction(0, "1", 0).prediction(1, "1", 10);
        case.0.watch_silence();
        case.prediction(2, "2", 40).prediction(3, "2", 50);
        let partition = &case.0.partitions()[&0];
        let turn = |version: &str, first, last| Turn { version: version.into(), first, last };
        assert_eq!(partition.turns, [turn("1", 0, 1), turn("2", 2, 3)]);
        assert_eq!(partition.silence, Duration::from_millis(30));
        let versions = case.0.versions();
        assert_eq!(versions.iter().map(|v| v.predictions).collect::<Vec<_>>(), [2, 2]);
    }
}
