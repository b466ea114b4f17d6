//! File, environment and command line, laid over each other: one value for each key, with the
//! place it came from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::Sources;
use super::fault::{Fault, Place};
use super::known::{KNOWN, Key, Refusal, nearest};

/// Variables of this prefix are ours; one that sets no key is a fault.
const PREFIX: &str = "FORETELL_";
/// Variables of this prefix set librdkafka properties: `_` stands for `.`.
const PROPERTY_PREFIX: &str = "FORETELL_KAFKA_PROPERTIES_";

/// A value and where it was given.
pub(super) struct Entry {
    pub value: Value,
    pub place: Place,
}

/// What all sources say together, and what is wrong with it so far.
pub(super) struct Layers {
    /// By key; an entry of a table with free names has a key of its own.
    pub entries: BTreeMap<String, Entry>,
    pub faults: Vec<Fault>,
    /// Where a key that is nowhere would belong; `None` if it may be in what could not be read.
    pub home: Option<Place>,
}

impl Layers {
    /// Reads all sources; later ones overrule earlier ones.
    pub fn read(sources: &Sources) -> Self {
        let mut layers =
            Self { entries: BTreeMap::new(), faults: Vec::new(), home: Some(Place::Nowhere) };
        if let Some(path) = &sources.file {
            layers.read_file(path);
        }
        for (name, value) in &sources.environment {
            layers.read_variable(name, value, &sources.environment);
        }
        for assignment in &sources.set {
            layers.read_set(assignment);
        }
        layers
    }

    fn read_file(&mut self, path: &Path) {
        self.home = Some(Place::file(path));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.home = None;
                let hint = Some("`--config FILE` names another file".into());
                return self.fault(Place::file(path), "", format!("cannot be read: {error}"), hint);
            }
        };
        // The parser goes on after an error, so that all of them are told at once.
        let (table, errors) = DeTable::parse_recoverable(&text);
        let mut guessed = Vec::new();
        for error in errors {
            self.home = None;
            let start = error.span().map_or(text.len(), |span| span.start);
            guessed.push(damage(&text, start));
            self.fault(Place::column(path, &text, start), "", error.message().into(), None);
        }
        let place = |offset: usize| {
            let sound = !guessed.iter().any(|range| range.contains(&offset));
            sound.then(|| Place::line(path, &text, offset))
        };
        self.read_table(table.into_inner(), "", &place);
    }

    /// Takes what a table of the file says. `place` knows no place for what the parser guessed.
    fn read_table(
        &mut self,
        table: DeTable<'_>,
        parent: &str,
        place: &dyn Fn(usize) -> Option<Place>,
    ) {
        for (name, value) in table {
            let path = join(parent, name.get_ref());
            let start = name.span().start;
            match (value.get_ref(), place(start)) {
                (DeValue::Table(inner), _) if KNOWN.holds_keys(&path) => {
                    self.read_table(inner.clone(), &path, place);
                }
                (_, None) => {}
                (_, Some(place)) => match Value::deserialize(ValueDeserializer::from(value)) {
                    Ok(value) => self.put(&path, value, place),
                    // The one value that TOML parses and cannot hold; it may be a secret.
                    Err(_) => self.fault(place, &path, "the number is too large".into(), None),
                },
            }
        }
    }

    fn read_variable(&mut self, name: &str, value: &str, all: &[(String, String)]) {
        if !name.starts_with(PREFIX) || is_not_for_us(name) {
            return;
        }
        let place = Place::Environment(name.into());
        if let Some(path) = key_of(name) {
            return self.put_text(&path, value, place);
        }
        let Some((plain, path)) =
            name.strip_suffix("_FILE").and_then(|plain| Some((plain, key_of(plain)?)))
        else {
            return self.unknown_variable(name, value, place);
        };
        if all.iter().any(|(other, _)| other == plain) {
            let message = format!("given twice: by {plain} too");
            return self.fault(place, &path, message, Some("unset one of the two".into()));
        }
        match std::fs::read_to_string(value) {
            Ok(text) => self.put_secret(&path, text, place),
            // Its name is not shown: it may be the secret itself, put into the wrong variable.
            Err(error) => {
                let hint = Some("`…_FILE` takes the path of a file that holds the value".into());
                self.fault(place, &path, format!("the file cannot be read: {error}"), hint);
            }
        }
    }

    fn unknown_variable(&mut self, name: &str, value: &str, place: Place) {
        if is_service_link(name, value) {
            return;
        }
        let variables: Vec<_> = KNOWN.keys().iter().map(Key::variable).collect();
        let hint = match nearest(name, variables.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean {meant}?"),
            None if name.starts_with("FORETELL_KAFKA_") => {
                format!(
                    "librdkafka's properties are {PROPERTY_PREFIX}…, such as {PROPERTY_PREFIX}SASL_USERNAME"
                )
            }
            None => {
                "a key's variable is FORETELL_SECTION_KEY, such as FORETELL_KAFKA_BOOTSTRAP_SERVERS"
                    .into()
            }
        };
        self.fault(place, "", "sets no key".into(), Some(hint));
    }

    fn read_set(&mut self, assignment: &str) {
        if let Some((path, value)) = assignment.split_once('=') {
            let path = path.trim();
            return self.put_text(path, value.trim(), Place::Set(path.into()));
        }
        // Only what can be a key is shown: the rest may be a secret.
        let key = assignment.split(|c: char| !(c.is_alphanumeric() || "._-".contains(c))).next();
        let place = Place::Set(key.unwrap_or_default().into());
        let hint = Some("write `--set key=value`, such as `--set batch.rows_max=4096`".into());
        self.fault(place, "", "has no `=`".into(), hint);
    }

    /// Takes a value that was typed as text. For a key that holds text it is that text, quoted
    /// or not; else it is TOML.
    fn put_text(&mut self, path: &str, text: &str, place: Place) {
        let takes_text = KNOWN.find(path).is_some_and(Key::takes_text);
        let value = match parse(text) {
            Some(value) if !takes_text || value.is_str() => value,
            _ => Value::String(text.into()),
        };
        self.put(path, value, place);
    }

    /// Takes the content of a mounted file, without the line end that editors leave. Quotes are
    /// part of a secret.
    fn put_secret(&mut self, path: &str, mut text: String, place: Place) {
        if text.ends_with('\n') {
            text.pop();
        }
        if text.ends_with('\r') {
            text.pop();
        }
        match KNOWN.find(path) {
            Some(key) if key.takes_text() => self.put(path, Value::String(text), place),
            _ => self.put_text(path, &text, place),
        }
    }

    /// Takes a value for the key at `path`, or records why not.
    fn put(&mut self, path: &str, value: Value, place: Place) {
        match value {
            Value::Table(table) if KNOWN.holds_keys(path) => {
                for (name, value) in table {
                    self.put(&join(path, &name), value, place.clone());
                }
            }
            value => match check(path, &value) {
                Ok(()) => drop(self.entries.insert(path.into(), Entry { value, place })),
                Err(Refusal { message, hint }) => self.fault(place, path, message, hint),
            },
        }
    }

    pub fn fault(&mut self, place: Place, key: &str, message: String, hint: Option<String>) {
        self.faults.push(Fault { place, key: key.into(), message, hint });
    }
}

