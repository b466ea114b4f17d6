//! Looks at the topics before anything is joined, and creates them for `foretell init`.

use std::thread;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::RDKafkaErrorCode;

use super::Fatal;
use super::context::Context;
use super::look::{Look, Topic};
use super::options::{self, Options};
use super::refusal::{Operation, Resource, is_authorization};
use crate::config::{Kafka, Topics};

/// How long to wait before a topic is looked for again.
const AGAIN: Duration = Duration::from_millis(20);

/// Sees that the brokers answer and that every topic is there, and fills into `options` what the
/// topics say.
///
/// # Errors
/// No answer within `kafka.connect_timeout_ms`, in librdkafka's words why; a topic is missing; the
/// credentials are refused.
pub fn preflight(options: &mut Options) -> Result<(), Fatal> {
    let Topics { events, predictions, dead_letters, shadow, control, reports } =
        options.topics.clone();
    let look = Asker::new(&options.kafka)?;
    let partitions = look.partitions(&events, Operation::Read)?;
    options.keep_partition = look.partitions(&predictions, Operation::Write)? == partitions;
    options.keep_dead_partition = look.partitions(&dead_letters, Operation::Write)? == partitions;
    if let Some(shadow) = &shadow {
        options.keep_shadow_partition = look.partitions(shadow, Operation::Write)? == partitions;
    }
    if look.partitions(&control, Operation::Read)? != 1 {
        return Err(Fatal::Configuration(format!(
            "the control topic `{control}` must have one partition, since the order of its messages counts\n\nhint: create it with `foretell init`"
        )));
    }
    look.partitions(&reports, Operation::Write)?;
    if let Some(bytes) = message_bytes_max(&options.kafka, &options.written()) {
        options.message_bytes_max = bytes;
    }
    Ok(())
}

/// How many partitions a topic has; `hint` tells what to do where there is no such topic.
///
/// # Errors
/// As [`preflight`].
pub fn partitions(
    kafka: &Kafka,
    topic: &str,
    wanted: Operation,
    hint: &str,
) -> Result<usize, Fatal> {
    Asker::new(kafka)?.partitions(topic, wanted).map_err(|error| match error {
        Fatal::Configuration(_) => {
            Fatal::Configuration(format!("topic `{topic}` does not exist\n\nhint: {hint}"))
        }
        other => other,
    })
}

/// Asks what there is.
struct Asker<'a> {
    look: Look<'a>,
    client: BaseProducer<Context>,
}

impl<'a> Asker<'a> {
    fn new(kafka: &'a Kafka) -> Result<Self, Fatal> {
        let context = Context::default();
        let client = options::client(kafka).create_with_context(context.clone());
        let client = client.map_err(|error| options::refused(&error))?;
        Ok(Self { look: Look::new(kafka, &context), client })
    }

    /// How many partitions a topic has.
    fn partitions(&self, topic: &str, wanted: Operation) -> Result<usize, Fatal> {
        let serve = || self.client.poll(Duration::ZERO);
        loop {
            match self.look.topic(self.client.client(), serve, topic, wanted)? {
                Topic::Partitions(numbers) => return Ok(numbers.len()),
                Topic::Missing => return Err(missing(topic)),
                Topic::NotYet(code) if self.look.is_over() => {
                    return Err(Fatal::Unavailable(format!("topic `{topic}`: {code}")));
                }
                Topic::NotYet(_) => thread::sleep(AGAIN),
            }
        }
    }

    /// Waits until a topic that was just made is known to the brokers that clients ask, so that a
    /// program started next does not miss it.
    fn until_it_is_there(&self, topic: &str) -> Result<(), Fatal> {
        while let Err(error) = self.partitions(topic, Operation::Read) {
            // Who may make a topic need not be allowed to see it.
            if matches!(error, Fatal::NotPermitted(_)) {
                return Ok(());
            }
            if self.look.is_over() {
                return Err(error);
            }
            thread::sleep(AGAIN);
        }
        Ok(())
    }

    /// Waits until a broker answers.
    fn reachable(&self) -> Result<(), Fatal> {
        let serve = || self.client.poll(Duration::ZERO);
        self.look.ask(self.client.client(), serve, None).map(|_| ())
    }
}

