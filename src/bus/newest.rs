//! A look at the newest events of some partitions, by a client of its own: where a member of the group
//! stands is not touched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::consumer::record;
use super::context::Context;
use super::native;
use super::options::{self, Options};
use super::parting::Parting;
use crate::batch::Batch;

/// How long a look may keep a worker from polling: far below any `max_poll_interval_ms` that works.
const PATIENCE: Duration = Duration::from_secs(2);

/// Adds about `rows` of the last events on these partitions to `newest`, as many of each as of any other. Markers
/// of transactions take offsets, too, so there may be fewer.
///
/// # Errors
/// The brokers do not say in time where the partitions end.
pub fn read(
    options: &Options,
    partitions: &[i32],
    rows: usize,
    newest: &mut Batch,
) -> KafkaResult<()> {
    let until = Instant::now() + PATIENCE;
    let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let client: BaseConsumer<Context> =
        options::reader(&options.kafka).create_with_context(Context::default())?;
    let client = Parting::new(client);
    let topic = &options.topics.events;
    let each = i64::try_from(rows.div_ceil(partitions.len().max(1))).unwrap_or(i64::MAX);
    let mut list = TopicPartitionList::new();
    // The last offset that is looked at of each partition.
    let mut last = BTreeMap::new();
    for &partition in partitions {
        let (low, high) = client.fetch_watermarks(topic, partition, left())?;
        if low < high {
            let first = Offset::Offset(low.max(high - each));
            list.add_partition_offset(topic, partition, first)?;
            last.insert(partition, high - 1);
        }
    }
    client.assign(&list)?;
    while !last.is_empty() && Instant::now() < until {
        match client.poll(left()) {
            Some(Ok(message)) => {
                let (partition, offset) = (message.partition(), message.offset());
                let end = last.get(&partition).copied();
                if end.is_some_and(|end| offset <= end) {
                    newest.push(record(&message), native::headers(&message));
                }
                if end.is_some_and(|end| offset >= end) {
                    last.remove(&partition);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(last.remove(&partition)),
            Some(Err(error)) => tracing::debug!(%error, "looking at the newest events"),
            None => {}
        }
    }
    Ok(())
}
