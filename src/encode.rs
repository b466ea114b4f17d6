//! What goes out: the prediction's JSON and the dead letter's headers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::batch::Batch;
use crate::config::Output;
use crate::features::decode::Span;
use crate::model::manifest::TaskKind;
use crate::model::version::Version;
use crate::outbox::{Destination, Keeps, Outbox};
use crate::record::{Header, Record};
use crate::reject::{Reason, Reject};
use crate::score::Scores;

/// Bytes that a record takes besides its event's key, value and headers and the reason's message,
/// generously: the frame, and the headers that a dead letter adds.
const RECORD_OVERHEAD: usize = 768;
/// Lengths of a header's name and value.
const HEADER_OVERHEAD: usize = 16;

/// The header of a dead letter that says what a person needs to find the fault.
pub const MESSAGE: &str = "__connect.errors.exception.message";
/// The header that counts how often an event was refused.
pub const ATTEMPT: &str = "foretell.attempt";

/// The value of a record on the predictions topic.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Prediction<'a> {
    /// The event's own id, where the configuration points to one and the event has it (text or
    /// number), else topic-partition-offset. Left out where the event has neither: over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TextOrNumber>")]
    pub id: Option<Id<'a>>,
    /// The class number of a classifier, else the model's value; a list if the model has several
    /// outputs that are no classes.
    #[schemars(with = "NumberOrNumbers")]
    pub prediction: Outcome<'a>,
    /// The name of the class, where the bundle has names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<&'a str>,
    /// Binary: probability of class 1, in 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Multiclass: the probability of each class, by label or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, f64>>")]
    pub probabilities: Option<Probabilities<'a>>,
    /// The model's name.
    pub model: &'a str,
    /// The version that scored this event.
    pub version: &'a str,
    /// Offset of the control message that chose the version; null: the configuration did.
    pub control_offset: Option<i64>,
    /// The event that this answers: always there on a topic, left out over HTTP, where an event stands
    /// nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Input<'a>>,
    /// Fields of the event, as the configuration lists them; absent ones are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub carry: Option<Carry<'a>>,
}

/// Where the event stands.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Input<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
}

/// How `id` may look.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes `id` in the schema")]
enum TextOrNumber {
    Text(String),
    Number(f64),
}

/// As the schema has it.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes `Outcome` in the schema")]
enum NumberOrNumbers {
    Number(f64),
    Numbers(Vec<f64>),
}

/// `id`: the event's own text or number, copied, or the event's place.
#[derive(Debug)]
pub enum Id<'a> {
    Own(&'a RawValue),
    Place(Input<'a>),
}

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Own(raw) => raw.serialize(serializer),
            Self::Place(Input { topic, partition, offset }) => {
                serializer.collect_str(&format_args!("{topic}-{partition}-{offset}"))
            }
        }
    }
}

/// `prediction`: a class number, a value, or a value an output.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome<'a> {
    Class(usize),
    Value(f64),
    Values(&'a [f64]),
}

/// `probabilities`, by label.
#[derive(Debug)]
pub struct Probabilities<'a> {
    labels: &'a [String],
    outputs: &'a [f64],
}

impl Serialize for Probabilities<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.outputs.len()))?;
        for (class, probability) in self.outputs.iter().enumerate() {
            match self.labels.get(class) {
                Some(label) => map.serialize_entry(label, probability)?,
                None => map.serialize_entry(&class, probability)?,
            }
        }
        map.end()
    }
}

/// `carry`: names and the event's raw values.
#[derive(Debug)]
pub struct Carry<'a> {
    names: &'a [String],
    spans: &'a [Option<Span>],
    event: &'a [u8],
}

impl Serialize for Carry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, span) in self.names.iter().zip(self.spans) {
            if let Some(raw) = span.and_then(|span| raw(self.event, span)) {
                map.serialize_entry(name, raw)?;
            }
        }
        map.end()
    }
}

/// The raw JSON at a span that the decoder gave.
fn raw(event: &[u8], span: Span) -> Option<&RawValue> {
    let text = std::str::from_utf8(span.of(event)).ok()?;
    serde_json::from_str(text).ok()
}

/// The names of the headers that a dead letter adds to those of its event.
pub const DEAD_LETTER_HEADERS: [&str; 9] = [
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.offset",
    "__connect.errors.stage",
    "__connect.errors.class.name",
    MESSAGE,
    "foretell.reason",
    ATTEMPT,
    "foretell.omitted_bytes",
];

