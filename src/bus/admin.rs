//! Looks at the topics before anything is joined, and creates them for `foretell init`.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::RDKafkaErrorCode;

use super::Fatal;
use super::context::Context;
use super::options::{self, Options};
use super::producer::is_authorization;
use crate::config::{Kafka, Topics};

/// How long one question waits before the brokers are asked again.
const STEP: Duration = Duration::from_millis(500);

/// Sees that the brokers answer and that every topic is there, and fills into `options` what the
/// topics say.
///
/// # Errors
/// No answer within `kafka.connect_timeout_ms`, in librdkafka's words why; a topic is missing; the
/// credentials are refused.
pub fn preflight(options: &mut Options) -> Result<(), Fatal> {
    let Topics { events, predictions, dead_letters, shadow, control, reports } =
        options.topics.clone();
    let look = Look::new(&options.kafka)?;
    let partitions = look.partitions(&events)?;
    options.keep_partition = look.partitions(&predictions)? == partitions;
    options.keep_dead_partition = look.partitions(&dead_letters)? == partitions;
    if let Some(shadow) = &shadow {
        options.keep_shadow_partition = look.partitions(shadow)? == partitions;
    }
    if look.partitions(&control)? != 1 {
        return Err(Fatal::Configuration(format!(
            "the control topic `{control}` must have one partition, since the order of its messages counts\n\nhint: create it with `foretell init`"
        )));
    }
    look.partitions(&reports)?;
    if let Some(bytes) = message_bytes_max(&options.kafka, &options.written()) {
        options.message_bytes_max = bytes;
    }
    Ok(())
}

/// Sees that none of `topics` was deleted, when what happens to a client looks like it. Brokers that do
/// not answer within `patience` do not say so.
///
/// # Errors
/// The brokers know no such topic, or not for this user.
pub fn see_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    patience: Duration,
) -> Result<(), Fatal> {
    for topic in topics {
        let Ok(metadata) = client.fetch_metadata(Some(topic), patience) else { return Ok(()) };
        let told = metadata.topics().first().and_then(|found| found.error());
        match told.map(RDKafkaErrorCode::from) {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                return Err(Fatal::Configuration(format!(
                    "topic `{topic}` does not exist any more: it was deleted while this instance ran\n\nhint: `foretell init` makes it again, empty; what was on it is gone"
                )));
            }
            Some(code) if is_authorization(code) => return Err(not_permitted(topic, code)),
            _ => {}
        }
    }
    Ok(())
}

/// How many partitions a topic has; `hint` tells what to do where there is no such topic.
///
/// # Errors
/// As [`preflight`].
pub fn partitions(kafka: &Kafka, topic: &str, hint: &str) -> Result<usize, Fatal> {
    Look::new(kafka)?.partitions(topic).map_err(|error| match error {
        Fatal::Configuration(_) => {
            Fatal::Configuration(format!("topic `{topic}` does not exist\n\nhint: {hint}"))
        }
        other => other,
    })
}

/// Asks for metadata. A producer, because only its errors come with librdkafka's reason.
struct Look<'a> {
    kafka: &'a Kafka,
    client: BaseProducer<Context>,
    context: Context,
    until: Instant,
}

impl<'a> Look<'a> {
    fn new(kafka: &'a Kafka) -> Result<Self, Fatal> {
        let context = Context::default();
        let client =
            options::client(kafka).create_with_context(context.clone()).map_err(|error| {
                Fatal::Configuration(format!("librdkafka refuses a property: {error}"))
            })?;
        let until = Instant::now() + Duration::from_millis(kafka.connect_timeout_ms);
        Ok(Self { kafka, client, context, until })
    }

