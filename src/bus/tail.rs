//! Reads topics without a group, whole or a range of them: the control log, reports, the tour's
//! independent reader, replays.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::client::Client;
use super::context::Context;
use super::look::{self, Look};
use super::range::{self, Edge, Span};
use super::refusal::{Operation, Resource};
use super::{Fatal, admin, native, options};
use crate::config::Kafka;
use crate::record::{self, Header, NextOffset};

/// How long to wait before a topic that is not there is looked for again, or more of one is awaited.
const AGAIN: Duration = Duration::from_millis(50);
/// How long an answer about the topic may take.
const LOOK: Duration = Duration::from_millis(500);

/// All partitions of one topic from their first record on, or a range of it; committed records only.
pub struct Tail {
    client: Client,
    topic: String,
    /// Partitions whose end has not been seen. The end is told by the client when it gets there: a
    /// last offset cannot tell it, since markers and aborted records take offsets (kafka-facts.md §5).
    before_end: BTreeSet<i32>,
    /// What is read of each partition; `None`: all that is and comes.
    spans: Option<BTreeMap<i32, Span>>,
}

/// What a look at the tail found.
#[derive(Debug)]
pub enum Step<R = Record> {
    Record(R),
    /// All that was there when it was asked for has been read. Comes once, and again and again at the
    /// end of a range.
    End,
    /// Nothing within the time given.
    Nothing,
}

/// A record of its own memory: tails are read outside the data path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// The value of a header as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

impl Tail {
    /// Opens `topic` at its beginning.
    ///
    /// # Errors
    /// The topic cannot be found within `kafka.connect_timeout_ms`.
    pub fn open(kafka: &Kafka, topic: &str) -> Result<Self, Fatal> {
        let (client, before_end) = connect(kafka, topic, &options::reader(kafka))?;
        let mut list = TopicPartitionList::new();
        for &partition in &before_end {
            list.add_partition_offset(topic, partition, Offset::Beginning)
                .map_err(|error| unavailable(topic, &error))?;
        }
        client.assign(&list).map_err(|error| unavailable(topic, &error))?;
        Ok(Self { client, topic: topic.to_owned(), before_end, spans: None })
    }

    /// Opens what stands between `from` and `to` now. Its end comes by itself, even though the topic
    /// goes on.
    ///
    /// # Errors
    /// The topic cannot be found, or where the range lies not be asked, within
    /// `kafka.connect_timeout_ms`; an edge names a partition that is not there.
    pub fn open_range(kafka: &Kafka, topic: &str, from: &Edge, to: &Edge) -> Result<Self, Fatal> {
        let (client, partitions) = connect(kafka, topic, &options::bulk_reader(kafka))?;
        for edge in [from, to] {
            let Edge::Offsets(offsets) = edge else { continue };
            if let Some(absent) = offsets.keys().find(|partition| !partitions.contains(partition)) {
                let count = partitions.len();
                return Err(Fatal::Data(format!(
                    "`{topic}` has no partition {absent}\n\nhint: it has {count}, counted from 0"
                )));
            }
        }
        let patience = Duration::from_millis(kafka.connect_timeout_ms);
        let unavailable = |error| unavailable(topic, &error);
        let spans = range::resolve(&client, topic, &partitions, (from, to), patience)
            .map_err(unavailable)?;
        let list = range::beginnings(topic, &spans).map_err(unavailable)?;
        client.assign(&list).map_err(unavailable)?;
        let unread = spans.iter().filter(|(_, span)| !span.is_read());
        let before_end = unread.map(|(&partition, _)| partition).collect();
        Ok(Self { client, topic: topic.to_owned(), before_end, spans: Some(spans) })
    }