/// The headers that a dead letter adds to those of its event. All values are text.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeadLetterHeaders {
    #[serde(rename = "__connect.errors.topic")]
    pub topic: String,
    #[serde(rename = "__connect.errors.partition")]
    pub partition: String,
    #[serde(rename = "__connect.errors.offset")]
    pub offset: String,
    /// `decode`, `score` or `encode`.
    #[serde(rename = "__connect.errors.stage")]
    pub stage: String,
    #[serde(rename = "__connect.errors.class.name")]
    pub class_name: String,
    /// What a person needs to find the fault.
    #[serde(rename = "__connect.errors.exception.message")]
    pub message: String,
    #[serde(rename = "foretell.reason")]
    pub reason: Reason,
    /// 1, and one more each time the event was put back and refused again.
    #[serde(rename = "foretell.attempt")]
    pub attempt: String,
    /// Bytes of an event too long for the dead-letters topic that are left out: its value, or where
    /// that does not help, key and headers too.
    #[serde(rename = "foretell.omitted_bytes", skip_serializing_if = "Option::is_none")]
    pub omitted_bytes: Option<String>,
}

/// What HTTP answers in the place of a prediction where there would be a dead letter on a topic.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rejection<'a> {
    pub error: Refused<'a>,
}

/// Why an event could not be scored.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Refused<'a> {
    pub reason: Reason,
    /// What a person needs to find the fault.
    pub message: &'a str,
}

impl<'a> From<&'a Reject> for Rejection<'a> {
    fn from(Reject { reason, message }: &'a Reject) -> Self {
        Self { error: Refused { reason: *reason, message } }
    }
}

/// Scores, and whose they are.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    pub scores: &'a Scores<'a>,
    pub version: &'a Version,
    /// Offset of the control message that chose the version, of a shadow that of its announcement;
    /// `None`: the configuration did.
    pub control_offset: Option<i64>,
    /// They are a candidate's, for comparison.
    pub is_shadow: bool,
}

/// Turns scores into letters.
#[derive(Debug, Clone)]
pub struct Encoder {
    topic: String,
    has_id: bool,
    carry: Vec<String>,
    captures: Vec<String>,
}

impl Encoder {
    /// `topic`: the events topic.
    pub fn new(topic: &str, output: &Output) -> Self {
        let pointers = output.id.iter().chain(output.carry.values());
        Self {
            topic: topic.to_owned(),
            has_id: output.id.is_some(),
            carry: output.carry.keys().cloned().collect(),
            captures: pointers.map(|pointer| pointer.as_str().to_owned()).collect(),
        }
    }

    /// The events topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The pointers that a version's decoder has to capture for this encoder.
    pub fn captures(&self) -> &[String] {
        &self.captures
    }

