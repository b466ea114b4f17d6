//! Publishes outside transactions: control messages, reports, the tour's flights.

use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::RDKafkaErrorCode;

use super::context::{Context, Undelivered};
use super::native::{self, Outgoing};
use super::parting::Parting;
use super::producer::c_name;
use super::refusal::{Operation, Resource, is_authorization};
use super::{Fatal, options};
use crate::config::Kafka;
use crate::record::Header;

/// So long another broker may still take what one of them refuses.
const OTHERS: Duration = Duration::from_secs(1);

pub struct Publisher {
    client: Parting<BaseProducer<Context>>,
    context: Context,
    bootstrap_servers: String,
}

impl Publisher {
    /// A producer; what it cannot reach is told by `flush`.
    pub fn new(kafka: &Kafka) -> Result<Self, Fatal> {
        let context = Context::default();
        let client: BaseProducer<Context> = options::publisher(kafka)
            .create_with_context(context.clone())
            .map_err(|error| options::refused(&error))?;
        let bootstrap_servers = kafka.bootstrap_servers.clone();
        Ok(Self { client: Parting::new(client), context, bootstrap_servers })
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

    /// Why something was given up, if that was told since the last question.
    pub fn given_up(&self) -> Option<Fatal> {
        self.poll();
        let lost = self.context.facts.take_undelivered();
        lost.map(|Undelivered { code, topic }| self.failure(&topic, code))
    }

    /// Waits until everything is delivered; says at which offset the last record stands.
    ///
    /// # Errors
    /// Something was not delivered, or not within `timeout`.
    pub fn flush(&self, timeout: Duration) -> Result<Option<i64>, Fatal> {
        let began = Instant::now();
        let until = began + timeout;
        while self.client.in_flight_count() > 0 {
            // A record counts until its report is served, so neither of the two waits for long.
            native::flush(&self.client, Duration::from_millis(5));
            self.client.poll(Duration::from_millis(1));
            let facts = &self.context.facts;
            if began.elapsed() >= OTHERS
                && let (None, Some(refused)) = (facts.delivered_at(), facts.refused())
            {
                return Err(refused.by(&self.bootstrap_servers));
            }
            if Instant::now() >= until {
                return Err(self.unavailable("publishing", RDKafkaErrorCode::MessageTimedOut));
            }
        }
        self.given_up().map_or_else(|| Ok(self.context.facts.delivered_at()), Err)
    }

    fn failure(&self, topic: &str, code: RDKafkaErrorCode) -> Fatal {
        let fatal = self.client.client().fatal_error().map(|(fatal, _)| fatal);
        let doing = format!("publishing to `{topic}`");
        match fatal.filter(|_| code == RDKafkaErrorCode::Fatal).unwrap_or(code) {
            code if is_authorization(code) => {
                Operation::Write.on(Resource::Topic(topic)).is_lacking(&doing, code)
            }
            code => self.unavailable(&doing, code),
        }
    }

    fn unavailable(&self, doing: &str, code: RDKafkaErrorCode) -> Fatal {
        let reason = self.context.facts.last_reason().map(|reason| format!(" ({reason})"));
        Fatal::Unavailable(format!("{doing}: {code}{}", reason.unwrap_or_default()))
    }
}
