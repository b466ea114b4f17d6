//! The baseline: the least that a transactional pipeline can do with the same client settings. It
//! copies bytes, polls on through its transactions, and commits every 50 ms.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use foretell::bus::options::{self, Options};
use foretell::config::{Config, Sources};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

const COMMIT_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// Copies `events` to `<name>-predictions` until it is killed.
pub fn run(bootstrap: &str, events: &str, name: &str) -> anyhow::Result<()> {
    let set = vec![
        format!("kafka.bootstrap_servers={bootstrap}"),
        format!("topics.events={events}"),
        format!("consumer.group_id={name}"),
        "model.name=none".into(),
    ];
    let config = Config::load(&Sources { file: None, environment: Vec::new(), set })?;
    let options = Options::new(&config);
    let consumer: BaseConsumer =
        options::consumer(&options).set("auto.offset.reset", "earliest").create()?;
    let producer: BaseProducer = options::producer(&options, Some(name)).create()?;
    producer.init_transactions(PATIENCE)?;
    consumer.subscribe(&[events])?;
    let output = format!("{name}-predictions");
    loop {
        transaction(&consumer, &producer, events, &output)?;
    }
}

fn transaction(
    consumer: &BaseConsumer,
    producer: &BaseProducer,
    events: &str,
    output: &str,
) -> anyhow::Result<()> {
    let mut next = BTreeMap::new();
    let mut began = None;
    while began.is_none_or(|began: Instant| began.elapsed() < COMMIT_EVERY) {
        let message = match consumer.poll(Duration::from_millis(5)) {
            // A partition was read to its end, for now: the program's clients are told of it.
            None | Some(Err(KafkaError::PartitionEOF(_))) => continue,
            Some(message) => message?,
        };
        if began.is_none() {
            producer.begin_transaction()?;
            began = Some(Instant::now());
        }
        next.insert(message.partition(), message.offset() + 1);
        copy(producer, output, &message)?;
    }
    flush(producer);
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in next {
        offsets.add_partition_offset(events, partition, Offset::Offset(offset))?;
    }
    if let Some(metadata) = consumer.group_metadata() {
        producer.send_offsets_to_transaction(&offsets, &metadata, PATIENCE)?;
    }
    producer.commit_transaction(PATIENCE)?;
    Ok(())
}

/// As the program itself flushes: waiting on a condition, while nothing lingers.
fn flush(producer: &BaseProducer) {
    // SAFETY: the producer outlives the call.
    unsafe { rdkafka::bindings::rd_kafka_flush(producer.client().native_ptr(), 30_000) };
}

fn copy(producer: &BaseProducer, output: &str, message: &impl Message) -> anyhow::Result<()> {
    let mut record = BaseRecord::to(output)
        .partition(message.partition())
        .key(message.key().unwrap_or_default())
        .payload(message.payload().unwrap_or_default());
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                record = again;
                producer.poll(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}
