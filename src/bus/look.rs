//! A look at the brokers: asks for metadata, and where there is no answer finds out why.

use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode;

use super::Fatal;
use super::context::Context;
use super::refusal::{Operation, Resource, is_authorization};
use crate::config::Kafka;

/// How long the first question waits before it is looked at what became of it, and asked again. Each
/// waits twice as long as the one before: brokers that are far away are none that do not answer.
const STEP: Duration = Duration::from_millis(250);
const STEP_MAX: Duration = Duration::from_secs(2);
/// One call serves one event, and what librdkafka logs are events too: with `debug` set, thousands
/// between two questions.
const EVENTS_MAX: usize = 10_000;

pub struct Look<'a> {
    kafka: &'a Kafka,
    context: Context,
    until: Instant,
}

/// What is known of a topic.
pub enum Topic {
    /// It has so many partitions, whose numbers these are.
    Partitions(Vec<i32>),
    Missing,
    /// A leader is being elected, perhaps.
    NotYet(RDKafkaErrorCode),
}

impl<'a> Look<'a> {
    /// A look through a client with this context, which lasts `kafka.connect_timeout_ms` at most.
    pub fn new(kafka: &'a Kafka, context: &Context) -> Self {
        let until = Instant::now() + Duration::from_millis(kafka.connect_timeout_ms);
        Self { kafka, context: context.clone(), until }
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// What the brokers say of `topic`, or of all, `None`. `serve` polls the client once: it is how it
    /// hands over what happened.
    ///
    /// # Errors
    /// No answer by then, with librdkafka's words why; or, as soon as that is known, brokers and client
    /// refuse each other.
    pub fn ask(
        &self,
        client: &Client<Context>,
        serve: impl Fn(),
        topic: Option<&str>,
    ) -> Result<Metadata, Fatal> {
        let mut step = STEP;
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            let wait = left.clamp(Duration::from_millis(10), step);
            step = (2 * step).min(STEP_MAX);
            if let Ok(metadata) = client.fetch_metadata(topic, wait) {
                return Ok(metadata);
            }
            (0..EVENTS_MAX).for_each(|_| serve());
            if let Some(refused) = self.context.facts.refused() {
                return Err(refused.by(&self.kafka.bootstrap_servers));
            }
            if left.is_zero() {
                return Err(self.unavailable());
            }
        }
    }

    /// The same of one topic, which is wanted for something.
    ///
    /// # Errors
    /// As [`Self::ask`]; the topic may not be seen.
    pub fn topic(
        &self,
        client: &Client<Context>,
        serve: impl Fn(),
        topic: &str,
        wanted: Operation,
    ) -> Result<Topic, Fatal> {
        let metadata = self.ask(client, serve, Some(topic))?;
        let Some(found) = metadata.topics().first() else { return Ok(Topic::Missing) };
        match found.error().map(RDKafkaErrorCode::from) {
            None if !found.partitions().is_empty() => {
                let numbers = found.partitions().iter().map(|partition| partition.id());
                Ok(Topic::Partitions(numbers.collect()))
            }
            None | Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(Topic::Missing),
            Some(code) if is_authorization(code) => Err(not_visible(topic, wanted, code)),
            Some(code) => Ok(Topic::NotYet(code)),
        }
    }

    fn unavailable(&self) -> Fatal {
        let Kafka { bootstrap_servers, connect_timeout_ms, .. } = self.kafka;
        let reason = self.context.facts.last_reason();
        Fatal::Unavailable(format!(
            "no broker of `{bootstrap_servers}` answered within {connect_timeout_ms} ms: {}\n\nhint: check `kafka.bootstrap_servers`, that the brokers advertise an address this machine can reach, and that `security.protocol` in `[kafka.properties]` is that of this listener",
            reason.as_deref().unwrap_or("no connection was refused or made")
        ))
    }
}

/// Sees that none of `topics` was deleted, when what happens to a client looks like it. Brokers that do
/// not answer within `patience` do not say so.
///
/// # Errors
/// The brokers know no such topic, or not for this user.
pub fn see_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    wanted: Operation,
    patience: Duration,
) -> Result<(), Fatal> {
    for topic in topics {
        let Ok(metadata) = client.fetch_metadata(Some(topic), patience) else { return Ok(()) };
        let told = metadata.topics().first().and_then(|found| found.error());
        match told.map(RDKafkaErrorCode::from) {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                return Err(Fatal::Configuration(format!(
                    "topic `{topic}` does not exist any more: it was deleted while this instance ran\n\nhint: `foretell init` makes it again, empty; what was on it is gone"
                )));
            }
            Some(code) if is_authorization(code) => return Err(not_visible(topic, wanted, code)),
            _ => {}
        }
    }
    Ok(())
}

/// Kafka does not tell a topic that may not be seen from one that is not there.
fn not_visible(topic: &str, wanted: Operation, code: RDKafkaErrorCode) -> Fatal {
    let doing = format!("looking at topic `{topic}`, if it exists");
    wanted.on(Resource::Topic(topic)).is_lacking(&doing, code)
}