    /// The range by partition, and how far it has been read. Nothing where the whole topic is read.
    pub fn spans(&self) -> impl Iterator<Item = (i32, Span)> + '_ {
        self.spans.iter().flatten().map(|(&partition, &span)| (partition, span))
    }

    /// The next thing, waiting for at most `timeout`.
    ///
    /// # Errors
    /// The topic may not be read, or what was read of it is gone.
    pub fn next(&mut self, timeout: Duration) -> Result<Step, Fatal> {
        self.visit(timeout, |record, headers| Record {
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers
                .map(|header| {
                    let name = String::from_utf8_lossy(header.name).into_owned();
                    (name, header.value.map(<[u8]>::to_vec))
                })
                .collect(),
        })
    }

    /// The same, for who takes from a record and its headers only what it needs.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn visit<R>(
        &mut self,
        timeout: Duration,
        take: impl for<'m> FnOnce(record::Record<'m>, &mut dyn Iterator<Item = Header<'m>>) -> R,
    ) -> Result<Step<R>, Fatal> {
        if self.spans.is_some() && self.before_end.is_empty() {
            return Ok(Step::End);
        }
        match self.client.poll(timeout)? {
            None => Ok(Step::Nothing),
            Some(Ok(message)) => {
                let record = record::Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis(),
                    key: message.key(),
                    value: message.payload(),
                };
                if let Some(span) = span(&mut self.spans, record.partition) {
                    let is_behind = record.offset >= span.stop;
                    span.next = NextOffset::after(record.offset).get().min(span.stop);
                    if span.is_read() && self.before_end.remove(&record.partition) {
                        pause(&self.client, &self.topic, record.partition);
                    }
                    if is_behind {
                        return Ok(Step::Nothing);
                    }
                }
                Ok(Step::Record(take(record, &mut native::headers(&message))))
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                if let Some(span) = span(&mut self.spans, partition) {
                    span.next = span.stop;
                    pause(&self.client, &self.topic, partition);
                }
                let was_last = self.before_end.remove(&partition) && self.before_end.is_empty();
                Ok(if was_last { Step::End } else { Step::Nothing })
            }
            Some(Err(error)) => self.error(&error),
        }
    }

    /// Reads to the end that the topic has now, and hands over what it holds.
    ///
    /// # Errors
    /// Those of [`Self::next`], and nothing comes for `patience`.
    pub fn read_to_end(
        &mut self,
        patience: Duration,
        mut take: impl FnMut(&Record),
    ) -> Result<(), Fatal> {
        let mut last = Instant::now();
        loop {
            match self.next(AGAIN)? {
                Step::Record(record) => {
                    take(&record);
                    last = Instant::now();
                }
                Step::End => return Ok(()),
                Step::Nothing if last.elapsed() < patience => {}
                Step::Nothing => {
                    let Self { topic, .. } = self;
                    let seconds = patience.as_secs_f64();
                    return Err(Fatal::Unavailable(format!(
                        "reading `{topic}`: nothing has come for {seconds} s, and its end is not reached"
                    )));
                }
            }
        }
    }

    /// Asks whether the brokers answer. To [`Self::next`], an outage is a time without records.
    ///
    /// # Errors
    /// They do not, within `patience`.
    pub fn reach(&self, patience: Duration) -> Result<(), Fatal> {
        let Self { client, topic, .. } = self;
        let answer = client.fetch_metadata(Some(topic), patience);
        answer.map(|_| ()).map_err(|error| unavailable(topic, &error))
    }

    fn error<R>(&self, error: &KafkaError) -> Result<Step<R>, Fatal> {
        let topic = &self.topic;
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset) => Err(Fatal::Data(format!(
                "`{topic}` no longer holds what was read of it; was it created anew?\n\nhint: start again to read it from its beginning"
            ))),
            // Of the group that librdkafka wants a name for, nothing is ever asked: that it may not be
            // used does no harm.
            Some(code @ RDKafkaErrorCode::TopicAuthorizationFailed) => {
                let right = Operation::Read.on(Resource::Topic(topic));
                Err(right.is_lacking(&format!("reading `{topic}`"), code))
            }
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => {
                look::see_topics(self.client.client(), &[topic], Operation::Read, LOOK)?;
                Ok(Step::Nothing)
            }
            // An outage: the client reconnects by itself.
            _ => Ok(Step::Nothing),
        }
    }
}

/// A client, and the partitions of the topic that it shall read.
pub(super) fn connect(
    kafka: &Kafka,
    topic: &str,
    options: &ClientConfig,
) -> Result<(Client, BTreeSet<i32>), Fatal> {
    let client = Client::create(options).map_err(|error| options::refused(&error))?;
    let partitions = partitions(&client, &Look::new(kafka, client.context()), topic)?;
    Ok((client, partitions))
}

pub(super) fn unavailable(topic: &str, error: &KafkaError) -> Fatal {
    Fatal::Unavailable(format!("reading `{topic}`: {error}"))
}

fn span(spans: &mut Option<BTreeMap<i32, Span>>, partition: i32) -> Option<&mut Span> {
    spans.as_mut()?.get_mut(&partition)
}

/// Fetches no more of a partition whose range has been read.
fn pause(client: &BaseConsumer<Context>, topic: &str, partition: i32) {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    // Were it to fail, records would be fetched and left aside.
    let _ = client.pause(&list);
}

/// The partitions of a topic. One that was just made takes a moment until all brokers know of it.
fn partitions(
    client: &BaseConsumer<Context>,
    look: &Look<'_>,
    topic: &str,
) -> Result<BTreeSet<i32>, Fatal> {
    // Nothing is assigned yet: what a poll gives are errors, which the context has noted by then.
    let serve = || drop(client.poll(Duration::ZERO));
    loop {
        match look.topic(client.client(), serve, topic, Operation::Read)? {
            look::Topic::Partitions(numbers) => return Ok(numbers.into_iter().collect()),
            look::Topic::Missing if look.is_over() => return Err(admin::missing(topic)),
            look::Topic::NotYet(code) if look.is_over() => {
                return Err(Fatal::Unavailable(format!("reading `{topic}`: {code}")));
            }
            look::Topic::Missing | look::Topic::NotYet(_) => thread::sleep(AGAIN),
        }
    }
}