/// The key that the variable sets, if any.
fn key_of(variable: &str) -> Option<String> {
    if let Some(key) = KNOWN.keys().iter().find(|key| key.variable() == variable) {
        return Some(key.path().into());
    }
    // `…_SASL_PASSWORD_FILE` must not become a property `sasl.password.file`.
    let property = variable.strip_prefix(PROPERTY_PREFIX)?;
    (!property.is_empty() && !property.ends_with("_FILE"))
        .then(|| format!("kafka.properties.{}", property.to_lowercase().replace('_', ".")))
}

/// Fails where there is no such key, or it cannot hold the value.
fn check(path: &str, value: &Value) -> Result<(), Refusal> {
    if let Some(key) = KNOWN.find(path) {
        return key.check(value);
    }
    let (message, hint) = if KNOWN.is_section(path) {
        ("is a section, not a key".into(), format!("write `[{path}]`, then its keys"))
    } else {
        ("there is no such key".into(), KNOWN.hint(path))
    };
    Err(Refusal { message, hint: Some(hint) })
}

/// The bytes that the parser may have misread when it met an error at `offset`: the line, and if
/// that is a table's header, the table.
fn damage(text: &str, offset: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let start = bytes[..offset].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let is_header = bytes[start..].starts_with(b"[");
    let ends = |index: &usize| {
        bytes[*index] == b'\n' && (!is_header || bytes[index + 1..].starts_with(b"["))
    };
    start..(offset..bytes.len()).find(ends).unwrap_or(bytes.len())
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.into() } else { format!("{parent}.{name}") }
}

fn parse(text: &str) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    Value::deserialize(ValueDeserializer::from(value)).ok()
}

/// Variables that others read: the command line (`--config`), the tests, the cache.
fn is_not_for_us(name: &str) -> bool {
    matches!(name, "FORETELL_CONFIG" | "FORETELL_CACHE") || name.starts_with("FORETELL_TEST_")
}

/// Is it one of those that Kubernetes gives every pod for a service named `foretell…`? Such as
/// `FORETELL_SERVICE_HOST`, `FORETELL_PORT=tcp://…` and `FORETELL_PORT_8080_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let numbered = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && value.contains("://")
        || name.split("_PORT_").skip(1).any(numbered)
}
