//! Labelled events: those of files, or those of the topics, joined with their labels by id.

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::example::{self, Example};
use super::settings::{Data, Settings, Topics};
use crate::bus::range::Edge;
use crate::bus::tail::Tail;
use crate::cli::failure::Failure;
use crate::cli::{configuration, reading};
use crate::quality::label::id;

/// What was read, and what of it is of no use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub events: u64,
    /// Not a JSON object, or without an id.
    pub unreadable: u64,
    /// Not within `from` and `to`, or of no known time although one of these is given.
    pub out_of_window: u64,
    pub without_label: u64,
    pub labels: u64,
}

/// Labels by id; the last one of an id counts: labels are corrected.
type Labels = HashMap<String, Value>;

/// The examples, in the order in which their events stand there.
///
/// # Errors
/// A file or a topic cannot be read, or a line of labels is none.
pub fn load(settings: &Settings) -> Result<(Vec<Example>, Counts), Failure> {
    let mut load = Load {
        data: &settings.data,
        labels: None,
        examples: Vec::new(),
        counts: Counts::default(),
    };
    match &settings.data.kafka {
        Some(topics) => load.topics(topics)?,
        None => load.files()?,
    }
    Ok((load.examples, load.counts))
}

struct Load<'a> {
    data: &'a Data,
    /// `None`: each event has its own.
    labels: Option<Labels>,
    examples: Vec<Example>,
    counts: Counts,
}

impl Load<'_> {
    fn files(&mut self) -> Result<(), Failure> {
        if !self.data.labels.is_empty() {
            let mut labels = Labels::new();
            for path in &self.data.labels {
                objects(path, |_, label| {
                    let label = label.ok_or("a label is a JSON object")?;
                    note(&mut labels, &label, &mut self.counts)
                })?;
            }
            self.labels = Some(labels);
        }
        for path in &self.data.events {
            objects(path, |text, event| {
                self.event(text, event, None);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Labels come after their events: they are read from the window's beginning to the topic's end.
    fn topics(&mut self, topics: &Topics) -> Result<(), Failure> {
        let config = configuration(&topics.config)?;
        let edge = |time: Option<Timestamp>, otherwise| {
            time.map_or(otherwise, |time| Edge::Time(time.as_millisecond()))
        };
        let from = edge(self.data.from, Edge::Beginning);
        let mut labels = Labels::new();
        let mut tail = Tail::open_range(&config.kafka, &topics.labels, &from, &Edge::End)?;
        reading::to_end(&mut tail, &topics.labels, &config.kafka, "labels", |record, _| {
            let Some(value) = record.value else { return Ok(()) };
            let place = || format!("`{}` {}:{}", topics.labels, record.partition, record.offset);
            let label = serde_json::from_slice(value).map_err(|error| error.to_string());
            label
                .and_then(|label| note(&mut labels, &label, &mut self.counts))
                .map_err(|why| Failure::data(format!("{}: {why}", place())))
        })?;
        self.labels = Some(labels);
        // The record's time selects what is read, the event's own time what counts.
        let to = edge(self.data.to.filter(|_| self.data.time.is_none()), Edge::End);
        let events = &config.topics.events;
        let mut tail = Tail::open_range(&config.kafka, events, &from, &to)?;
        reading::to_end(&mut tail, events, &config.kafka, "events", |record, _| {
            if let Some(text) = record.value.and_then(|value| std::str::from_utf8(value).ok()) {
                self.event(text, serde_json::from_str(text).ok(), record.timestamp_ms);
            } else if record.value.is_some() {
                self.counts.events += 1;
                self.counts.unreadable += 1;
            }
            Ok(())
        })
    }

    fn event(&mut self, text: &str, event: Option<Value>, record_ms: Option<i64>) {
        self.counts.events += 1;
        let read = event.and_then(|event| {
            let id = id(event.pointer(&self.data.id)?)?;
            Some((id, event, RawValue::from_string(text.to_owned()).ok()?))
        });
        let Some((id, event, raw)) = read else {
            self.counts.unreadable += 1;
            return;
        };
        let time_ms = match &self.data.time {
            Some(pointer) => event.pointer(pointer).and_then(time_ms),
            None => record_ms,
        };
        if !self.is_in_window(time_ms) {
            self.counts.out_of_window += 1;
            return;
        }
        let label = match &self.labels {
            Some(labels) => labels.get(&id).cloned(),
            None => self.data.label.as_ref().and_then(|label| event.pointer(label)).cloned(),
        };
        match label.filter(|label| !label.is_null()) {
            Some(label) => self.examples.push(Example { id, time_ms, label, event: raw }),
            None => self.counts.without_label += 1,
        }
    }

    fn is_in_window(&self, time_ms: Option<i64>) -> bool {
        let Data { from, to, .. } = self.data;
        let Some(time) = time_ms else { return from.is_none() && to.is_none() };
        from.is_none_or(|from| time >= from.as_millisecond())
            && to.is_none_or(|to| time < to.as_millisecond())
    }
}

/// Takes in `{"id": …, "label": …}`; a label that is null is taken back.
fn note(labels: &mut Labels, label: &Value, counts: &mut Counts) -> Result<(), String> {
    let id = label.get("id").and_then(id).ok_or("a label needs an `id`, a text or a number")?;
    let value = label.get("label").ok_or("there is no `label`")?;
    counts.labels += 1;
    labels.insert(id, value.clone());
    Ok(())
}

fn time_ms(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse::<Timestamp>().ok().map(|time| time.as_millisecond()),
        number => number.as_i64(),
    }
}

/// Each line of a file as JSON, with its text; of a CSV file each row as an object by the header's names.
fn objects(
    path: &Path,
    mut take: impl FnMut(&str, Option<Value>) -> Result<(), String>,
) -> Result<(), Failure> {
    let name = path.display().to_string();
    if !name.trim_end_matches(".zst").ends_with(".csv") {
        return example::each_line(path, |_, line| take(line, serde_json::from_str(line).ok()));
    }
    let fault = |error: csv::Error| Failure::data(format!("`{name}`: {error}"));
    let mut rows = csv::Reader::from_reader(example::lines(path)?);
    let header = rows.headers().map_err(fault)?.clone();
    for row in rows.records() {
        let row = row.map_err(fault)?;
        let fields = header.iter().zip(&row).map(|(name, text)| (name.to_owned(), cell(text)));
        let event = Value::Object(fields.collect::<Map<_, _>>());
        take(&event.to_string(), Some(event))
            .map_err(|why| Failure::data(format!("`{name}`: {why}")))?;
    }
    Ok(())
}

/// What JSON has for a cell: a number, `true`, `false`, nothing, or text.
fn cell(text: &str) -> Value {
    match text.trim() {
        "" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        // JSON's numbers and no others: `007`, `inf` and `0x1F` are texts.
        trimmed => match serde_json::from_str::<serde_json::Number>(trimmed) {
            Ok(number) => Value::Number(number),
            Err(_) => text.into(),
        },
    }
}