    /// Adds one letter for each event of `scored`, which are those of `rows` of the batch: a
    /// prediction or a dead letter. Of a shadow's scores only predictions: that an event has no
    /// answer is the served version's to say. `letter_bytes_max` bounds key, value and headers of
    /// a record.
    pub fn encode<'a>(
        &'a self,
        batch: &'a Batch,
        rows: &[usize],
        scored: Scored<'a>,
        letter_bytes_max: usize,
        outbox: &mut Outbox,
    ) {
        let bytes_max = letter_bytes_max.saturating_sub(RECORD_OVERHEAD);
        for (event, &row) in rows.iter().enumerate() {
            let answered = self.answer(batch, row, (event, scored), bytes_max, outbox);
            if let Err(reject) = answered
                && !scored.is_shadow
            {
                self.dead_letter(batch, row, &reject, bytes_max, outbox);
            }
        }
    }

    /// Adds a prediction, or says why there is none.
    fn answer<'a>(
        &'a self,
        batch: &'a Batch,
        row: usize,
        (event, scored): (usize, Scored<'a>),
        bytes_max: usize,
        outbox: &mut Outbox,
    ) -> Result<(), Cow<'a, Reject>> {
        let outputs = scored.scores.outputs(event).map_err(Cow::Borrowed)?;
        let Record { partition, offset, value, .. } = batch.record(row);
        let input = Input { topic: &self.topic, partition, offset };
        let value = value.unwrap_or_default();
        let prediction = self.prediction(value, Some(input), event, outputs, scored);
        let forwarded = batch.headers(row).filter(|header| outbox.forwards(header.name));
        let taken = length(batch.record(row).key) + length_of_headers(forwarded);
        let left = bytes_max.saturating_sub(taken);
        let to = if scored.is_shadow { Destination::Shadow } else { Destination::Predictions };
        outbox.predict(row, to, left, |arena| write(arena, &prediction)).map_err(|bytes| {
            let message = format!("the prediction has {bytes} bytes, {left} are left for it");
            Cow::Owned(Reject::new(Reason::PredictionTooLarge, message))
        })
    }

    /// Appends the prediction for an event that stands on no topic, the one at `index` of `scored`.
    ///
    /// # Errors
    /// Why there is none; then nothing is appended.
    pub fn answer_off_topic<'a>(
        &'a self,
        event: &'a [u8],
        index: usize,
        scored: Scored<'a>,
        to: &mut Vec<u8>,
    ) -> Result<(), &'a Reject> {
        let outputs = scored.scores.outputs(index)?;
        write(to, &self.prediction(event, None, index, outputs, scored));
        Ok(())
    }

    fn prediction<'a>(
        &'a self,
        event: &'a [u8],
        input: Option<Input<'a>>,
        index: usize,
        outputs: &'a [f64],
        scored: Scored<'a>,
    ) -> Prediction<'a> {
        let Scored { scores, version, control_offset, .. } = scored;
        let spans = scores.spans(index);
        let (id, carried) = if self.has_id { spans.split_at(1) } else { (&[][..], spans) };
        let (prediction, label) = outcome(version, outputs);
        let kind = version.task.kind;
        Prediction {
            id: own_id(event, id.first().copied().flatten()).or(input.map(Id::Place)),
            prediction,
            label,
            probability: (kind == TaskKind::Binary).then(|| outputs[0]),
            probabilities: (kind == TaskKind::Multiclass)
                .then_some(Probabilities { labels: &version.task.labels, outputs }),
            model: &version.model,
            version: &version.version,
            control_offset,
            input,
            carry: (!carried.is_empty()).then_some(Carry {
                names: &self.carry,
                spans: carried,
                event,
            }),
        }
    }

    /// Headers as Kafka Connect writes them, so that its tools can read them, and ours. What does not
    /// fit the dead-letters topic is left out: it still stands on the events topic, at the place that
    /// the headers tell.
    fn dead_letter(
        &self,
        batch: &Batch,
        row: usize,
        reject: &Reject,
        bytes_max: usize,
        outbox: &mut Outbox,
    ) {
        let record = batch.record(row);
        let bare = reject.message.len();
        let without_value = bare + length(record.key) + length_of_headers(batch.headers(row));
        let whole = without_value + length(record.value);
        let keeps = match bytes_max {
            bound if whole <= bound => Keeps::All,
            bound if without_value <= bound => Keeps::KeyAndHeaders,
            _ => Keeps::Nothing,
        };
        let reason = reject.reason;
        let mut letter = outbox.reject(row, reason, keeps);
        letter
            .header("__connect.errors.topic", &self.topic)
            .header("__connect.errors.partition", record.partition)
            .header("__connect.errors.offset", record.offset)
            .header("__connect.errors.stage", reason.stage())
            .header("__connect.errors.class.name", format_args!("foretell.reject.{reason:?}"))
            .header(MESSAGE, &reject.message)
            .header("foretell.reason", reason)
            .header(ATTEMPT, attempt(batch, row));
        match keeps {
            Keeps::All => {}
            Keeps::KeyAndHeaders => {
                letter.header("foretell.omitted_bytes", whole - without_value);
            }
            Keeps::Nothing => {
                letter.header("foretell.omitted_bytes", whole - bare);
            }
        }
    }
}

/// An id has to be text or a number; anything else would not identify.
fn own_id(event: &[u8], span: Option<Span>) -> Option<Id<'_>> {
    let raw = raw(event, span?)?;
    let is_scalar = raw.get().starts_with(|c: char| matches!(c, '"' | '-' | '0'..='9'));
    is_scalar.then_some(Id::Own(raw))
}

/// 1, or one more than an event that was put back says of itself.
fn attempt(batch: &Batch, row: usize) -> u64 {
    let before = batch.headers(row).find(|header| header.name == ATTEMPT.as_bytes());
    let text = before.and_then(|header| std::str::from_utf8(header.value?).ok());
    text.and_then(|text| text.parse::<u64>().ok()).map_or(1, |before| before.saturating_add(1))
}

fn length(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(0, <[u8]>::len)
}

fn length_of_headers<'a>(headers: impl Iterator<Item = Header<'a>>) -> usize {
    headers.map(|header| header.name.len() + length(header.value) + HEADER_OVERHEAD).sum()
}

/// What the model says of one event, and the name of the class it means.
fn outcome<'a>(version: &'a Version, outputs: &'a [f64]) -> (Outcome<'a>, Option<&'a str>) {
    match (version.task.class(outputs), outputs) {
        (Some(class), _) => {
            (Outcome::Class(class), version.task.labels.get(class).map(String::as_str))
        }
        (None, [value]) => (Outcome::Value(*value), None),
        (None, values) => (Outcome::Values(values), None),
    }
}

fn write(arena: &mut Vec<u8>, prediction: &Prediction<'_>) {
    // Fails only if a key of a map is no text; ours are.
    serde_json::to_writer(arena, prediction).expect("a prediction is JSON");
}

#[cfg(test)]
mod tests;
