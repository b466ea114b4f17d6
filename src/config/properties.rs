//! librdkafka's properties: yours pass through, ours are refused with the reason, secrets stay
//! unprinted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Properties to hand to both clients. `Debug` and `Serialize` show `***` for a secret's value.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Names and values as librdkafka takes them, by name. The values of secrets too.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn redacted(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().map(|(key, value)| (key, if is_secret(key) { "***" } else { value }))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.redacted()).finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.redacted())
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalars = BTreeMap::<String, Scalar>::deserialize(deserializer)?;
        Ok(Self(scalars.into_iter().map(|(key, scalar)| (key, scalar.to_string())).collect()))
    }
}

impl JsonSchema for Properties {
    fn schema_name() -> Cow<'static, str> {
        "Properties".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": ["string", "integer", "boolean"] },
        })
    }
}

/// A value as TOML may write it; librdkafka takes text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(integer) => integer.fmt(f),
            Self::Boolean(boolean) => boolean.fmt(f),
        }
    }
}

/// Must the value of this property never be printed?
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "passphrase", "secret", "token", "jaas", "key.pem", "oauthbearer.config"]
        .iter()
        .any(|part| key.contains(part))
}

/// A property that foretell sets itself.
pub struct Owned {
    pub key: &'static str,
    /// Why nobody else may.
    pub reason: &'static str,
    /// The key of ours that is its like, where there is one.
    pub ours: Option<&'static str>,
}

/// The property `key`, if it is one that foretell sets itself.
pub fn owned(key: &str) -> Option<&'static Owned> {
    OWNED.iter().find(|owned| owned.key == key)
}

const fn ours(key: &'static str, ours: &'static str, reason: &'static str) -> Owned {
    Owned { key, reason, ours: Some(ours) }
}

const fn fixed(key: &'static str, reason: &'static str) -> Owned {
    Owned { key, reason, ours: None }
}

const NAMED: &str = "it has a key of its own here";
const COMMIT: &str = "offsets are committed with their predictions, never by a timer";
const DURABLE: &str = "a prediction counts as sent when all in-sync replicas have it, once";
const TIMELY: &str = "a prediction that is late for its transaction fails with it";
const PLACED: &str = "a prediction is partitioned as its event is";
const GROUPED: &str = "all members of a group must agree on it";

/// Every property of ours under every name librdkafka knows it by. What is not here is yours.
const OWNED: &[Owned] = &[
    ours("bootstrap.servers", "kafka.bootstrap_servers", NAMED),
    ours("metadata.broker.list", "kafka.bootstrap_servers", NAMED),
    ours("topic.metadata.refresh.interval.ms", "consumer.metadata_refresh_ms", NAMED),
    fixed(
        "allow.auto.create.topics",
        "`foretell init` makes the topics, with the settings they need",
    ),
    // The group.
    ours("group.id", "consumer.group_id", NAMED),
    ours("group.protocol", "consumer.protocol", GROUPED),
    ours("partition.assignment.strategy", "consumer.protocol", GROUPED),
    fixed("group.protocol.type", GROUPED),
    fixed(
        "group.instance.id",
        "each worker is a member of its own, and two members of one name fence each other",
    ),
    ours("session.timeout.ms", "consumer.session_timeout_ms", NAMED),
    ours("heartbeat.interval.ms", "consumer.heartbeat_interval_ms", NAMED),
    ours("max.poll.interval.ms", "consumer.max_poll_interval_ms", NAMED),
    // Offsets.
    fixed("enable.auto.commit", COMMIT),
    fixed("auto.commit.enable", COMMIT),
    fixed("auto.commit.interval.ms", COMMIT),
    fixed("enable.auto.offset.store", COMMIT),
    ours(
        "auto.offset.reset",
        "consumer.start_from",
        "librdkafka forgets committed offsets while a dead member's transaction is open, so the \
         reset is ours",
    ),
    fixed("isolation.level", "events of aborted transactions are no events"),
    fixed("enable.partition.eof", "it tells where a topic ends"),
    fixed(
        "fetch.queue.backoff.ms",
        "the time a batch may wait depends on it: at librdkafka's 1000 a fetch pauses for a second",
    ),
    fixed("statistics.interval.ms", "a consumer that tells nothing any more is taken for dead"),
    // Delivery.
    ours("transactional.id", "delivery.instance_id", "each worker needs one of its own"),
    ours("transaction.timeout.ms", "delivery.transaction_timeout_ms", NAMED),
    ours("message.timeout.ms", "delivery.transaction_timeout_ms", TIMELY),
    ours("delivery.timeout.ms", "delivery.transaction_timeout_ms", TIMELY),
    fixed("enable.idempotence", DURABLE),
    fixed("acks", DURABLE),
    fixed("request.required.acks", DURABLE),
    ours("linger.ms", "delivery.linger_ms", NAMED),
    ours("queue.buffering.max.ms", "delivery.linger_ms", NAMED),
    ours("compression.type", "delivery.compression", NAMED),
    ours("compression.codec", "delivery.compression", NAMED),
    fixed("partitioner", PLACED),
    fixed("message.max.bytes", "it follows the limit of the topics that are written to"),
    fixed("delivery.report.only.error", "each prediction's delivery is counted"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_property_of_ours_is_listed_once_and_the_key_it_names_exists() {
        let known = super::super::known_keys();
        for (index, Owned { key, ours, .. }) in OWNED.iter().enumerate() {
            assert!(OWNED[..index].iter().all(|other| other.key != *key), "{key} is listed twice");
            assert!(ours.is_none_or(|ours| known.iter().any(|key| key.path() == ours)), "{key}");
        }
    }

    #[test]
    fn what_opens_a_door_is_a_secret() {
        for key in ["sasl.password", "ssl.key.PEM", "sasl.oauthbearer.client.secret"] {
            assert!(is_secret(key), "{key}");
        }
        assert!(!is_secret("sasl.username"));
    }
}
