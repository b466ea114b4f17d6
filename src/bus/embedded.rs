//! Kafka inside this process, for the tour: librdkafka's mock cluster. No Java, no Docker.
//!
//! It speaks the protocol, so kcat and other clients can connect. It keeps 5 MiB a partition,
//! discards offsets that are committed in a transaction and shows aborted records: good for
//! minutes, at least once, and for nothing else (kafka-facts.md §7).

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::Fatal;

pub struct Embedded {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Embedded {
    /// Starts one broker on a free port of this machine, with these topics: name and partitions.
    pub fn start(topics: &[(&str, i32)]) -> Result<Self, Fatal> {
        let bug =
            |error: rdkafka::error::KafkaError| Fatal::Bug(format!("embedded Kafka: {error}"));
        let cluster = MockCluster::new(1).map_err(bug)?;
        for (topic, partitions) in topics {
            cluster.create_topic(topic, *partitions, 1).map_err(bug)?;
        }
        Ok(Self { cluster })
    }

    /// `host:port` for clients of this and other processes.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}
