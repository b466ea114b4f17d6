//! Publishes outside transactions: control messages, reports, the tour's flights.

use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::RDKafkaErrorCode;

use super::context::Context;
use super::native::{self, Outgoing};
use super::producer::{c_name, is_authorization};
use super::{Fatal, options};
use crate::config::Kafka;
use crate::record::Header;

pub struct Publisher {
    client: BaseProducer<Context>,
    context: Context,
}

impl Publisher {
    /// A producer; what it cannot reach is told by `flush`.
    pub fn new(kafka: &Kafka) -> Result<Self, Fatal> {
        let context = Context::default();
        let client = options::publisher(kafka)
            .create_with_context(context.clone())
            .map_err(|error| Fatal::Configuration(error.to_string()))?;
        Ok(Self { client, context })
    }

    /// Queues a record; delivery is in the background, and asked for by `flush`.
    ///
    /// # Errors
    /// The record is too long.
    pub fn send(&self, topic: &str, key: Option<&[u8]>, value: &[u8]) -> Result<(), Fatal> {
        self.send_with(topic, key, Some(value), &[])
    }

    /// The same with headers, and `None` for a tombstone.
    pub fn send_with(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<(), Fatal> {
        let topic_name = c_name(topic);
        let record =
            Outgoing { topic: &topic_name, partition: None, key, value, timestamp_ms: None };
        self.client.poll(Duration::ZERO);
        loop {
            match native::produce(&self.client, &record, headers.iter().copied()) {
                Ok(()) => return Ok(()),
                // Room comes as records are delivered or, at their time-out, given up.
                Err(RDKafkaErrorCode::QueueFull) => self.client.poll(Duration::from_millis(1)),
                Err(code) => return Err(self.failure(topic, code)),
            }
        }
    }

    /// Serves delivery reports, without waiting.
    pub fn poll(&self) {
        self.client.poll(Duration::ZERO);
    }

    /// Why something that was sent to `topic` was given up, if that was told since the last question.
    pub fn given_up(&self, topic: &str) -> Option<Fatal> {
        self.poll();
        self.context.facts.take_undelivered().map(|code| self.failure(topic, code))
    }

    /// Waits until everything is delivered; says at which offset the last record stands.
    ///
    /// # Errors
    /// Something was not delivered, or not within `timeout`.
    pub fn flush(&self, timeout: Duration) -> Result<Option<i64>, Fatal> {
        let until = Instant::now() + timeout;
        while self.client.in_flight_count() > 0 {
            // A record counts until its report is served, so neither of the two waits for long.
            native::flush(&self.client, Duration::from_millis(5));
            self.client.poll(Duration::from_millis(1));
            if Instant::now() >= until {
                return Err(self.failure("the topic", RDKafkaErrorCode::MessageTimedOut));
            }
        }
        match self.context.facts.take_undelivered() {
            Some(code) => Err(self.failure("the topic", code)),
            None => Ok(self.context.facts.delivered_at()),
        }
    }

    fn failure(&self, topic: &str, code: RDKafkaErrorCode) -> Fatal {
        let reason = self.context.facts.last_reason().map(|reason| format!(" ({reason})"));
        let text = format!("publishing to `{topic}`: {code}{}", reason.unwrap_or_default());
        if is_authorization(code) {
            return Fatal::NotPermitted(format!(
                "{text}\n\nhint: the user needs Write on this topic"
            ));
        }
        Fatal::Unavailable(text)
    }
}
