//! What goes out: the prediction's JSON and the dead letter's headers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::batch::Batch;
use crate::config::Output;
use crate::features::decode::Span;
use crate::model::largest;
use crate::model::manifest::TaskKind;
use crate::model::version::Version;
use crate::outbox::{Keeps, Outbox};
use crate::record::{Header, Record};
use crate::reject::{Reason, Reject};
use crate::score::Scores;
use crate::serving::Served;

/// Bytes that a record takes besides its event's key, value and headers and the reason's message,
/// generously: the frame, and the headers that a dead letter adds.
const RECORD_OVERHEAD: usize = 768;
/// Lengths of a header's name and value.
const HEADER_OVERHEAD: usize = 16;

/// The value of a record on the predictions topic.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Prediction<'a> {
    /// The event's own id, where the configuration points to one and the event has it (text or
    /// number), else topic-partition-offset.
    #[schemars(with = "TextOrNumber")]
    pub id: Id<'a>,
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
    /// The event that this answers.
    pub input: Input<'a>,
    /// Fields of the event, as the configuration lists them; absent ones are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub carry: Option<Carry<'a>>,
}

/// Where the event stands.
#[derive(Debug, Serialize, JsonSchema)]
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
    Place { topic: &'a str, partition: i32, offset: i64 },
}

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Own(raw) => raw.serialize(serializer),
            Self::Place { topic, partition, offset } => {
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

    /// The pointers that a version's decoder has to capture for this encoder.
    pub fn captures(&self) -> &[String] {
        &self.captures
    }

    /// Adds one letter for each event of `scores`, which are those of `rows` of the batch.
    /// `letter_bytes_max` bounds key, value and headers of a record.
    pub fn encode(
        &self,
        batch: &Batch,
        rows: &[usize],
        scores: &Scores<'_>,
        served: &Served,
        letter_bytes_max: usize,
        outbox: &mut Outbox,
    ) {
        let bytes_max = letter_bytes_max.saturating_sub(RECORD_OVERHEAD);
        for (event, &row) in rows.iter().enumerate() {
            let record = batch.record(row);
            let outputs = match scores.outputs(event) {
                Ok(outputs) => outputs,
                Err(reject) => {
                    self.dead_letter(batch, row, reject, bytes_max, outbox);
                    continue;
                }
            };
            let prediction = self.prediction(&record, scores.spans(event), outputs, served);
            let forwarded = batch.headers(row).filter(|header| outbox.forwards(header.name));
            let left = bytes_max.saturating_sub(length(record.key) + length_of_headers(forwarded));
            if let Err(bytes) = outbox.predict(row, left, |arena| write(arena, &prediction)) {
                let message = format!("the prediction has {bytes} bytes, {left} are left for it");
                let reject = Reject::new(Reason::PredictionTooLarge, message);
                self.dead_letter(batch, row, &reject, bytes_max, outbox);
            }
        }
    }

    fn prediction<'a>(
        &'a self,
        record: &Record<'a>,
        spans: &'a [Option<Span>],
        outputs: &'a [f64],
        served: &'a Served,
    ) -> Prediction<'a> {
        let event = record.value.unwrap_or_default();
        let (id, carried) = if self.has_id { spans.split_at(1) } else { (&[][..], spans) };
        let (prediction, label) = outcome(&served.version, outputs);
        let kind = served.version.task.kind;
        Prediction {
            id: self.id(record, event, id.first().copied().flatten()),
            prediction,
            label,
            probability: (kind == TaskKind::Binary).then(|| outputs[0]),
            probabilities: (kind == TaskKind::Multiclass)
                .then_some(Probabilities { labels: &served.version.task.labels, outputs }),
            model: &served.version.model,
            version: &served.version.version,
            control_offset: served.control_offset,
            input: Input { topic: &self.topic, partition: record.partition, offset: record.offset },
            carry: (!carried.is_empty()).then_some(Carry {
                names: &self.carry,
                spans: carried,
                event,
            }),
        }
    }

    /// An id has to be text or a number; anything else would not identify.
    fn id<'a>(&'a self, record: &Record<'a>, event: &'a [u8], span: Option<Span>) -> Id<'a> {
        let own = span.and_then(|span| raw(event, span));
        match own {
            Some(raw)
                if raw
                    .get()
                    .starts_with(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) =>
            {
                Id::Own(raw)
            }
            _ => {
                Id::Place { topic: &self.topic, partition: record.partition, offset: record.offset }
            }
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
            .header("__connect.errors.exception.message", &reject.message)
            .header("foretell.reason", reason)
            .header("foretell.attempt", attempt(batch, row));
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

/// 1, or one more than an event that was put back says of itself.
fn attempt(batch: &Batch, row: usize) -> u64 {
    let before = batch.headers(row).find(|header| header.name == b"foretell.attempt");
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
    let class = match (version.task.kind, outputs) {
        (TaskKind::Binary, _) => usize::from(outputs[0] >= version.task.threshold.unwrap_or(0.5)),
        (TaskKind::Multiclass, _) => largest(outputs),
        (_, [value]) => return (Outcome::Value(*value), None),
        (_, values) => return (Outcome::Values(values), None),
    };
    (Outcome::Class(class), version.task.labels.get(class).map(String::as_str))
}

fn write(arena: &mut Vec<u8>, prediction: &Prediction<'_>) {
    // Fails only if a key of a map is no text; ours are.
    serde_json::to_writer(arena, prediction).expect("a prediction is JSON");
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::features::decode::Limits;
    use crate::model::gate::{self, Expected, Settings};
    use crate::outbox::Destination;
    use crate::score::Scorer;

    const LETTER_BYTES_MAX: usize = 4_096;

    /// What comes of one event of the flights with a header of `bytes`: all that a topic would get.
    #[derive(Debug)]
    struct Sent {
        to: Destination,
        key: bool,
        value: usize,
        headers: Vec<(String, String)>,
        total: usize,
    }

    fn send(event: &[u8], header: (&str, usize), forward: &[String]) -> Sent {
        let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/bundles/1");
        let settings = Settings {
            captures: Vec::new(),
            limits: Limits { event_bytes_max: 1 << 20, json_depth_max: 64 },
            bytes_max: 1 << 30,
            trusted_keys: Vec::new(),
            tile_rows: 8,
        };
        let version = gate::admit(&bundle, Expected::default(), &settings).unwrap().version;
        let served = Served { version: Arc::new(version), control_offset: Some(41) };
        let mut batch = Batch::default();
        let record = Record {
            partition: 3,
            offset: 1234,
            timestamp_ms: None,
            key: Some(b"key"),
            value: Some(event),
        };
        let text = "h".repeat(header.1);
        let header = Header { name: header.0.as_bytes(), value: Some(text.as_bytes()) };
        batch.push(record, std::iter::once(header));
        let mut scorer = Scorer::new(8);
        let scores = scorer.score(&served.version, std::iter::once(event));
        let mut outbox = Outbox::forwarding(forward);
        let encoder = Encoder::new("flights", &Output::default());
        encoder.encode(&batch, &[0], &scores, &served, LETTER_BYTES_MAX, &mut outbox);
        let letter = &outbox.letters()[0];
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers: Vec<_> = outbox
            .headers(&batch, letter)
            .map(|header| (text(header.name), text(header.value.unwrap_or_default())))
            .collect();
        let value = outbox.value(&batch, letter).map_or(0, <[u8]>::len);
        let key = outbox.key(&batch, letter).is_some();
        let in_headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        Sent { to: letter.to, key, value, total: value + in_headers, headers }
    }

    const FLIGHT: &[u8] = br#"{"flight":{"carrier":"UA"},"scheduled":{"time":"2013-12-01T05:15:00-05:00"},"departure":{"delay":5}}"#;

    fn header<'a>(sent: &'a Sent, name: &str) -> &'a str {
        sent.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    #[test]
    fn a_large_header_that_is_not_passed_on_costs_a_prediction_nothing() {
        let sent = send(FLIGHT, ("baggage", 9_000), &[]);
        assert_eq!(sent.to, Destination::Predictions);
        assert!(sent.headers.is_empty() && sent.key);
    }

    #[test]
    fn a_prediction_whose_headers_do_not_fit_is_a_dead_letter_that_does() {
        let sent = send(FLIGHT, ("baggage", 9_000), &["baggage".into()]);
        assert_eq!(sent.to, Destination::DeadLetters(Reason::PredictionTooLarge));
        assert!(sent.total <= LETTER_BYTES_MAX, "{sent:?}");
    }

    #[test]
    fn a_dead_letter_is_cut_down_until_it_fits_and_says_so() {
        let whole = send(b"{", ("a", 1), &[]);
        assert_eq!((whole.key, whole.value, header(&whole, "a")), (true, 1, "h"));
        assert_eq!(header(&whole, "foretell.omitted_bytes"), "");

        let long = vec![b'['; 5_000];
        let without_value = send(&long, ("a", 1), &[]);
        assert_eq!((without_value.key, without_value.value), (true, 0));
        assert_eq!(header(&without_value, "a"), "h");
        assert_eq!(header(&without_value, "foretell.omitted_bytes"), "5000");

        let bare = send(b"{", ("a", 9_000), &[]);
        assert_eq!((bare.key, bare.value, header(&bare, "a")), (false, 0, ""));
        assert_eq!(header(&bare, "foretell.reason"), "not_json");
        assert_eq!(header(&bare, "__connect.errors.offset"), "1234");
        assert!(bare.total <= LETTER_BYTES_MAX);
    }
}
