//! Reads whole topics without a group: the control log, reports, the tour's independent reader.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::context::Context;
use super::producer::is_authorization;
use super::{Fatal, native, options};
use crate::config::Kafka;

/// How long to wait before a topic that is not there is looked for again, or more of one is awaited.
const AGAIN: Duration = Duration::from_millis(50);

/// All partitions of one topic, from their first record on, committed records only.
pub struct Tail {
    client: BaseConsumer<Context>,
    topic: String,
    /// Partitions whose end has not been seen. The end is told by the client when it gets there: a
    /// last offset cannot tell it, since markers and aborted records take offsets (kafka-facts.md §5).
    before_end: BTreeSet<i32>,
}

/// What a look at the tail found.
#[derive(Debug)]
pub enum Step {
    Record(Record),
    /// All that was there when it was asked for has been read. Comes once.
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
        let context = Context::default();
        let client: BaseConsumer<Context> = options::reader(kafka)
            .create_with_context(context)
            .map_err(|error| Fatal::Configuration(error.to_string()))?;
        let unavailable =
            |error: KafkaError| Fatal::Unavailable(format!("reading `{topic}`: {error}"));
        let patience = Duration::from_millis(kafka.connect_timeout_ms);
        let before_end = partitions(&client, topic, patience).map_err(unavailable)?;
        let mut list = TopicPartitionList::new();
        for &partition in &before_end {
            list.add_partition_offset(topic, partition, Offset::Beginning).map_err(unavailable)?;
        }
        client.assign(&list).map_err(unavailable)?;
        Ok(Self { client, topic: topic.to_owned(), before_end })
    }

    /// The next thing, waiting for at most `timeout`.
    ///
    /// # Errors
    /// The topic may not be read, or what was read of it is gone.
    pub fn next(&mut self, timeout: Duration) -> Result<Step, Fatal> {
        match self.client.poll(timeout) {
            None => Ok(Step::Nothing),
            Some(Ok(message)) => {
                let headers = native::headers(&message).map(|header| {
                    let name = String::from_utf8_lossy(header.name).into_owned();
                    (name, header.value.map(<[u8]>::to_vec))
                });
                Ok(Step::Record(Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: headers.collect(),
                }))
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
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
        match client.fetch_metadata(Some(topic), patience) {
            Ok(_) => Ok(()),
            Err(error) => Err(Fatal::Unavailable(format!("reading `{topic}`: {error}"))),
        }
    }

    fn error(&self, error: &KafkaError) -> Result<Step, Fatal> {
        let topic = &self.topic;
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset) => Err(Fatal::Data(format!(
                "`{topic}` no longer holds what was read of it; was it created anew?\n\nhint: start again to read it from its beginning"
            ))),
            Some(code) if is_authorization(code) => Err(Fatal::NotPermitted(format!(
                "reading `{topic}`: {code}\n\nhint: the user needs Read on this topic"
            ))),
            // An outage: the client reconnects by itself.
            _ => Ok(Step::Nothing),
        }
    }
}

/// The partitions of a topic. One that was just made takes a moment until all brokers know of it.
fn partitions(
    client: &BaseConsumer<Context>,
    topic: &str,
    patience: Duration,
) -> Result<BTreeSet<i32>, KafkaError> {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(10));
        let metadata = client.fetch_metadata(Some(topic), left)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let found: BTreeSet<i32> = partitions.map(|partition| partition.id()).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        if Instant::now() >= until {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
        }
        thread::sleep(AGAIN);
    }
}
