//! The sections of the file: what each key is, its unit, its default.
//!
//! Doc comments, defaults, ranges and choices written here are the only list there is: the JSON
//! schema derived from them tells the loader which keys exist and what they may hold. `Serialize`
//! is derived because that schema carries the defaults.

mod drift;
mod evaluate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::properties::Properties;
use super::values::{Listen, Pointer, RatioMax, Token, TrustedKey};
pub use drift::Drift;
pub use evaluate::{Evaluate, Then};

/// How the brokers are reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Kafka {
    /// Brokers to ask first, as `host:port`, separated by commas. Required.
    #[schemars(length(min = 1))]
    pub bootstrap_servers: String,
    /// How long a start waits for the brokers, in milliseconds.
    #[schemars(range(min = 100, max = 600_000))]
    pub connect_timeout_ms: u64,
    /// Any property of librdkafka that foretell does not set itself; both clients get it.
    pub properties: Properties,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            bootstrap_servers: String::new(),
            connect_timeout_ms: 10_000,
            properties: Properties::default(),
        }
    }
}

/// The names of the topics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Topics {
    /// Events are read from here.
    pub events: String,
    /// Predictions are written here.
    pub predictions: String,
    /// Events that cannot be scored are written here, each with its reason.
    pub dead_letters: String,
    /// What a version with `rollout` `shadow` would have said is written here. By default nowhere:
    /// it is only compared.
    #[schemars(length(min = 1))]
    pub shadow: Option<String>,
    /// New model versions are announced here: one partition, kept forever.
    pub control: String,
    /// Instances tell here what they serve: compacted, keyed by instance.
    pub reports: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            events: "events".into(),
            predictions: "predictions".into(),
            dead_letters: "dead-letters".into(),
            shadow: None,
            control: "control".into(),
            reports: "reports".into(),
        }
    }
}

/// The consumer group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Consumer {
    /// Instances with the same group share the partitions of the events topic.
    #[schemars(length(min = 1))]
    pub group_id: String,
    /// The group protocol.
    pub protocol: Protocol,
    /// Where a group without committed offsets begins.
    pub start_from: StartFrom,
    /// What happens when retention has deleted events that the group had not read.
    pub out_of_range: OutOfRange,
    /// A worker silent for so long, in milliseconds, has left the group. `classic` only.
    #[schemars(range(min = 1_000, max = 3_600_000))]
    pub session_timeout_ms: u64,
    /// How often a worker says that it is alive, in milliseconds. `classic` only.
    #[schemars(range(min = 100, max = 3_600_000))]
    pub heartbeat_interval_ms: u64,
    /// A worker that asks for no events for so long, in milliseconds, has left the group.
    #[schemars(range(min = 1_000, max = 86_400_000))]
    pub max_poll_interval_ms: u64,
    /// How often topics are looked at for new partitions, in milliseconds.
    #[schemars(range(min = 1_000, max = 3_600_000))]
    pub metadata_refresh_ms: u64,
}

impl Default for Consumer {
    fn default() -> Self {
        Self {
            group_id: "foretell".into(),
            protocol: Protocol::Classic,
            start_from: StartFrom::Earliest,
            out_of_range: OutOfRange::Stop,
            session_timeout_ms: 10_000,
            heartbeat_interval_ms: 3_000,
            max_poll_interval_ms: 300_000,
            metadata_refresh_ms: 10_000,
        }
    }
}

/// Who assigns partitions to the members of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The members, cooperatively: recovers fast on a broker as it comes, and before Kafka 4.
    Classic,
    /// The broker (KIP-848): better where the broker's group settings are tuned.
    Consumer,
}

/// Where a group without committed offsets begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StartFrom {
    /// At the oldest event that is kept.
    Earliest,
    /// At the next event that is published.
    Latest,
}

/// What happens when retention has deleted events that the group had not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutOfRange {
    /// The process ends and says how many events are lost.
    Stop,
    /// It goes on at the oldest event that is kept, and counts the lost ones.
    Earliest,
}