/// Ends a process that needs this topic.
pub fn missing(topic: &str) -> Fatal {
    Fatal::Configuration(format!(
        "topic `{topic}` does not exist\n\nhint: `foretell init` creates the topics with the settings they need"
    ))
}

/// The smallest `max.message.bytes` of the topics; `None` where we may not ask (it takes
/// DescribeConfigs, which scoring itself does not need).
pub fn message_bytes_max(kafka: &Kafka, topics: &[&str]) -> Option<usize> {
    let admin = admin(kafka).ok()?;
    let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let asked = AdminOptions::new().request_timeout(Some(Duration::from_secs(2)));
    let answers = pollster::block_on(admin.describe_configs(&resources, &asked)).ok()?;
    let limits = answers.iter().map(|answer| {
        let value = answer.as_ref().ok()?.get("max.message.bytes")?.value.as_ref()?;
        value.parse::<usize>().ok()
    });
    let smallest = limits.collect::<Option<Vec<_>>>()?.into_iter().min()?;
    tracing::debug!(smallest, "records of the output topics are bounded");
    Some(smallest)
}

fn admin(kafka: &Kafka) -> Result<AdminClient<Context>, Fatal> {
    AdminClient::from_config_and_context(&options::client(kafka), Context::default())
        .map_err(|error| options::refused(&error))
}

/// What `init` found or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    New,
    WasThere,
}

/// Creates the five topics that are not there yet: events, predictions and dead letters with
/// `partitions` each; control with one, kept forever; reports compacted. `replication` below 1: as
/// the broker's default says.
pub fn create_topics(
    kafka: &Kafka,
    topics: &Topics,
    partitions: i32,
    replication: i32,
) -> Result<Vec<(String, Created)>, Fatal> {
    let replicas = if replication < 1 { -1 } else { replication };
    let topic =
        |name, partitions| NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
    let mut wanted = vec![
        topic(&topics.events, partitions),
        topic(&topics.predictions, partitions),
        topic(&topics.dead_letters, partitions),
        topic(&topics.control, 1).set("retention.ms", "-1").set("retention.bytes", "-1"),
        topic(&topics.reports, 1).set("cleanup.policy", "compact"),
    ];
    wanted.extend(topics.shadow.iter().map(|name| topic(name, partitions)));
    create(kafka, &wanted)
}

/// Creates a topic as the broker's defaults say, if it is not there yet.
pub fn create_topic(kafka: &Kafka, name: &str, partitions: i32) -> Result<(), Fatal> {
    create(kafka, &[NewTopic::new(name, partitions, TopicReplication::Fixed(-1))]).map(drop)
}

fn create(kafka: &Kafka, wanted: &[NewTopic<'_>]) -> Result<Vec<(String, Created)>, Fatal> {
    // Asks first: an admin request to nobody only times out, without a word why.
    let look = Asker::new(kafka)?;
    look.reachable()?;
    let asked = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let unavailable = |error| Fatal::Unavailable(format!("creating topics: {error}"));
    let answers =
        pollster::block_on(admin(kafka)?.create_topics(wanted, &asked)).map_err(unavailable)?;
    answers
        .into_iter()
        .map(|answer| match answer {
            Ok(name) => {
                look.until_it_is_there(&name)?;
                Ok((name, Created::New))
            }
            Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => Ok((name, Created::WasThere)),
            Err((name, code)) if is_authorization(code) => {
                let right = Operation::Create.on(Resource::Topic(&name));
                Err(right.is_lacking(&format!("creating topic `{name}`"), code))
            }
            Err((name, code)) => {
                Err(Fatal::Unavailable(format!("creating topic `{name}`: {code}")))
            }
        })
        .collect()
}

/// Deletes the topics and `others`, as the tour does with its own.
pub fn delete_topics(kafka: &Kafka, topics: &Topics, others: &[&str]) -> Result<(), Fatal> {
    let Topics { events, predictions, dead_letters, shadow, control, reports } = topics;
    let names = [events, predictions, dead_letters, control, reports];
    let names = names.into_iter().chain(shadow).map(String::as_str);
    let names: Vec<_> = names.chain(others.iter().copied()).collect();
    let asked = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
    pollster::block_on(admin(kafka)?.delete_topics(&names, &asked))
        .map_err(|error| Fatal::Unavailable(format!("deleting topics: {error}")))?;
    Ok(())
}
