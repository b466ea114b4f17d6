//! Whoever reads the predictions downstream: committed records only, noted as they come.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use foretell::bus::tail::{Record, Step, Tail};
use jiff::Timestamp;
use serde_json::Value;

use crate::kafka::deployment::Deployment;
use crate::kafka::eventually::eventually;
use crate::kafka::probe::Place;

const LOOK: Duration = Duration::from_millis(50);

/// A prediction, in little memory: there are a million in a long run.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub partition: i32,
    /// The event that it answers, by its own account.
    pub input: Place,
    /// The number of that event, and the one in its key.
    pub number: u64,
    pub key: u64,
    pub value: f64,
    pub version: u32,
    pub control_offset: Option<i64>,
    /// From the event's time to its being read here, in milliseconds.
    pub latency_ms: i64,
}

/// What was read so far.
#[derive(Default)]
pub struct Seen {
    pub rows: Vec<Row>,
    /// Records that are no prediction as the feeder's events have them.
    pub unreadable: Vec<String>,
    /// When each row of a partition came, since the witness was there.
    arrivals: BTreeMap<i32, Vec<Duration>>,
    /// The highest number seen on each partition.
    newest: BTreeMap<i32, u64>,
}

pub struct Witness {
    since: Instant,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    pub fn start(deployment: &Deployment) -> Self {
        let topic = &deployment.topics.predictions;
        let tail = Tail::open(&deployment.kafka, topic).expect("the topic can be opened");
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let since = Instant::now();
        let (into, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || read(tail, since, &into, &stopped));
        Self { since, seen, stop, thread: Some(thread) }
    }

    /// Time since it was started.
    pub fn now(&self) -> Duration {
        self.since.elapsed()
    }

    pub fn look(&self) -> MutexGuard<'_, Seen> {
        assert!(
            self.thread.as_ref().is_some_and(|thread| !thread.is_finished()),
            "the topic of predictions can be read no more"
        );
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until each of `partitions` answers an event of this number or a later one; gives when all
    /// did.
    #[track_caller]
    pub fn await_answers(
        &self,
        within: Duration,
        what: &str,
        partitions: &[i32],
        number: u64,
    ) -> Duration {
        let what = format!("answers to new events on {partitions:?} after {what}");
        eventually(within, &what, || {
            self.unanswered(partitions, number).is_empty().then(|| self.now())
        })
    }

    /// Those of `partitions` that answer no event of this number or a later one yet.
    pub fn unanswered(&self, partitions: &[i32], number: u64) -> Vec<i32> {
        let newest = &self.look().newest;
        let waits = |partition: &&i32| newest.get(partition).is_none_or(|newest| *newest < number);
        partitions.iter().filter(waits).copied().collect()
    }

    /// The longest time without a prediction on any of `partitions` that ended between two moments,
    /// whenever it began; nothing where there are no partitions.
    pub fn silence(&self, partitions: &[i32], from: Duration, to: Duration) -> Option<Duration> {
        let seen = self.look();
        let of = |partition| seen.arrivals.get(partition).and_then(|all| longest(all, from, to));
        partitions.iter().filter_map(of).max()
    }

    /// All that was read.
    pub fn dismiss(mut self) -> Seen {
        self.end().expect("the topic of predictions can be read");
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&mut self) -> thread::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The longest step between moments, of those that end within the span.
fn longest(arrivals: &[Duration], from: Duration, to: Duration) -> Option<Duration> {
    let begin = arrivals.partition_point(|at| *at < from).saturating_sub(1);
    let end = arrivals.partition_point(|at| *at <= to);
    let within = arrivals.get(begin..end)?;
    within.iter().zip(within.iter().skip(1)).map(|(one, next)| *next - *one).max()
}

fn read(mut tail: Tail, since: Instant, seen: &Mutex<Seen>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let step = tail.next(LOOK).expect("the topic of predictions can be read");
        let Step::Record(record) = step else { continue };
        let at = since.elapsed();
        seen.lock().unwrap_or_else(PoisonError::into_inner).note(&record, at);
    }
}

impl Seen {
    fn note(&mut self, record: &Record, at: Duration) {
        let Some(row) = row(record) else {
            return self.unreadable.push(format!("{record:?}"));
        };
        self.arrivals.entry(row.partition).or_default().push(at);
        let newest = self.newest.entry(row.partition).or_default();
        *newest = row.number.max(*newest);
        self.rows.push(row);
    }
}

/// The event that a prediction answers, by its own account.
pub fn input(prediction: &[u8]) -> Option<Place> {
    input_of(&serde_json::from_slice(prediction).ok()?)
}

fn input_of(value: &Value) -> Option<Place> {
    let input = &value["input"];
    Some((i32::try_from(input["partition"].as_i64()?).ok()?, input["offset"].as_i64()?))
}

fn row(record: &Record) -> Option<Row> {
    let value: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    let key = std::str::from_utf8(record.key.as_deref()?).ok()?;
    let latency_ms = Timestamp::now().as_millisecond() - record.timestamp_ms?;
    Some(Row {
        partition: record.partition,
        input: input_of(&value)?,
        number: value["id"].as_str()?.parse().ok()?,
        key: key.strip_prefix("key-")?.parse().ok()?,
        value: value["prediction"].as_f64()?,
        version: value["version"].as_str()?.parse().ok()?,
        control_offset: value["control_offset"].as_i64(),
        latency_ms,
    })
}

#[test]
fn the_longest_silence_is_the_one_that_ends_within_the_span() {
    let second = Duration::from_secs;
    let arrivals = [0, 9, 10, 13, 14, 20].map(second);
    let silence = |from, to| longest(&arrivals, second(from), second(to));
    assert_eq!(silence(11, 14), Some(second(3)));
    assert_eq!(silence(11, 20), Some(second(6)));
    assert_eq!(silence(8, 9), Some(second(9)));
    assert_eq!(silence(11, 12), None);
    assert_eq!(silence(30, 40), None);
}
