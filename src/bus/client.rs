//! A consumer that notices when librdkafka's own thread is dead.
//!
//! A client of librdkafka has one thread that keeps it going, `rdk:main`: heartbeats, rebalances and
//! answers come from it. It can wait for ever: handling a failed `OffsetForLeaderEpoch` it holds the lock of a
//! partition and asks for that of the client, while the thread of a broker that has left the cluster does the
//! reverse (librdkafka's issue 5476, open in 2.12.1). Who polls such a client finds nothing, and is told nothing.
//! Statistics come from the same thread, whatever brokers do, and polling serves them: a client that
//! is polled and has none any more is dead.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::context::Context;
use super::parting::Parting;
use super::{Fatal, bounded};

/// How often librdkafka's thread gives a sign of life.
pub const LIFE_SIGN: Duration = Duration::from_secs(10);

/// Without a sign for so long, of time spent polling, the client is dead.
const DEAD_AFTER: Duration = Duration::from_secs(60);

/// The most that counts from one poll to the next: a process that was frozen as a whole, or a worker
/// that was busy elsewhere, says nothing about the client.
const STEP_MAX: Duration = Duration::from_secs(1);

/// Polled through [`Client::poll`] it is watched; all else it does is its consumer's.
pub struct Client {
    /// Shared with a call that has not come back, if there is one.
    consumer: Arc<Parting<BaseConsumer<Context>>>,
    silence: Cell<Silence>,
}

#[derive(Clone, Copy)]
struct Silence {
    /// So many signs were seen.
    signs: u64,
    /// Since the last of them, time spent polling.
    lasts: Duration,
    /// The last poll that found nothing.
    polled: Instant,
}

impl Client {
    /// # Errors
    /// librdkafka refuses a property.
    pub fn create(config: &ClientConfig) -> Result<Self, KafkaError> {
        Self::giving_signs(config.clone(), LIFE_SIGN)
    }

    /// Who creates it polls it, or drops it soon: signs that nobody serves pile up.
    fn giving_signs(mut config: ClientConfig, every: Duration) -> Result<Self, KafkaError> {
        config.set("statistics.interval.ms", every.as_millis().to_string());
        let is_assigned_by_brokers = config.get("group.protocol") == Some("consumer");
        let context = Context { is_assigned_by_brokers, ..Context::default() };
        let consumer = config.create_with_context(context)?;
        let silence = Silence { signs: 0, lasts: Duration::ZERO, polled: Instant::now() };
        Ok(Self { consumer: Arc::new(Parting::new(consumer)), silence: Cell::new(silence) })
    }

    /// As [`BaseConsumer::poll`].
    ///
    /// # Errors
    /// The client is dead.
    pub fn poll(
        &self,
        timeout: Duration,
    ) -> Result<Option<KafkaResult<BorrowedMessage<'_>>>, Fatal> {
        let polled = BaseConsumer::poll(self, timeout);
        if polled.is_none() {
            // Signs of life come before records: those that waited have been served.
            self.silence
                .set(self.silence.get().after(self.context().facts.signs(), Instant::now()));
            if self.silence.get().lasts > DEAD_AFTER {
                return Err(Fatal::Bug(format!(
                    "librdkafka's own thread is stuck: for {} s it has given no sign of life to who polls it. Nothing is \
                     lost, others take over\n\nhint: start this instance again, as a supervisor does by itself. If it comes again, \
                     see \"A consumer that stands still\" in ARCHITECTURE.md",
                    DEAD_AFTER.as_secs()
                )));
            }
        }
        Ok(polled)
    }

    /// As `commit` of the consumer, for whom `patience` lasts: it has no bound of its own, and waits for a coordinator as
    /// long as there is none. `None`: it has not come back, and is left behind.
    pub fn commit_within(
        &self,
        offsets: &TopicPartitionList,
        patience: Duration,
    ) -> Option<KafkaResult<()>> {
        let (consumer, offsets) = (Arc::clone(&self.consumer), offsets.clone());
        let commit = move || consumer.commit(&offsets, CommitMode::Sync);
        bounded::until(Instant::now() + patience, commit)
    }
}

impl Silence {
    /// At the end of a poll at `now`, with as many `signs` as have come so far.
    fn after(self, signs: u64, now: Instant) -> Self {
        let step = now.saturating_duration_since(self.polled).min(STEP_MAX);
        let lasts = if signs == self.signs { self.lasts + step } else { Duration::ZERO };
        Self { signs, lasts, polled: now }
    }
}

impl Deref for Client {
    type Target = BaseConsumer<Context>;

    fn deref(&self) -> &Self::Target {
        &self.consumer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_spent_polling_counts_and_a_sign_ends_it() {
        let begin = Instant::now();
        let mut silence = Silence { signs: 0, lasts: Duration::ZERO, polled: begin };
        let mut now = begin;
        let mut poll = |signs, later| {
            now += later;
            silence = silence.after(signs, now);
            silence.lasts
        };
        assert_eq!(poll(0, Duration::from_millis(50)), Duration::from_millis(50));
        // Frozen for an hour.
        assert_eq!(poll(0, Duration::from_secs(3_600)), Duration::from_millis(1_050));
        assert_eq!(poll(0, Duration::from_millis(50)), Duration::from_millis(1_100));
        assert_eq!(poll(1, Duration::from_millis(50)), Duration::ZERO);
        assert_eq!(poll(1, Duration::from_millis(20)), Duration::from_millis(20));
    }

    /// An outage is no death: there never was a broker.
    #[test]
    fn a_client_without_brokers_gives_signs_of_life() {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1").set("group.id", "nobody");
        let client = Client::giving_signs(config, Duration::from_millis(100)).expect("a client");
        while client.context().facts.signs() < 3 {
            assert!(
                client
                    .poll(Duration::from_millis(20))
                    .expect("it lives")
                    .is_none_or(|it| it.is_err())
            );
        }
        assert!(client.silence.get().lasts < DEAD_AFTER);
    }
}
