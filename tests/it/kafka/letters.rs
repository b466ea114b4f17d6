//! Dead letters made by hand, of any reason, time and attempt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foretell::bus::tail::Record;
use jiff::Timestamp;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use super::deployment::Deployment;
use super::topics;

/// A letter, whose event stood at `offset` of `partition` of `topic`; its id is its value.
#[derive(Debug, Clone)]
pub struct Letter {
    pub id: String,
    pub topic: String,
    pub partition: i32,
    pub reason: &'static str,
    pub attempt: u64,
    pub timestamp_ms: i64,
}

impl Letter {
    pub fn new(deployment: &Deployment, id: impl ToString) -> Self {
        Self {
            id: id.to_string(),
            topic: deployment.topics.events.clone(),
            partition: 0,
            reason: "not_json",
            attempt: 1,
            timestamp_ms: Timestamp::now().as_millisecond(),
        }
    }

    fn headers(&self) -> OwnedHeaders {
        let Self { id, topic, partition, reason, attempt, .. } = self;
        let (partition, attempt) = (partition.to_string(), attempt.to_string());
        let pairs = [
            ("trace", id.as_str()),
            ("__connect.errors.topic", topic),
            ("__connect.errors.partition", &partition),
            ("__connect.errors.offset", "0"),
            ("__connect.errors.exception.message", "for a test"),
            ("foretell.reason", reason),
            ("foretell.attempt", &attempt),
        ];
        pairs.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        })
    }
}

/// Puts letters on the dead-letters topic, each on the partition of its event.
#[track_caller]
pub fn put(deployment: &Deployment, letters: &[Letter]) {
    let taken = Arc::default();
    let producer = topics::producer(deployment, &taken);
    for letter in letters {
        let key = format!("key of {}", letter.id);
        let record = BaseRecord::to(&deployment.topics.dead_letters)
            .partition(letter.partition)
            .key(&key)
            .payload(&letter.id)
            .timestamp(letter.timestamp_ms)
            .headers(letter.headers());
        assert!(producer.send(record).is_ok(), "expected the queue to have room");
    }
    topics::flush(&producer);
    assert_eq!(taken.load(Ordering::Relaxed), letters.len() as u64, "expected them to arrive");
}

/// So many letters, spread over so many partitions.
pub fn many(deployment: &Deployment, count: usize, partitions: i32) -> Vec<Letter> {
    let letter = |number: usize| Letter {
        partition: (number % partitions as usize) as i32,
        ..Letter::new(deployment, number)
    };
    (0..count).map(letter).collect()
}

/// Does a record of the dead-letters topic note what was put back?
pub fn is_note(record: &Record) -> bool {
    record.headers.len() == 1 && record.headers[0].0 == "foretell.redriven"
}

/// How often each id stands on the events topic, for committed readers.
pub fn on_events(deployment: &Deployment) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for event in topics::read(deployment, &deployment.topics.events) {
        let id = String::from_utf8(event.value.unwrap_or_default()).expect("an id is text");
        *found.entry(id).or_default() += 1;
    }
    found
}

/// Sees that each of these letters is on the events topic once, and nothing else.
#[track_caller]
pub fn are_back_once<'a>(deployment: &Deployment, letters: impl IntoIterator<Item = &'a Letter>) {
    let expected: BTreeMap<_, _> = letters.into_iter().map(|it| (it.id.clone(), 1)).collect();
    assert_eq!(on_events(deployment), expected, "expected each letter to be put back once");
}
