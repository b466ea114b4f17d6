//! Rules between keys: what each of several values, right by itself, must not be together.

use tracing_subscriber::EnvFilter;

use super::fault::Place;
use super::known::nearest;
use super::layers::Layers;
use super::properties::owned;
use super::sections::Protocol;
use super::{Config, sections};

/// Records what breaks a rule.
pub(super) fn check(config: &Config, layers: &mut Layers) {
    let mut rules = Rules { layers };
    rules.bounds(config);
    rules.topics(&config.topics, config.evaluate.labels.as_ref());
    rules.protocol(&config.consumer);
    rules.properties(&config.kafka);
    rules.http(&config.http);
    rules.log(&config.log);
}

struct Rules<'a> {
    layers: &'a mut Layers,
}

impl Rules<'_> {
    fn bounds(&mut self, config: &Config) {
        let Config { batch, consumer, delivery, evaluate, .. } = config;
        let rows_max = ("batch.rows_max", batch.rows_max as u64);
        let bytes_max = ("batch.bytes_max", batch.bytes_max as u64);
        let session = ("consumer.session_timeout_ms", consumer.session_timeout_ms);
        let poll = ("consumer.max_poll_interval_ms", consumer.max_poll_interval_ms);
        let transaction = ("delivery.transaction_timeout_ms", delivery.transaction_timeout_ms);

        self.at_most(
            ("batch.tile_rows", batch.tile_rows as u64),
            1,
            rows_max,
            "a batch is made of tiles",
        );
        self.at_most(
            ("batch.event_bytes_max", batch.event_bytes_max as u64),
            1,
            bytes_max,
            "the longest event must fit into a batch",
        );
        self.at_most(
            ("batch.age_max_ms", batch.age_max_ms),
            10,
            transaction,
            "a batch must be collected, scored and sent long before its transaction times out",
        );
        self.at_most(
            transaction,
            1,
            poll,
            "a worker asks for no events while its transaction is open",
        );
        self.at_most(
            ("evaluate.rows_min", evaluate.rows_min),
            1,
            ("evaluate.window_rows", evaluate.window_rows as u64),
            "no more labelled events than that are held",
        );
        if consumer.protocol == Protocol::Classic {
            self.at_most(
                ("consumer.heartbeat_interval_ms", consumer.heartbeat_interval_ms),
                3,
                session,
                "one lost heartbeat must not end the session",
            );
            self.at_most(session, 1, poll, "librdkafka asks for it");
        }
    }

    /// The value of one key must not exceed a `part`th of another's.
    fn at_most(
        &mut self,
        (key, value): (&'static str, u64),
        part: u64,
        (limit_key, limit): (&'static str, u64),
        why: &str,
    ) {
        if value <= limit / part {
            return;
        }
        let default = if self.layers.entries.contains_key(key) { "" } else { "the default of " };
        let share = if part == 1 { String::new() } else { format!("1/{part} of ") };
        let message =
            format!("{default}{value} is more than {share}`{limit_key}`, which is {limit}: {why}");
        self.broken(&[key, limit_key], message, format!("lower `{key}` or raise `{limit_key}`"));
    }

    fn topics(&mut self, topics: &sections::Topics, labels: Option<&String>) {
        let named = [
            ("topics.events", &topics.events),
            ("topics.predictions", &topics.predictions),
            ("topics.dead_letters", &topics.dead_letters),
            ("topics.control", &topics.control),
            ("topics.reports", &topics.reports),
        ];
        let shadow = topics.shadow.as_ref().map(|topic| ("topics.shadow", topic));
        let labels = labels.map(|topic| ("evaluate.labels", topic));
        let named: Vec<_> = named.into_iter().chain(shadow).chain(labels).collect();
        for (index, (key, topic)) in named.iter().enumerate() {
            if !is_topic_name(topic) {
                let hint = "letters, digits, `.`, `_` and `-`, at most 249 of them".into();
                self.broken(&[key], format!("{topic:?} is no topic name"), hint);
            }
            if let Some((other, _)) = named[..index].iter().find(|(_, other)| other == topic) {
                let message = format!("{topic:?} is the topic of `{other}` too");
                self.broken(&[key, other], message, "each needs a topic of its own".into());
            }
        }
    }

    /// Under KIP-848 a client that sends these is refused: better not to believe they count.
    fn protocol(&mut self, consumer: &sections::Consumer) {
        if consumer.protocol == Protocol::Classic {
            return;
        }
        for (key, theirs) in [
            ("consumer.session_timeout_ms", "group.consumer.session.timeout.ms"),
            ("consumer.heartbeat_interval_ms", "group.consumer.heartbeat.interval.ms"),
        ] {
            if self.layers.entries.contains_key(key) {
                let message = "the broker decides it when `consumer.protocol` is `consumer`".into();
                self.broken(
                    &[key],
                    message,
                    format!("remove it, and set `{theirs}` on the brokers"),
                );
            }
        }
    }

    fn properties(&mut self, kafka: &sections::Kafka) {
        for owned in kafka.properties.iter().filter_map(|(key, _)| owned(key)) {
            let hint = match owned.ours {
                Some(ours) => format!("set `{ours}` instead"),
                None => "remove it".into(),
            };
            let path = format!("kafka.properties.{}", owned.key);
            self.broken(&[&path], format!("foretell sets it itself: {}", owned.reason), hint);
        }
    }

    fn http(&mut self, http: &sections::Http) {
        if http.token.is_some() && http.allow_anonymous {
            let message = "nobody needs it when `http.allow_anonymous` is true".into();
            let keys = ["http.token", "http.allow_anonymous"];
            self.broken(&keys, message, "remove one of the two".into());
        }
    }

    fn log(&mut self, log: &sections::Log) {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        const SHAPE: &str = "write a level, then exceptions: `info,foretell::bus=debug`";
        // The filter would take a misspelt level for the name of a module, and log nothing.
        let directives = log.level.split(',').map(str::trim);
        let mut levels = directives.filter(|directive| !directive.contains(['=', '[']));
        if let Some(word) = levels.find(|word| !LEVELS.contains(word)) {
            let hint = nearest(word, LEVELS.into_iter());
            let hint = hint.map_or(SHAPE.into(), |level| format!("did you mean `{level}`?"));
            return self.broken(&["log.level"], format!("{word:?} is no level"), hint);
        }
        if let Err(error) = EnvFilter::builder().parse(&log.level) {
            self.broken(&["log.level"], error.to_string(), SHAPE.into());
        }
    }

    /// Records a fault of the first of `keys` that somebody has set, unless the value of one of
    /// them is not what was meant: it is known to be wrong already, or could not be read.
    fn broken(&mut self, keys: &[&str], message: String, hint: String) {
        let Layers { entries, faults, home } = &*self.layers;
        let is_faulty = faults.iter().any(|fault| keys.contains(&fault.key.as_str()));
        let is_lost = home.is_none() && !keys.iter().all(|key| entries.contains_key(*key));
        if is_faulty || is_lost {
            return;
        }
        let place = keys.iter().find_map(|key| entries.get(*key)).map(|entry| entry.place.clone());
        self.layers.fault(place.unwrap_or(Place::Nowhere), keys[0], message, Some(hint));
    }
}

/// Kafka's own rule.
fn is_topic_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
