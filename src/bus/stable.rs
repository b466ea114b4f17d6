//! Waits for what stands on a topic to be committed or forgotten.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;

use super::context::Context;
use super::tail::{connect, unavailable};
use super::{Fatal, options};
use crate::config::Kafka;
use crate::stop::Stop;

/// How long to wait before a transaction that is open is looked at again.
const AGAIN: Duration = Duration::from_millis(50);

/// Waits until everything that stands on `topic` now can be read by committed readers. An open
/// transaction hides from them what others have committed behind it.
///
/// # Errors
/// The topic cannot be asked; or a transaction that is open now does not end within `patience`. Where
/// `stop` is requested meanwhile it returns.
pub fn await_all(kafka: &Kafka, topic: &str, patience: Duration, stop: &Stop) -> Result<(), Fatal> {
    let (all, partitions) = connect(kafka, topic, &options::uncommitted_reader(kafka))?;
    let (committed, _) = connect(kafka, topic, &options::reader(kafka))?;
    let until = Instant::now() + patience;
    let mut behind: BTreeMap<i32, i64> = BTreeMap::new();
    for partition in partitions {
        let end = end(&all, kafka, topic, partition).map_err(|error| unavailable(topic, &error))?;
        behind.insert(partition, end);
    }
    while let Some((&partition, &wanted)) = behind.first_key_value() {
        let stable = end(&committed, kafka, topic, partition);
        if stable.map_err(|error| unavailable(topic, &error))? >= wanted {
            behind.pop_first();
        } else if stop.is_requested() {
            return Ok(());
        } else if Instant::now() >= until {
            return Err(Fatal::Unavailable(format!(
                "a transaction on partition {partition} of `{topic}` has not ended for {} s, and nobody can read behind it\n\nhint: see \"A partition stands still\" in README.md",
                patience.as_secs()
            )));
        } else {
            thread::sleep(AGAIN);
        }
    }
    Ok(())
}

/// The offset behind the last record that this client may read.
fn end(
    client: &BaseConsumer<Context>,
    kafka: &Kafka,
    topic: &str,
    partition: i32,
) -> KafkaResult<i64> {
    let patience = Duration::from_millis(kafka.connect_timeout_ms);
    client.fetch_watermarks(topic, partition, patience).map(|(_, end)| end)
}
