//! What librdkafka is told, and why. What the user may not set is refused in `config/properties.rs`.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::Fatal;
use crate::batch::Bounds;
use crate::config::{Compression, Config, Consumer, Delivery, Guarantee, Kafka, Protocol, Topics};

/// `transaction.abort.timed.out.transaction.cleanup.interval.ms` of the brokers.
const SCAN: Duration = Duration::from_secs(10);

/// What a worker's end of the bus is built from.
#[derive(Debug, Clone)]
pub struct Options {
    pub kafka: Kafka,
    pub topics: Topics,
    pub consumer: Consumer,
    pub delivery: Delivery,
    pub bounds: Bounds,
    /// The longest record the output topics take, in bytes.
    pub message_bytes_max: usize,
    /// Does a prediction go to the partition of its event? Yes where both topics have as many.
    pub keep_partition: bool,
    /// The same for a dead letter.
    pub keep_dead_partition: bool,
    /// The same for what a candidate would have said.
    pub keep_shadow_partition: bool,
}

impl Options {
    /// The user's part; what the brokers say of the topics is filled in by the preflight.
    pub fn new(config: &Config) -> Self {
        Self {
            kafka: config.kafka.clone(),
            topics: config.topics.clone(),
            consumer: config.consumer.clone(),
            delivery: config.delivery.clone(),
            bounds: Bounds {
                rows_max: config.batch.rows_max,
                bytes_max: config.batch.bytes_max,
                age_max: Duration::from_millis(config.batch.age_max_ms),
            },
            message_bytes_max: 1_000_000,
            keep_partition: true,
            keep_dead_partition: true,
            keep_shadow_partition: true,
        }
    }

    /// How long a partition may stand still while a dead member's transaction is open over its offsets: the broker
    /// ends that its time-out after the last sign of life, and looks for such every ten seconds.
    /// What has not moved after both and as long again will not by itself.
    pub fn patience(&self) -> Duration {
        2 * (Duration::from_millis(self.delivery.transaction_timeout_ms) + SCAN)
    }

    /// How long a member may be on its way into the group while brokers can be reached: a rebalance waits for others as
    /// long as they may be without polling.
    pub fn joining_max(&self) -> Duration {
        Duration::from_millis(self.consumer.max_poll_interval_ms) + Duration::from_secs(60)
    }

    /// The topics that a worker writes to.
    pub fn written(&self) -> Vec<&str> {
        let Topics { predictions, dead_letters, shadow, .. } = &self.topics;
        [predictions, dead_letters].into_iter().chain(shadow).map(String::as_str).collect()
    }

    pub fn is_exactly_once(&self) -> bool {
        self.delivery.guarantee == Guarantee::ExactlyOnce
    }
}

/// Why no client can be made of a configuration. Values are not told: a misspelt property may hold a
/// secret.
pub fn refused(error: &KafkaError) -> Fatal {
    let KafkaError::ClientConfig(_, why, key, value) = error else {
        return Fatal::Configuration(format!("no client of Kafka can be made: {error}"));
    };
    let why = if value.is_empty() { why.clone() } else { why.replace(value.as_str(), "***") };
    Fatal::Configuration(format!(
        "librdkafka refuses the property `{key}`: {why}\n\nhint: it stands in `[kafka.properties]`, or in FORETELL_KAFKA_PROPERTIES_…"
    ))
}

/// A producer outside any transaction: control messages, reports, the tour's flights. Who waits for
/// one of them waits no longer than for the brokers themselves.
pub fn publisher(kafka: &Kafka) -> ClientConfig {
    let mut config = client(kafka);
    config
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", kafka.connect_timeout_ms.max(1000).to_string())
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random");
    config
}

/// What every client is told.
pub fn client(kafka: &Kafka) -> ClientConfig {
    tuned(kafka, &[])
}

/// The same with defaults of ours, which the user's properties overrule.
fn tuned(kafka: &Kafka, defaults: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("client.id", "foretell")
        // Back within two seconds of a broker's return, not after librdkafka's ten.
        .set("reconnect.backoff.max.ms", "2000")
        // Topics are made by `init`, with the settings they need, and not by asking for them: a
        // producer's default, on brokers with theirs.
        .set("allow.auto.create.topics", "false")
        .set_log_level(log_level(kafka));
    let properties = kafka.properties.iter();
    for (key, value) in defaults.iter().copied().chain(properties) {
        config.set(key, value);
    }
    config
}

/// Who sets `debug` wants to see what it says; it comes at level debug of `librdkafka`. That a
/// connection was closed is information, and at a start perhaps the only hint at what is wrong.
fn log_level(kafka: &Kafka) -> RDKafkaLogLevel {
    let is_asked = kafka.properties.iter().any(|(key, _)| key == "debug");
    if is_asked { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info }
}

