//! What became of every event: counted from the topics, by nothing that the program counts with.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use foretell::bus::tail::Record;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

use super::witness::{self, Row, Seen};
use crate::kafka::deployment::Deployment;
use crate::kafka::probe::Place;
use crate::kafka::{feeder, model, topics};

const PATIENCE: Duration = Duration::from_secs(20);
/// Places of a kind that are shown.
const SHOWN: usize = 10;

/// Each event's number, and where it stands.
type Events = HashMap<u64, Place>;
/// Which version each message of the control log made serve; of those that changed nothing there is none.
type Chosen = HashMap<Option<i64>, u32>;
/// Which offsets of the predictions topic answer each event, aborted or not.
type Written = HashMap<Option<Place>, Vec<i64>>;
type Faults = BTreeMap<Kind, Vec<String>>;

/// How answers and events compare.
pub struct Verdict {
    events: usize,
    answers: usize,
    /// Answers that somebody finds who begins to read when all is over.
    afterwards: usize,
    /// Records on the topic of predictions that committed readers never see.
    aborted: usize,
    faults: Faults,
}

/// What may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Lost,
    Doubled,
    /// Among the answers of a key.
    Disordered,
    /// Of a version that its control offset did not choose.
    WrongVersion,
    /// Another than its version says of the event.
    WrongValue,
    /// Of no event, or under another key, or elsewhere.
    WrongEvent,
    /// No event of the load is bad.
    DeadLetter,
}

use Kind::{DeadLetter, Disordered, Doubled, Lost, WrongEvent, WrongValue, WrongVersion};

const KINDS: [Kind; 7] =
    [Lost, Doubled, Disordered, WrongVersion, WrongValue, WrongEvent, DeadLetter];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Lost => "lost",
            Doubled => "doubled",
            Disordered => "out of order by key",
            WrongVersion => "of a version that did not serve",
            WrongValue => "of another value than its version's",
            WrongEvent => "of another event",
            DeadLetter => "dead letters",
        }
    }
}

/// Compares what was seen of the predictions with the topics.
pub fn audit(deployment: &Deployment, seen: Seen) -> Verdict {
    let events = events(deployment);
    let chosen = chosen(&topics::read(deployment, &deployment.topics.control));
    let written = written(deployment, &deployment.topics.predictions);
    let mut faults = judge(&events, &chosen, &seen.rows, &written);
    faults.entry(WrongEvent).or_default().extend(seen.unreadable);
    let letters = topics::read(deployment, &deployment.topics.dead_letters);
    let letters = letters.iter().map(|letter| format!("{letter:?}"));
    faults.entry(DeadLetter).or_default().extend(letters);
    let answers = seen.rows.len();
    let afterwards = topics::read(deployment, &deployment.topics.predictions).len();
    let aborted = written.values().map(Vec::len).sum::<usize>().saturating_sub(answers);
    Verdict { events: events.len(), answers, afterwards, aborted, faults }
}

/// Everything that is wrong with the answers, by kind, each with its place.
fn judge(events: &Events, chosen: &Chosen, rows: &[Row], written: &Written) -> Faults {
    let mut faults: Faults = KINDS.iter().map(|kind| (*kind, Vec::new())).collect();
    let mut fault = |kind, place: String| faults.entry(kind).or_default().push(place);
    let (mut unanswered, mut last) = (events.clone(), HashMap::new());
    let mut firsts: HashMap<u64, &Row> = HashMap::new();
    let all_of = |place| written.get(&Some(place)).map_or(&[][..], Vec::as_slice);
    for row in rows {
        let mut expect = |kind, holds: bool| {
            if !holds {
                fault(kind, format!("{row:?}"));
            }
        };
        let is_event = events.get(&row.number) == Some(&row.input)
            && row.partition == row.input.0
            && row.key == row.number % feeder::KEYS;
        expect(WrongEvent, is_event);
        unanswered.remove(&row.number);
        let before = last.insert(row.key, row.number);
        expect(Disordered, before.is_none_or(|before| before <= row.number));
        expect(WrongVersion, chosen.get(&row.control_offset) == Some(&row.version));
        let x = feeder::x(row.number) as f64;
        expect(WrongValue, row.value == model::says(row.version, x));
        if let Some(first) = firsts.insert(row.number, row).filter(|_| is_event) {
            // Which transactions made them is known by their offsets, while the brokers' data lasts.
            let all = all_of(row.input);
            fault(
                Doubled,
                format!("{row:?}, after {first:?}; all answers, aborted ones too, at {all:?}"),
            );
        }
    }
    for (number, place) in unanswered {
        let aborted = all_of(place);
        fault(Lost, format!("event {number} at {place:?}; aborted answers to it at {aborted:?}"));
    }
    faults
}

fn events(deployment: &Deployment) -> Events {
    let events = topics::read(deployment, &deployment.topics.events);
    let number = |event: &Record| {
        let value: Value = serde_json::from_slice(event.value.as_deref()?).ok()?;
        value["id"].as_str()?.parse().ok()
    };
    let place = |event: Record| {
        let number = number(&event).expect("an event of the feeder has a number");
        (number, (event.partition, event.offset))
    };
    events.into_iter().map(place).collect()
}

