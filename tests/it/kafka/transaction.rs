//! Transactions, caught open and left open.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::deployment::Deployment;
use super::eventually::{eventually, stays};
use super::instance::Instance;
use super::topics;

const PATIENCE: Duration = Duration::from_secs(20);

/// Freezes the instance in the middle of a transaction: some of its predictions are on their topic,
/// and not yet committed. Moments at which none is open are passed over.
pub fn freeze_in_the_middle(deployment: &Deployment, instance: &Instance) {
    let partitions = instance.partitions();
    eventually(Duration::from_secs(60), "a transaction of the instance to be open", || {
        instance.freeze();
        // What was on its way when it froze may still arrive, even a commit.
        let caught = stays(Duration::from_millis(200), || {
            partitions.iter().any(|&partition| is_open(deployment, partition))
        });
        if !caught {
            instance.thaw();
        }
        caught.then_some(())
    });
}

/// Are there predictions on this partition that are not committed?
fn is_open(deployment: &Deployment, partition: i32) -> bool {
    let topic = &deployment.topics.predictions;
    let (_, committed) = topics::ends(deployment, topic, partition, true);
    let (_, all) = topics::ends(deployment, topic, partition, false);
    committed < all
}

/// A producer with a transaction begun.
pub fn begin(deployment: &Deployment, id: &str) -> BaseProducer {
    let producer: BaseProducer = topics::client(deployment)
        .set("transactional.id", format!("{}-{id}", deployment.name))
        .set("transaction.timeout.ms", "5000")
        .create()
        .expect("a producer can be made");
    producer.init_transactions(PATIENCE).expect("the broker knows the id");
    producer.begin_transaction().expect("a transaction begins");
    producer
}

/// Sends within the transaction, and sees it arrive.
pub fn send(producer: &BaseProducer, topic: &str, key: &str, value: &str) {
    let record = BaseRecord::to(topic).key(key).payload(value);
    producer.send(record).expect("the queue has room");
    producer.flush(PATIENCE).expect("the broker takes the record");
}

/// As a member of the deployment's group, settles where the group stands anew, and leaves the
/// group without an end of that transaction: until it times out, no offset of the group is stable.
pub fn settle_and_leave_open(deployment: &Deployment, partitions: i32) -> BaseProducer {
    let consumer: BaseConsumer = topics::client(deployment)
        .set("group.id", &deployment.name)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer can be made");
    let topic = &deployment.topics.events;
    consumer.subscribe(&[topic]).expect("the topic can be subscribed to");
    eventually(PATIENCE, "a member of our own to have all partitions", || {
        consumer.poll(Duration::ZERO);
        let assigned = consumer.assignment().expect("a consumer has an assignment");
        (assigned.count() == partitions as usize).then_some(())
    });
    let stands = consumer.committed(PATIENCE).expect("the broker says where the group stands");
    let producer = begin(deployment, "phantom");
    let member = consumer.group_metadata().expect("we are a member");
    producer
        .send_offsets_to_transaction(&stands, &member, PATIENCE)
        .expect("the broker takes the offsets");
    producer
}
