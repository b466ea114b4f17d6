//! The configuration: defaults, overruled by one TOML file, by the environment, by `--set`.
//!
//! `Config` only composes the sections. What a section's keys are, their units, defaults and
//! ranges stand in its struct and nowhere else; the JSON schema of `Config` carries them to the
//! loader ([`known_keys`]). A load passes over its sources four times, and each pass adds to one
//! list of faults, so that a person sees all of them at once:
//!
//! 1. `layers` reads file, environment and `--set` into one value and place for each key, and
//!    checks key, type, choice and range against the schema;
//! 2. keys that must be set, but are not;
//! 3. serde builds the structs; a value that its type cannot parse is dropped and told;
//! 4. `rules` compares keys with each other.

mod fault;
mod known;
mod layers;
mod properties;
mod rules;
mod sections;
mod values;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use fault::{ConfigError, Fault, Place};
pub use known::Key;
pub use properties::{Owned, Properties, owned};
pub use sections::{
    Batch, Compression, Consumer, DeadLetters, Delivery, Drift, Evaluate, Gate, Guarantee, Http,
    Kafka, Log, LogFormat, Model, OutOfRange, Output, Probation, Protocol, Reports, Run, StartFrom,
    Then, Topics,
};
pub use values::{Listen, Pointer, RatioMax, Token, TrustedKey};

use known::KNOWN;
use layers::{Entry, Layers};

/// Everything a process is told before it starts. It does not change while the process runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    pub kafka: Kafka,
    pub topics: Topics,
    pub consumer: Consumer,
    pub delivery: Delivery,
    pub batch: Batch,
    pub dead_letters: DeadLetters,
    pub model: Model,
    pub gate: Gate,
    pub probation: Probation,
    pub drift: Drift,
    pub output: Output,
    pub run: Run,
    pub http: Http,
    pub reports: Reports,
    pub evaluate: Evaluate,
    pub log: Log,
}

/// Where a configuration comes from; later fields overrule earlier ones. Not `Debug`: the
/// environment holds secrets.
#[derive(Default)]
pub struct Sources {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables, all of them; those that do not start with `FORETELL_` are ignored.
    pub environment: Vec<(String, String)>,
    /// `key=value`, as in `--set batch.rows_max=4096`.
    pub set: Vec<String>,
}

impl Config {
    /// Reads, composes and checks a configuration.
    ///
    /// # Errors
    /// All faults that can be told from the sources alone, each with its place. Brokers, topics
    /// and the model's files are not looked at.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut layers = Layers::read(sources);
        require(&mut layers);
        let config = build(&mut layers);
        rules::check(&config, &mut layers);
        if layers.faults.is_empty() {
            return Ok(config);
        }
        layers.faults.sort();
        Err(ConfigError { faults: layers.faults })
    }
}

/// Every key there is, sorted by name.
pub fn known_keys() -> &'static [Key] {
    KNOWN.keys()
}

/// Records keys that must be set and are not, unless they may be in what could not be read.
fn require(layers: &mut Layers) {
    let Some(home) = layers.home.clone() else { return };
    for key in known_keys().iter().filter(|key| key.is_required()) {
        let path = key.path();
        let told = layers.faults.iter().any(|fault| fault.key == path);
        if !told && !layers.entries.contains_key(path) {
            let hint = format!("set it in the file, by {} or by `--set {path}=…`", key.variable());
            layers.fault(home.clone(), path, "is required and not set".into(), Some(hint));
        }
    }
}

/// Builds the structs. A value that its type refuses is recorded and left out, then the rest is
/// tried again: each round removes an entry, so there is an end.
fn build(layers: &mut Layers) -> Config {
    loop {
        let error = match serde_path_to_error::deserialize(nest(layers)) {
            Ok(config) => return config,
            Err(error) => error,
        };
        let path = error.path().to_string();
        let array = path.rsplit_once('[').map_or("", |(array, _)| array);
        let key = if layers.entries.contains_key(&path) { &path } else { array };
        let entry = layers.entries.remove(key);
        let Entry { place, .. } =
            entry.expect("only given values can be refused: defaults are typed");
        layers.fault(place, key, error.inner().message().into(), None);
    }
}

/// The entries as the tables that serde expects.
fn nest(layers: &Layers) -> Value {
    let mut root = Table::new();
    for (path, entry) in &layers.entries {
        // A property's name has dots of its own.
        let (mut table, mut names) = (&mut root, path.splitn(3, '.').peekable());
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                table.insert(name.into(), entry.value.clone());
                break;
            }
            let inner = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
            table = inner.as_table_mut().expect("a section or a table with free names");
        }
    }
    Value::Table(root)
}