fn chosen(log: &[Record]) -> Chosen {
    // The configured one is first; what serves is last.
    let mut versions = vec![1];
    let mut chosen = HashMap::from([(None, 1)]);
    for record in log {
        let message: Value = serde_json::from_slice(record.value.as_deref().unwrap_or_default())
            .expect("a control message is JSON");
        let number = |name: &str| message[name].as_str().and_then(|text| text.parse().ok());
        let serves = versions.last().copied();
        let serves_now = match message["type"].as_str() {
            Some("retrain-complete") => number("version"),
            Some("rollback") if number("from") == serves && versions.len() > 1 => {
                versions.pop();
                number("to").or(versions.last().copied())
            }
            _ => None,
        };
        if let Some(version) = serves_now.filter(|version| Some(*version) != serves) {
            versions.retain(|before| *before != version);
            versions.push(version);
            chosen.insert(Some(record.offset), version);
        }
    }
    chosen
}

/// All records of the predictions topic, aborted ones too.
fn written(deployment: &Deployment, topic: &str) -> Written {
    let client: BaseConsumer = topics::client(deployment)
        .set("group.id", "foretell-chaos-audit")
        .set("isolation.level", "read_uncommitted")
        .set("enable.partition.eof", "true")
        // A commit of its own, every five seconds, would end a poll with nothing.
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer can be made");
    let metadata = client.fetch_metadata(Some(topic), PATIENCE).expect("a broker answers");
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("an offset");
    }
    client.assign(&list).expect("the partitions can be assigned");
    let (mut unread, mut written) = (list.count(), Written::new());
    while unread > 0 {
        match client.poll(PATIENCE).expect("the topic can be read") {
            Ok(record) => {
                let place = record.payload().and_then(witness::input);
                written.entry(place).or_default().push(record.offset());
            }
            Err(KafkaError::PartitionEOF(_)) => unread -= 1,
            Err(error) => panic!("{topic} cannot be read: {error}"),
        }
    }
    written
}

impl Verdict {
    /// Each event has one answer, the right one, in its place.
    #[track_caller]
    pub fn is_clean(&self) {
        let faults: usize = self.faults.values().map(Vec::len).sum();
        assert!(
            faults == 0,
            "expected every event to be answered once, rightly, in order:\n{self}"
        );
        assert!(self.events > 0, "expected some events to judge by");
        assert_eq!(self.afterwards, self.answers, "readers see the same whenever they read");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, answers, afterwards, aborted, faults } = self;
        writeln!(f, "{events:9} events\n{answers:9} predictions")?;
        writeln!(f, "{afterwards:9} of them found by who reads afterwards")?;
        writeln!(f, "{aborted:9} aborted, seen by uncommitted readers only")?;
        for (kind, places) in faults {
            writeln!(f, "{:9} {}", places.len(), kind.name())?;
            for place in places.iter().take(SHOWN) {
                writeln!(f, "          {place}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_what_serves() {
        // Announced, announced again, rolled back, something else, rolled back in vain, announced.
        let log = [
            r#"{"type":"retrain-complete","version":"2"}"#,
            r#"{"type":"retrain-complete","version":"2"}"#,
            r#"{"type":"rollback","from":"2"}"#,
            r#"{"type":"retrain-request"}"#,
            r#"{"type":"rollback","from":"2"}"#,
            r#"{"type":"retrain-complete","version":"3"}"#,
        ];
        let record = |(offset, value): (usize, &&str)| Record {
            partition: 0,
            offset: offset as i64,
            timestamp_ms: None,
            key: None,
            value: Some(value.as_bytes().to_vec()),
            headers: Vec::new(),
        };
        let log: Vec<_> = log.iter().enumerate().map(record).collect();
        let expected = [(None, 1), (Some(0), 2), (Some(2), 1), (Some(5), 3)];
        assert_eq!(chosen(&log), Chosen::from(expected));
    }

    /// Answers to events 0 to 299, all of partition 0, by version 1.
    fn answers() -> Vec<Row> {
        let row = |number: u64| Row {
            partition: 0,
            input: (0, number as i64),
            number,
            key: number % feeder::KEYS,
            value: model::says(1, feeder::x(number) as f64),
            version: 1,
            control_offset: None,
            latency_ms: 0,
        };
        (0..300).map(row).collect()
    }

    #[track_caller]
    fn check(rows: &[Row], expected: &[(Kind, usize)]) {
        let events = answers().iter().map(|row| (row.number, row.input)).collect();
        let chosen = Chosen::from([(None, 1), (Some(7), 2)]);
        let faults = judge(&events, &chosen, rows, &Written::new());
        let found: Vec<_> = faults.iter().map(|(kind, places)| (*kind, places.len())).collect();
        let found: Vec<_> = found.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_audit_finds_each_kind_of_fault() {
        let right = answers();
        check(&right, &[]);
        let with = |change: &dyn Fn(&mut Vec<Row>)| {
            let mut rows = right.clone();
            change(&mut rows);
            rows
        };
        check(&with(&|rows| rows.retain(|row| row.number != 50)), &[(Lost, 1)]);
        check(&with(&|rows| rows.insert(9, rows[8].clone())), &[(Doubled, 1)]);
        // The next event of the same key stands a round further.
        check(&with(&|rows| rows.swap(5, 5 + feeder::KEYS as usize)), &[(Disordered, 1)]);
        check(&with(&|rows| rows[3].control_offset = Some(7)), &[(WrongVersion, 1)]);
        check(&with(&|rows| rows[3].control_offset = Some(8)), &[(WrongVersion, 1)]);
        check(&with(&|rows| rows[3].value = 20.0), &[(WrongValue, 1)]);
        check(&with(&|rows| rows[3].input.1 = 4), &[(WrongEvent, 1)]);
        check(&with(&|rows| rows[3].key = 4), &[(WrongEvent, 1)]);
    }
}