    /// How many partitions a topic has.
    fn partitions(&self, topic: &str) -> Result<usize, Fatal> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            let wait = left.clamp(Duration::from_millis(10), STEP);
            let answer = client(&self.client).fetch_metadata(Some(topic), wait);
            self.client.poll(Duration::ZERO);
            self.refused()?;
            let Ok(metadata) = answer else {
                if left.is_zero() {
                    return Err(self.unavailable());
                }
                continue;
            };
            let Some(found) = metadata.topics().first() else { return Err(missing(topic)) };
            match found.error().map(RDKafkaErrorCode::from) {
                None if !found.partitions().is_empty() => return Ok(found.partitions().len()),
                None | Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                    return Err(missing(topic));
                }
                Some(code) if is_authorization(code) => {
                    return Err(not_permitted(topic, code));
                }
                // A leader is being elected, perhaps.
                Some(code) if left.is_zero() => {
                    return Err(Fatal::Unavailable(format!("topic `{topic}`: {code}")));
                }
                Some(_) => {}
            }
        }
    }

    /// Waits until a topic that was just made is known to the brokers that clients ask, so that a
    /// program started next does not miss it.
    fn until_it_is_there(&self, topic: &str) -> Result<(), Fatal> {
        while let Err(error) = self.partitions(topic) {
            if Instant::now() >= self.until {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until a broker answers.
    fn reachable(&self) -> Result<(), Fatal> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            let wait = left.clamp(Duration::from_millis(10), STEP);
            let answer = client(&self.client).fetch_metadata(None, wait);
            self.client.poll(Duration::ZERO);
            self.refused()?;
            match answer {
                Ok(_) => return Ok(()),
                Err(_) if left.is_zero() => return Err(self.unavailable()),
                Err(_) => {}
            }
        }
    }

    /// Wrong credentials and certificates are retried by librdkafka for ever, and never right.
    fn refused(&self) -> Result<(), Fatal> {
        use RDKafkaErrorCode::{Authentication, SSL};
        match self.context.facts.last_code() {
            Some(Authentication | SSL) => Err(Fatal::NotPermitted(format!(
                "the brokers at `{}` refuse this client: {}",
                self.kafka.bootstrap_servers,
                self.context.facts.last_reason().unwrap_or_default()
            ))),
            _ => Ok(()),
        }
    }

    fn unavailable(&self) -> Fatal {
        let Kafka { bootstrap_servers, connect_timeout_ms, .. } = self.kafka;
        let reason = self.context.facts.last_reason();
        Fatal::Unavailable(format!(
            "no broker of `{bootstrap_servers}` answered within {connect_timeout_ms} ms: {}\n\nhint: check `kafka.bootstrap_servers` and that the brokers advertise an address this machine can reach",
            reason.as_deref().unwrap_or("no connection was refused or made")
        ))
    }
}

fn client(producer: &BaseProducer<Context>) -> &Client<Context> {
    producer.client()
}

fn not_permitted(topic: &str, code: RDKafkaErrorCode) -> Fatal {
    Fatal::NotPermitted(format!(
        "topic `{topic}`: {code}\n\nhint: it may also not exist; without rights Kafka does not tell"
    ))
}

fn missing(topic: &str) -> Fatal {
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
        .map_err(|error| Fatal::Configuration(error.to_string()))
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
    // Asks first: an admin request to nobody only times out, without a word why.
    let look = Look::new(kafka)?;
    look.reachable()?;
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
    let asked = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let unavailable = |error| Fatal::Unavailable(format!("creating topics: {error}"));
    let answers =
        pollster::block_on(admin(kafka)?.create_topics(&wanted, &asked)).map_err(unavailable)?;
    answers
        .into_iter()
        .map(|answer| match answer {
            Ok(name) => {
                look.until_it_is_there(&name)?;
                Ok((name, Created::New))
            }
            Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => Ok((name, Created::WasThere)),
            Err((name, code)) if is_authorization(code) => Err(Fatal::NotPermitted(format!(
                "creating topic `{name}`: {code}\n\nhint: the user needs Create on the cluster or the topic"
            ))),
            Err((name, code)) => Err(Fatal::Unavailable(format!("creating topic `{name}`: {code}"))),
        })
        .collect()
}

/// Deletes the topics, as the tour does with its own.
pub fn delete_topics(kafka: &Kafka, topics: &Topics) -> Result<(), Fatal> {
    let Topics { events, predictions, dead_letters, shadow, control, reports } = topics;
    let names = [events, predictions, dead_letters, control, reports];
    let names: Vec<_> = names.into_iter().chain(shadow).map(String::as_str).collect();
    let asked = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
    pollster::block_on(admin(kafka)?.delete_topics(&names, &asked))
        .map_err(|error| Fatal::Unavailable(format!("deleting topics: {error}")))?;
    Ok(())
}