/// A consumer outside any group: the control log, reports, the tour's independent reader.
pub fn reader(kafka: &Kafka) -> ClientConfig {
    alone(tuned(kafka, &[("fetch.wait.max.ms", "100")]))
}

/// The same for a backlog: as much at a time as a member of the group takes.
pub fn bulk_reader(kafka: &Kafka) -> ClientConfig {
    let mut config = alone(tuned(kafka, PREFETCH));
    config.set("fetch.wait.max.ms", "100").set("fetch.queue.backoff.ms", "2");
    config
}

/// Asks where topics end, be it committed or not.
pub fn uncommitted_reader(kafka: &Kafka) -> ClientConfig {
    let mut config = reader(kafka);
    config.set("isolation.level", "read_uncommitted");
    config
}

fn alone(mut config: ClientConfig) -> ClientConfig {
    config
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        // Without a group nothing is committed under it, but librdkafka wants a name to assign.
        .set("group.id", "foretell-reader");
    config
}

/// Asks where the group stands, and is no member of it.
pub fn bystander(options: &Options) -> ClientConfig {
    let mut config = reader(&options.kafka);
    config.set("group.id", &options.consumer.group_id);
    config
}

/// Prefetch, a partition: enough to fill a batch, little enough for a deep backlog on many.
const PREFETCH: &[(&str, &str)] =
    &[("queued.min.messages", "5000"), ("queued.max.messages.kbytes", "4096")];

/// Large requests: a tile's predictions leave in few of them.
const BULK: &[(&str, &str)] =
    &[("batch.num.messages", "10000"), ("queue.buffering.max.kbytes", "65536")];

/// A member of the consumer group.
pub fn consumer(options: &Options) -> ClientConfig {
    let Consumer { protocol, session_timeout_ms, heartbeat_interval_ms, .. } = &options.consumer;
    let mut config = tuned(&options.kafka, PREFETCH);
    config
        .set("group.id", &options.consumer.group_id)
        .set("isolation.level", "read_committed")
        // Offsets belong to the transaction.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Markers of transactions take offsets: that nothing waits behind the last event, only this tells.
        .set("enable.partition.eof", "true")
        // librdkafka forgets committed offsets while a dead member's transaction is open, and
        // would start over or skip: the reset is ours (kafka-facts.md §0.1).
        .set("auto.offset.reset", "error")
        .set("max.poll.interval.ms", options.consumer.max_poll_interval_ms.to_string())
        .set("topic.metadata.refresh.interval.ms", options.consumer.metadata_refresh_ms.to_string())
        // Its default, a second, caps throughput at a quarter.
        .set("fetch.queue.backoff.ms", "2");
    match protocol {
        Protocol::Classic => config
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", heartbeat_interval_ms.to_string()),
        // KIP-848 refuses the three above: the broker decides.
        Protocol::Consumer => config.set("group.protocol", "consumer"),
    };
    config
}

/// The producer that goes with a member; `transactional_id` makes it exactly-once.
pub fn producer(options: &Options, transactional_id: Option<&str>) -> ClientConfig {
    let timeout_ms = options.delivery.transaction_timeout_ms.to_string();
    let mut config = tuned(&options.kafka, BULK);
    config
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", &timeout_ms)
        .set("message.max.bytes", options.message_bytes_max.to_string())
        .set("linger.ms", options.delivery.linger_ms.to_string())
        .set("compression.type", compression(options.delivery.compression))
        .set("batch.size", options.message_bytes_max.min(1_000_000).to_string())
        // Predictions keep the partition of their event, which may be a new one.
        .set("topic.metadata.refresh.interval.ms", options.consumer.metadata_refresh_ms.to_string())
        // Only failures are told: successes would be one event a record.
        .set("delivery.report.only.error", "true")
        // Where the partition is not kept, the key decides as it does for Java's clients.
        .set("partitioner", "murmur2_random");
    if let Some(id) = transactional_id {
        config.set("transactional.id", id).set("transaction.timeout.ms", &timeout_ms);
    }
    config
}

fn compression(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::producer::BaseProducer;

    use super::*;

    #[test]
    fn a_misspelt_secret_is_not_told() {
        for (key, value) in [("sasl.pasword", "S3cret"), ("security.protocol", "S3cret")] {
            let made = ClientConfig::new().set(key, value).create::<BaseProducer>();
            let told = made.map(|_| ()).map_err(|error| refused(&error).to_string()).unwrap_err();
            assert!(told.contains(&format!("`{key}`")) && !told.contains("S3cret"), "{told}");
        }
    }
}
