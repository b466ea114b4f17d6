//! Transactions, caught open and left open.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::deployment::Deployment;
use super::eventually::{SOON, eventually, stays};
use super::instance::Instance;
use super::topics;

/// Freezes the instance in the middle of a transaction: some of its predictions are on their topic,
/// and not yet committed. Moments at which none is open are passed over. Gives when it froze.
pub fn freeze_in_the_middle(deployment: &Deployment, instance: &Instance) -> Instant {
    let topic = &deployment.topics.predictions;
    let [committed, all] =
        ["read_committed", "read_uncommitted"].map(|level| topics::asker(deployment, level));
    let is_open = |&partition: &i32| {
        topics::end(&committed, topic, partition) < topics::end(&all, topic, partition)
    };
    let partitions = instance.partitions();
    eventually(SOON, "a transaction of the instance to be open", || {
        let frozen = Instant::now();
        instance.freeze();
        // What was on its way when it froze may still arrive, even a commit.
        let caught = stays(Duration::from_millis(200), || partitions.iter().any(is_open));
        if !caught {
            instance.thaw();
        }
        caught.then_some(frozen)
    })
}

/// A producer with a transaction begun, which the broker aborts when it is older than `timeout`.
pub fn begin(deployment: &Deployment, id: &str, timeout: Duration) -> BaseProducer {
    let producer: BaseProducer = topics::client(deployment)
        .set("transactional.id", format!("{}-{id}", deployment.name))
        .set("transaction.timeout.ms", timeout.as_millis().to_string())
        .create()
        .expect("a producer can be made");
    producer.init_transactions(SOON).expect("the broker knows the id");
    producer.begin_transaction().expect("a transaction begins");
    producer
}

/// Sends within the transaction, and sees it arrive.
pub fn send(producer: &BaseProducer, topic: &str, key: &str, value: &str) {
    let record = BaseRecord::to(topic).key(key).payload(value);
    producer.send(record).expect("the queue has room");
    producer.flush(SOON).expect("the broker takes the record");
}

/// As a member of the deployment's group, settles where the group stands anew, and leaves the
/// group without an end of that transaction: until it times out, no offset of the group is stable.
pub fn settle_and_leave_open(
    deployment: &Deployment,
    partitions: i32,
    timeout: Duration,
) -> BaseProducer {
    let consumer: BaseConsumer = topics::client(deployment)
        .set("group.id", &deployment.name)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer can be made");
    let topic = &deployment.topics.events;
    consumer.subscribe(&[topic]).expect("the topic can be subscribed to");
    eventually(SOON, "a member of our own to have all partitions", || {
        consumer.poll(Duration::ZERO);
        let assigned = consumer.assignment().expect("a consumer has an assignment");
        (assigned.count() == partitions as usize).then_some(())
    });
    let stands = consumer.committed(SOON).expect("the broker says where the group stands");
    let producer = begin(deployment, "phantom", timeout);
    let member = consumer.group_metadata().expect("we are a member");
    producer
        .send_offsets_to_transaction(&stands, &member, SOON)
        .expect("the broker takes the offsets");
    producer
}
