//! A part of a topic: where it begins and ends on each partition, settled before anything is read, so
//! that reading it ends although the topic goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::context::Context;

/// Where a range begins (the first record at or after it belongs to it) or ends (it does not).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edge {
    /// The first record that the topic still holds.
    Beginning,
    /// Behind the last record that is committed now.
    End,
    /// A partition's first record of this time or later, in milliseconds since the epoch.
    Time(i64),
    /// The same offset on every partition.
    Offset(i64),
    /// An offset for each of these partitions; no other is read.
    Offsets(BTreeMap<i32, i64>),
}

/// A range on one partition, as offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub first: i64,
    /// Up to here it has been read.
    pub next: i64,
    /// The offset behind the last one.
    pub stop: i64,
}

impl Span {
    fn new(first: i64, stop: i64) -> Self {
        let first = first.min(stop);
        Self { first, next: first, stop }
    }

    pub fn is_read(&self) -> bool {
        self.next >= self.stop
    }
}

/// The range on each of `partitions` that it touches. What the topic no longer holds, or not yet, is
/// left out.
pub(super) fn resolve(
    client: &BaseConsumer<Context>,
    topic: &str,
    partitions: &BTreeSet<i32>,
    (from, to): (&Edge, &Edge),
    patience: Duration,
) -> KafkaResult<BTreeMap<i32, Span>> {
    let named = |edge: &Edge, partition: &i32| match edge {
        Edge::Offsets(offsets) => offsets.contains_key(partition),
        _ => true,
    };
    let touched =
        partitions.iter().filter(|partition| named(from, partition) && named(to, partition));
    let touched: Vec<i32> = touched.copied().collect();
    let times = |edge: &Edge| match edge {
        Edge::Time(time) => offsets_at(client, topic, &touched, *time, patience),
        _ => Ok(BTreeMap::new()),
    };
    let (from_times, to_times) = (times(from)?, times(to)?);
    let mut spans = BTreeMap::new();
    for partition in touched {
        let (low, high) = client.fetch_watermarks(topic, partition, patience)?;
        let offset = |edge: &Edge, times: &BTreeMap<i32, i64>| match edge {
            Edge::Beginning => low,
            Edge::End => high,
            Edge::Time(_) => times.get(&partition).copied().unwrap_or(high),
            Edge::Offset(offset) => *offset,
            Edge::Offsets(offsets) => offsets.get(&partition).copied().unwrap_or(high),
        };
        let first = offset(from, &from_times).clamp(low, high);
        let stop = offset(to, &to_times).clamp(low, high);
        spans.insert(partition, Span::new(first, stop));
    }
    Ok(spans)
}

/// The first offset of this time or later, for each partition that has one.
fn offsets_at(
    client: &BaseConsumer<Context>,
    topic: &str,
    partitions: &[i32],
    time_ms: i64,
    patience: Duration,
) -> KafkaResult<BTreeMap<i32, i64>> {
    // librdkafka takes a question about nothing for a mistake.
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut asked = TopicPartitionList::new();
    for &partition in partitions {
        // The protocol has the time where the answer has the offset; below 0 it means something else.
        asked.add_partition_offset(topic, partition, Offset::Offset(time_ms.max(0)))?;
    }
    let answer = client.offsets_for_times(asked, patience)?;
    let mut offsets = BTreeMap::new();
    for element in answer.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            offsets.insert(element.partition(), offset);
        }
    }
    Ok(offsets)
}

/// A list of these partitions, each read from where its span begins.
pub(super) fn beginnings(
    topic: &str,
    spans: &BTreeMap<i32, Span>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (&partition, span) in spans.iter().filter(|(_, span)| !span.is_read()) {
        list.add_partition_offset(topic, partition, Offset::Offset(span.first))?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_ends_before_it_begins_is_empty() {
        assert_eq!(Span::new(7, 5), Span { first: 5, next: 5, stop: 5 });
        assert!(Span::new(7, 5).is_read());
        assert!(!Span::new(5, 7).is_read());
    }

    #[test]
    fn what_is_empty_is_not_asked_for() {
        let spans = BTreeMap::from([(0, Span::new(5, 7)), (1, Span::new(3, 3))]);
        let list = beginnings("events", &spans).unwrap();
        let asked: Vec<_> =
            list.elements().iter().map(|it| (it.partition(), it.offset())).collect();
        assert_eq!(asked, [(0, Offset::Offset(5))]);
    }
}
