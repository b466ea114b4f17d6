//! What is on a topic, and what an administrator does to one.

use std::io::{Write as _, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foretell::bus::tail::{Record, Step, Tail};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::model;

const PATIENCE: Duration = Duration::from_secs(20);
/// Of a cluster of two; see tests/broker/broker.sh.
const SECOND_NODE: i32 = 2;
/// For a look that may find nothing.
const LOOK: Duration = Duration::from_secs(2);

/// Everything that is on a topic now, committed records only.
pub fn read(deployment: &Deployment, topic: &str) -> Vec<Record> {
    let mut tail = Tail::open(&deployment.kafka, topic).expect("the topic can be opened");
    let mut records = Vec::new();
    loop {
        match tail.next(PATIENCE).expect("the topic can be read") {
            Step::Record(record) => records.push(record),
            Step::End => return records,
            Step::Nothing => {}
        }
    }
}

/// A client's configuration, of rdkafka alone: nothing of ours is between the test and the broker.
pub fn client(deployment: &Deployment) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &deployment.kafka.bootstrap_servers);
    // A topic that a test did not make is a mistake in the test, or in what it tests.
    config.set("allow.auto.create.topics", "false");
    config
}

/// Counts the records that the brokers took, and tells at once of those that they did not.
pub struct Deliveries(Arc<AtomicU64>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, message)) => {
                let (topic, partition) = (message.topic(), message.partition());
                // Past the capture of tests that succeed.
                let _ = writeln!(stderr(), "── not delivered to {topic} [{partition}]: {error}");
            }
        }
    }
}

/// A producer that outlasts an outage of the broker. `taken` counts what arrived.
pub fn producer(deployment: &Deployment, taken: &Arc<AtomicU64>) -> BaseProducer<Deliveries> {
    client(deployment)
        .set("enable.idempotence", "true")
        // With more in flight, one that reaches a new leader before those sent ahead of it to the old
        // one is out of order there, and that is the end of the producer.
        .set("max.in.flight.requests.per.connection", "1")
        .set("message.timeout.ms", SOON.as_millis().to_string())
        .create_with_context(Deliveries(Arc::clone(taken)))
        .expect("a producer can be made")
}

/// Waits until the brokers have answered for all that was sent.
#[track_caller]
pub fn flush(producer: &BaseProducer<Deliveries>) {
    producer.flush(SOON).expect("the brokers answer for all that was sent");
}

/// Publishes one record, and sees it arrive.
pub fn publish(deployment: &Deployment, topic: &str, key: &str, value: &str) {
    publish_all(deployment, topic, key, &[value.to_owned()]);
}

/// Publishes records in their order, and sees them arrive.
pub fn publish_all(deployment: &Deployment, topic: &str, key: &str, values: &[String]) {
    let taken = Arc::default();
    let producer = producer(deployment, &taken);
    for value in values {
        producer.send(BaseRecord::to(topic).key(key).payload(value)).expect("the queue has room");
    }
    flush(&producer);
    let taken = taken.load(Ordering::Relaxed);
    assert_eq!(taken, values.len() as u64, "expected the broker to take the records");
}

/// Writes a record to the control topic as it is.
pub fn control(deployment: &Deployment, value: &str) {
    publish(deployment, &deployment.topics.control, model::NAME, value);
}

fn admin(deployment: &Deployment) -> AdminClient<DefaultClientContext> {
    client(deployment).create().expect("an admin client can be made")
}

/// Makes a topic with settings of its own, and sees that clients are told of it. One that is there stays as it is.
pub fn make(deployment: &Deployment, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        wanted = wanted.set(key, value);
    }
    let admin = admin(deployment);
    pollster::block_on(admin.create_topics([&wanted], &AdminOptions::new()))
        .expect("the broker makes topics");
    eventually(SOON, &format!("`{topic}` to be there"), || {
        names(deployment).iter().any(|name| name == topic).then_some(())
    });
}

/// Makes a topic, if there is none of this name.
pub fn try_make(deployment: &Deployment, topic: &str, partitions: i32) -> bool {
    let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let admin = admin(deployment);
    let answer = pollster::block_on(admin.create_topics([&wanted], &AdminOptions::new()));
    answer.expect("the broker makes topics").iter().all(Result::is_ok)
}

/// Deletes a topic.
pub fn delete(deployment: &Deployment, topic: &str) {
    let admin = admin(deployment);
    let answer = pollster::block_on(admin.delete_topics(&[topic], &AdminOptions::new()))
        .expect("the broker deletes topics");
    assert!(answer.iter().all(Result::is_ok), "expected `{topic}` to be deleted: {answer:?}");
}