/// How predictions reach their topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Delivery {
    /// What a crash may do to the predictions.
    pub guarantee: Guarantee,
    /// A name that this instance keeps over restarts and shares with no other. By default a
    /// random one a process.
    #[schemars(length(min = 1))]
    pub instance_id: Option<String>,
    /// The broker aborts a transaction that is open for so long, in milliseconds.
    #[schemars(range(min = 1_000, max = 900_000))]
    pub transaction_timeout_ms: u64,
    /// How long a prediction may wait for others to be sent with, in milliseconds.
    #[schemars(range(min = 0, max = 1_000))]
    pub linger_ms: u64,
    /// How predictions are compressed.
    pub compression: Compression,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            guarantee: Guarantee::ExactlyOnce,
            instance_id: None,
            transaction_timeout_ms: 5_000,
            linger_ms: 5,
            compression: Compression::Lz4,
        }
    }
}

/// What a crash may do to the predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Nothing: a batch's predictions and its offsets are one transaction.
    ExactlyOnce,
    /// It may send some of them twice.
    AtLeastOnce,
}

/// How predictions are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// How large a batch grows, and what an event may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Batch {
    /// A batch closes at so many events.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rows_max: usize,
    /// A batch closes when its events reach this size, in bytes.
    #[schemars(range(min = 1_024, max = 1_073_741_824))]
    pub bytes_max: usize,
    /// A batch closes when its first event has waited for so long, in milliseconds; where there is
    /// no more to take, half as long after the batch before was settled.
    #[schemars(range(min = 1, max = 60_000))]
    pub age_max_ms: u64,
    /// So many events are decoded, scored and sent at a time.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub tile_rows: usize,
    /// A longer event is a dead letter, in bytes.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub event_bytes_max: usize,
    /// An event whose objects and arrays nest deeper is a dead letter.
    // 127 is as deep as serde_json itself will go.
    #[schemars(range(min = 1, max = 127))]
    pub json_depth_max: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            rows_max: 32_768,
            bytes_max: 16_777_216,
            age_max_ms: 25,
            tile_rows: 1_024,
            event_bytes_max: 1_048_576,
            json_depth_max: 64,
        }
    }
}

/// The model that is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Model {
    /// Announcements of the control topic that name this model are followed. Required.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Folder of the bundle that serves until a version is announced. By default none does.
    #[schemars(length(min = 1))]
    pub bundle: Option<PathBuf>,
    /// Announced bundles are read from these places and what is below them: folders and URIs. By
    /// default the folder that the configured bundle's folder stands in; without either, none is.
    pub allowed_uris: Vec<String>,
    /// minisign's public keys. If there are any, a bundle that none of them signed is refused.
    pub trusted_keys: Vec<TrustedKey>,
    /// A larger bundle is refused, in bytes.
    #[schemars(range(min = 1))]
    pub bytes_max: u64,
    /// Versions that served before stay in memory, so that going back takes no fetch, as long as all
    /// model files together are not longer, in bytes. What serves or waits is kept in any case.
    #[schemars(range(min = 0))]
    pub kept_bytes_max: u64,
    /// Folder where fetched bundles are kept, so that a restart needs no network. By default
    /// `foretell/bundles` in the user's cache.
    #[schemars(length(min = 1))]
    pub cache_dir: Option<PathBuf>,
    /// How long fetching a bundle may take in all, in milliseconds.
    #[schemars(range(min = 100, max = 600_000))]
    pub fetch_timeout_ms: u64,
    /// A fetch from a server begins at random within so long, in milliseconds: all instances hear of
    /// a bundle at once.
    #[schemars(range(min = 0, max = 600_000))]
    pub fetch_jitter_ms: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            name: String::new(),
            bundle: None,
            allowed_uris: Vec::new(),
            trusted_keys: Vec::new(),
            bytes_max: 268_435_456,
            kept_bytes_max: 536_870_912,
            cache_dir: None,
            fetch_timeout_ms: 120_000,
            fetch_jitter_ms: 2_000,
        }
    }
}

