//! An independent reader of the topics: what became of each event.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use foretell::bus::tail::{Record, Step, Tail};
use serde_json::Value;

use super::deployment::Deployment;
use super::eventually::eventually;
use super::{letters, model, topics};

/// Nothing more comes for so long: what there is has been read.
const QUIET: Duration = Duration::from_millis(10);
/// One look lasts no longer.
const READ_MAX: Duration = Duration::from_millis(200);

/// Partition and offset of an event.
pub type Place = (i32, i64);

/// One prediction or dead letter.
#[derive(Debug)]
pub struct Answer {
    pub record: Record,
    /// The event that it answers.
    pub input: Place,
    /// `None`: a dead letter.
    pub prediction: Option<Prediction>,
}

#[derive(Debug)]
pub struct Prediction {
    pub id: String,
    pub value: f64,
    pub version: u32,
    pub control_offset: Option<i64>,
}

/// Reads predictions and dead letters as they come.
pub struct Probe<'a> {
    deployment: &'a Deployment,
    tails: [Tail; 2],
    pub answers: Vec<Answer>,
    answered: BTreeSet<Place>,
}

impl<'a> Probe<'a> {
    pub fn new(deployment: &'a Deployment) -> Self {
        let open = |topic| Tail::open(&deployment.kafka, topic).expect("the topic can be opened");
        let tails =
            [&deployment.topics.predictions, &deployment.topics.dead_letters].map(|t| open(t));
        Self { deployment, tails, answers: Vec::new(), answered: BTreeSet::new() }
    }

    /// Reads what there is by now; under a steady stream, for a while.
    pub fn read(&mut self) {
        for tail in &mut self.tails {
            let began = Instant::now();
            let mut last = began;
            // That a partition is read to its end is a step too, and others may hold more.
            while last.elapsed() < QUIET && began.elapsed() < READ_MAX {
                if let Step::Record(record) = tail.next(QUIET / 2).expect("the topic can be read") {
                    last = Instant::now();
                    if letters::is_note(&record) {
                        continue;
                    }
                    let answer = Answer::of(record);
                    self.answered.insert(answer.input);
                    self.answers.push(answer);
                }
            }
        }
    }

    /// Number of events that have an answer.
    pub fn answered(&mut self) -> u64 {
        self.read();
        self.answered.len() as u64
    }

    /// Waits until so many events have an answer.
    #[track_caller]
    pub fn await_answers(&mut self, within: Duration, count: u64) {
        let what = format!("{count} events to be answered");
        eventually(within, &what, || (self.answered() >= count).then_some(()));
    }

    /// Waits until each event that was fed by now has an answer.
    #[track_caller]
    pub fn await_all(&mut self, within: Duration) {
        let fed = self.deployment.fed.load(Ordering::Relaxed);
        self.await_answers(within, fed);
    }

    /// Compares the answers with the events, all of them.
    pub fn verdict(&mut self) -> Verdict {
        self.read();
        let events = topics::read(self.deployment, &self.deployment.topics.events);
        let mut verdict = Verdict { events: events.len(), ..Verdict::default() };
        let events: BTreeMap<Place, Record> =
            events.into_iter().map(|event| ((event.partition, event.offset), event)).collect();
        let mut unanswered: BTreeSet<Place> = events.keys().copied().collect();
        let mut last: BTreeMap<(bool, i32), i64> = BTreeMap::new();
        for answer in &self.answers {
            if !unanswered.remove(&answer.input) {
                verdict.doubled.push(answer.input);
            }
            let of = (answer.prediction.is_some(), answer.record.partition);
            if last.insert(of, answer.input.1).is_some_and(|before| before >= answer.input.1) {
                verdict.disordered.push(answer.input);
            }
            match events.get(&answer.input) {
                Some(event) => verdict.wrong.extend(answer.fault(event)),
                None => verdict.wrong.push(format!("{:?} is no event", answer.input)),
            }
        }
        verdict.lost = unanswered.into_iter().collect();
        verdict
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (answers, events) = (self.answers.len(), self.answered.len());
            eprintln!("── the probe has seen {answers} answers to {events} events");
            eprint!("{}", topics::standing(self.deployment));
        }
    }
}

impl Answer {
    fn of(record: Record) -> Self {
        if let Some(offset) = record.header("__connect.errors.offset") {
            let partition = record.header("__connect.errors.partition").unwrap_or_default();
            let number = |text: String| text.parse().expect("a place is a number");
            let input = (number(partition) as i32, number(offset));
            return Self { record, input, prediction: None };
        }
        let value: Value = serde_json::from_slice(record.value.as_deref().unwrap_or_default())
            .expect("a prediction is JSON");
        let place =
            |name: &str| value["input"][name].as_i64().expect("a prediction names its event");
        let prediction = Prediction {
            id: value["id"].as_str().expect("an id of the feeder is text").to_owned(),
            value: value["prediction"].as_f64().expect("a prediction has a value"),
            version: value["version"].as_str().and_then(|v| v.parse().ok()).expect("a version"),
            control_offset: value["control_offset"].as_i64(),
        };
        let input = (place("partition") as i32, place("offset"));
        Self { record, input, prediction: Some(prediction) }
    }

    /// What is wrong with it as the answer to `event`, if anything is.
    fn fault(&self, event: &Record) -> Option<String> {
        let Some(prediction) = &self.prediction else { return None };
        let value: Value = serde_json::from_slice(event.value.as_deref()?).ok()?;
        let x = value["x"].as_f64()?;
        let expected = model::says(prediction.version, x);
        let fine = value["id"] == prediction.id.as_str()
            && prediction.value == expected
            && self.record.partition == event.partition
            && self.record.key == event.key
            && self.record.timestamp_ms == event.timestamp_ms;
        (!fine).then(|| format!("{self:?} answers {event:?}, expected value {expected}"))
    }
}

/// How answers and events compare.
#[derive(Debug, Default)]
pub struct Verdict {
    pub events: usize,
    /// Without an answer.
    pub lost: Vec<Place>,
    /// With one more.
    pub doubled: Vec<Place>,
    /// Answered after a later event of their partition.
    pub disordered: Vec<Place>,
    /// Answered with another id, value, key, time or partition than theirs.
    pub wrong: Vec<String>,
}

impl Verdict {
    /// Each event has one answer, the right one, in order.
    #[track_caller]
    pub fn is_exactly_once(&self) {
        let faults =
            self.lost.len() + self.doubled.len() + self.disordered.len() + self.wrong.len();
        assert_eq!(faults, 0, "expected every event to be answered once, in order: {self}");
        assert!(self.events > 0, "expected some events to judge by");
    }

    /// Each event has an answer, the right one; some may have more.
    #[track_caller]
    pub fn is_at_least_once(&self) {
        let faults = self.lost.len() + self.wrong.len();
        assert_eq!(faults, 0, "expected every event to be answered: {self}");
        assert!(self.events > 0, "expected some events to judge by");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, lost, doubled, disordered, wrong } = self;
        write!(f, "{events} events")?;
        for (what, places) in [("lost", lost), ("doubled", doubled), ("out of order", disordered)] {
            write!(f, ", {} {what}", places.len())?;
            if let (Some(first), Some(last)) = (places.first(), places.last()) {
                write!(f, " (first {first:?}, last {last:?})")?;
            }
        }
        write!(f, ", {} wrong", wrong.len())?;
        wrong.first().map_or(Ok(()), |first| write!(f, ": {first}"))
    }
}