/// Bounds the records that a topic takes from now on.
pub fn bound(deployment: &Deployment, topic: &str, bytes_max: usize) {
    let bytes_max = bytes_max.to_string();
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let config = config.set("max.message.bytes", &bytes_max);
    let admin = admin(deployment);
    let answer = pollster::block_on(admin.alter_configs([&config], &AdminOptions::new()))
        .expect("the broker changes topics");
    assert!(answer.iter().all(Result::is_ok), "expected `{topic}` to be changed: {answer:?}");
}

/// The topics that there are.
pub fn names(deployment: &Deployment) -> Vec<String> {
    let metadata = asker(deployment, "read_committed").fetch_metadata(None, PATIENCE);
    let metadata = metadata.expect("the broker tells its topics");
    metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
}

/// Deletes the records of all partitions below the given offsets, as retention does.
pub fn delete_below(deployment: &Deployment, topic: &str, offsets: &[(i32, i64)]) {
    let mut list = TopicPartitionList::new();
    for &(partition, offset) in offsets {
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
    }
    let admin = admin(deployment);
    let answer = pollster::block_on(admin.delete_records(&list, &AdminOptions::new()))
        .expect("the broker deletes records");
    for element in answer.elements() {
        element.error().expect("the partition's records are deleted");
    }
}

/// Gives a topic more partitions.
pub fn grow(deployment: &Deployment, topic: &str, partitions: usize) {
    let wanted = NewPartitions::new(topic, partitions);
    let admin = admin(deployment);
    let answer = pollster::block_on(admin.create_partitions([&wanted], &AdminOptions::new()))
        .expect("the broker adds partitions");
    for topic in answer {
        topic.expect("the topic grows");
    }
}

/// A client that is asked for offsets only: of topics, and of the deployment's group.
pub fn asker(deployment: &Deployment, isolation: &str) -> BaseConsumer {
    client(deployment)
        .set("isolation.level", isolation)
        .set("group.id", &deployment.name)
        .create()
        .expect("a consumer can be made")
}

/// The partitions of events or predictions that the second of two brokers leads.
pub fn led_by_second(deployment: &Deployment) -> Vec<i32> {
    let asker = asker(deployment, "read_committed");
    let mut led = Vec::new();
    for topic in [&deployment.topics.events, &deployment.topics.predictions] {
        let metadata = asker.fetch_metadata(Some(topic), SOON).expect("a broker answers");
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        led.extend(partitions.filter(|p| p.leader() == SECOND_NODE).map(|p| p.id()));
    }
    led.sort_unstable();
    led.dedup();
    led
}

/// Waits until the first of two brokers leads what the second led, which is down. One that was killed must not come
/// back before: Kafka 4.3.1 would end transactions by what that broker alone had written down ("What no
/// client can mend" in ARCHITECTURE.md).
pub fn await_taken_over(deployment: &Deployment) {
    eventually(SOON, "the first broker to lead what the second led", || {
        led_by_second(deployment).is_empty().then_some(())
    });
}

/// The offset after the last record of a partition, as readers of this isolation see it.
pub fn end(asker: &BaseConsumer, topic: &str, partition: i32) -> i64 {
    let ends = asker.fetch_watermarks(topic, partition, PATIENCE);
    ends.expect("the broker says its offsets").1
}

/// Up to where the group has settled a partition of the events.
fn settled(asker: &BaseConsumer, deployment: &Deployment, partition: i32) -> KafkaResult<Offset> {
    let mut list = TopicPartitionList::new();
    list.add_partition(&deployment.topics.events, partition);
    let list = asker.committed_offsets(list, LOOK)?;
    Ok(list.elements()[0].offset())
}

/// Whether the group has settled all events, with no transaction pending over its offsets.
pub fn is_settled(deployment: &Deployment, partitions: i32) -> bool {
    let asker = asker(deployment, "read_committed");
    (0..partitions).all(|partition| {
        let end = end(&asker, &deployment.topics.events, partition);
        settled(&asker, deployment, partition) == Ok(Offset::Offset(end))
    })
}

/// Where the group and the readers of its predictions stand, as the broker has it: for a test that
/// failed. What cannot be told is shown as it is.
pub fn standing(deployment: &Deployment) -> String {
    let [committed, all] = ["read_committed", "read_uncommitted"].map(|it| asker(deployment, it));
    let mut told = String::new();
    for partition in 0.. {
        let ends = |asker: &BaseConsumer, topic: &str| {
            asker.fetch_watermarks(topic, partition, LOOK).map(|(_, end)| end)
        };
        let events = ends(&committed, &deployment.topics.events);
        if events.is_err() {
            break;
        }
        let settled = settled(&committed, deployment, partition);
        let predictions = &deployment.topics.predictions;
        told += &format!(
            "   partition {partition}: events end at {events:?}, settled {settled:?}, predictions stable to {:?} of {:?}\n",
            ends(&committed, predictions),
            ends(&all, predictions),
        );
    }
    told
}