/// What a version has to show on this instance's own recent events before it serves or waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Gate {
    /// So many recent events are kept for it. 0: none; this part of the gate is left out,
    /// and probation sees nothing but results that are no numbers.
    #[schemars(range(min = 0, max = 100_000))]
    pub replay_rows: usize,
    /// At most this share of the events that the served version scores may be refused, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub lost_max: f64,
    /// At most this share of them may get another class, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub flips_max: f64,
    /// An event may cost at most so many times what it costs the served version.
    #[schemars(range(min = 0))]
    pub cost_ratio_max: f64,
}

impl Default for Gate {
    fn default() -> Self {
        Self { replay_rows: 1_000, lost_max: 0.01, flips_max: 0.5, cost_ratio_max: 20.0 }
    }
}

/// When an instance asks by itself to go back from a version that has just begun to serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Probation {
    /// How long a version is watched after it began to serve, in milliseconds. 0: not at all.
    #[schemars(range(min = 0, max = 86_400_000))]
    pub duration_ms: u64,
    /// Nothing is decided on fewer events, but where a worker holds them back (`dead_letters`).
    #[schemars(range(min = 1))]
    pub rows_min: u64,
    /// At most this share of the events that the version before scores may be refused, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub rejects_max: f64,
    /// At most this share of results may be no numbers, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub non_finite_max: f64,
    /// An event may cost at most so many times what it cost the version before.
    #[schemars(range(min = 0))]
    pub cost_ratio_max: f64,
}

impl Default for Probation {
    fn default() -> Self {
        Self {
            duration_ms: 600_000,
            rows_min: 1_000,
            rejects_max: 0.05,
            non_finite_max: 0.01,
            cost_ratio_max: 20.0,
        }
    }
}

/// When a worker stops before it writes dead letters, because it is the stream or the version that is broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeadLetters {
    /// A worker stops when more than this share of its last events would become dead letters, 0 to 1.
    /// `off`: never.
    pub ratio_max: RatioMax,
    /// So many events are the last ones. Before a worker has seen as many it does not stop.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub window_rows: usize,
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self { ratio_max: RatioMax::Share(0.5), window_rows: 1_000 }
    }
}

/// What a prediction carries over from its event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Output {
    /// JSON pointer to the event's id. By default the id is topic-partition-offset.
    pub id: Option<Pointer>,
    /// Fields of the event to copy into the prediction: name and JSON pointer.
    pub carry: BTreeMap<String, Pointer>,
    /// Headers of the event that are copied to the prediction.
    pub forward_headers: Vec<String>,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            id: None,
            carry: BTreeMap::new(),
            forward_headers: vec!["traceparent".into(), "tracestate".into()],
        }
    }
}

/// The process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Run {
    /// Worker threads, each a member of the group. 0: one for each available core.
    #[schemars(range(min = 0, max = 1_024))]
    pub workers: usize,
    /// How long a stop waits for batches in hand, in milliseconds.
    #[schemars(range(min = 0, max = 3_600_000))]
    pub drain_timeout_ms: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self { workers: 0, drain_timeout_ms: 20_000 }
    }
}

/// Health, metrics and scoring by request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Http {
    /// Address and port to listen on, or `off`.
    pub listen: Listen,
    /// What a request that scores or changes something has to bear, as `Authorization: Bearer …`; 16 visible
    /// characters or more. By default there is none, and such requests are refused.
    pub token: Option<Token>,
    /// Requests that score or change something need no token.
    pub allow_anonymous: bool,
    /// A request to be scored may have a body so long, in bytes, and `batch.tile_rows` events.
    #[schemars(range(min = 1_024, max = 67_108_864))]
    pub body_bytes_max: usize,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            token: None,
            allow_anonymous: false,
            body_bytes_max: 2_097_152,
        }
    }
}

/// The instance's reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Reports {
    /// A report is sent at every change, and at least so often, in milliseconds.
    #[schemars(range(min = 100, max = 3_600_000))]
    pub interval_ms: u64,
}

impl Default for Reports {
    fn default() -> Self {
        Self { interval_ms: 5_000 }
    }
}

/// What is said on stderr.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Log {
    /// A level, then exceptions for parts of the program: `info,foretell::bus=debug`.
    #[schemars(length(min = 1))]
    pub level: String,
    /// For people or for programs.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Pretty }
    }
}

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    Pretty,
    /// One JSON object a line.
    Json,
}
