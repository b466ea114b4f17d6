//! From an event's JSON bytes straight to a row of the matrix.

use ndarray::ArrayViewMut1;
use serde::de::IgnoredAny;

use super::contract::{self, ContractError, Feature};
use super::path::{self, Place, PointerFault, Tree, Want};
use super::reading::Reading;
use super::{scan, value, walk};
use crate::reject::{Reason, Reject};

/// A required feature's number while its value has not been met: no event holds it, since JSON
/// has no infinity and a number beyond the range of f64 is refused.
const ABSENT: f64 = f64::INFINITY;

/// JSON's white space; a byte order mark is none.
const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

/// What an event may cost before it is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest event that is decoded.
    pub event_bytes_max: usize,
    /// Deepest nesting of objects and arrays, wherever in the event; `{}` is one deep.
    pub json_depth_max: usize,
}

/// Where a captured value's raw JSON text stands in the event's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The text in the event that the span was found in.
    pub fn of(self, event: &[u8]) -> &[u8] {
        &event[self.start as usize..self.end as usize]
    }

    /// The span of `text`, which has to be a slice of `event`.
    pub(super) fn within(event: &str, text: &str) -> Self {
        let start = text.as_ptr().addr() - event.as_ptr().addr();
        debug_assert!(start + text.len() <= event.len());
        // No cast cuts: the decoder refuses events that u32 cannot count.
        Self { start: start as u32, end: (start + text.len()) as u32 }
    }

    /// The span of the document, without the white space around it.
    pub(super) fn of_document(event: &str) -> Self {
        Self::within(event, event.trim_matches(WHITE))
    }
}

/// A contract, compiled: immutable, shared by all threads.
#[derive(Debug)]
pub struct Decoder {
    names: Vec<String>,
    /// Each feature's pointer, for messages.
    paths: Vec<String>,
    pub(super) places: Vec<Place>,
    /// The row of an event without fields.
    pub(super) blank: Vec<f64>,
    /// The columns whose value may not be absent, ascending.
    required: Vec<usize>,
    captures: usize,
    limits: Limits,
}

impl Decoder {
    /// Compiles a contract. `captures`: JSON pointers to values whose raw text the caller wants
    /// back (the prediction's id, carried fields).
    ///
    /// # Errors
    /// The contract is empty, describes a name twice, or a pointer or vocabulary is unusable.
    pub fn new(
        contract: &[Feature],
        captures: &[String],
        limits: Limits,
    ) -> Result<Self, ContractError> {
        contract::validate(contract)?;
        let mut tree = Tree::new();
        for (column, feature) in contract.iter().enumerate() {
            let reader = value::reader(&feature.kind, feature.missing.unwrap_or(f64::NAN));
            let want = match reader {
                Ok(reader) => Want::Value(column, reader),
                Err(part) => Want::Part(column, part),
            };
            tree.insert(&pointer_of(feature)?, want);
        }
        for (capture, path) in captures.iter().enumerate() {
            let pointer = path::parse(path)
                .map_err(|fault| ContractError::CapturePath { path: path.clone(), fault })?;
            tree.insert(&pointer, Want::Capture(capture));
        }
        Ok(Self {
            names: contract.iter().map(|feature| feature.name.clone()).collect(),
            paths: contract.iter().map(|feature| feature.path.clone()).collect(),
            places: tree.freeze(),
            blank: contract.iter().map(blank).collect(),
            required: (0..contract.len()).filter(|&column| contract[column].required).collect(),
            captures: captures.len(),
            limits: Limits {
                // Spans count in u32.
                event_bytes_max: limits.event_bytes_max.min(u32::MAX as usize),
                ..limits
            },
        })
    }

    /// The names of the features, in the order of the row.
    pub fn features(&self) -> &[String] {
        &self.names
    }

    /// The number of captures.
    pub fn captures(&self) -> usize {
        self.captures
    }

    /// Writes feature i to `row[i]`, NaN if it is missing, and the place of capture i to
    /// `spans[i]`, `None` if it is absent.
    ///
    /// An absent or null value is what the contract calls `missing`, and so is a category that
    /// it does not know where it says so; the latter even if the feature is required.
    ///
    /// # Errors
    /// Why the event cannot be scored; then `row` and `spans` hold anything. The event is judged
    /// as a whole first (size, UTF-8, depth, syntax, being an object), then the first feature
    /// in the contract's order that has a fault is named. What no pointer names is checked for
    /// JSON's grammar alone: a number beyond f64 or half a surrogate pair is refused as
    /// [`Reason::NotJson`] in a feature and passed over elsewhere.
    ///
    /// # Panics
    /// If `row` has not one element a feature, or `spans` not one a capture.
    pub fn decode(
        &self,
        event: &[u8],
        row: ArrayViewMut1<'_, f64>,
        spans: &mut [Option<Span>],
    ) -> Result<(), Reject> {
        assert_eq!(row.len(), self.names.len(), "one element a feature");
        assert_eq!(spans.len(), self.captures, "one span a capture");
        let event = self.document(event)?;
        let mut reading = Reading::new(&self.blank, row, spans);
        if !scan::read(event, &self.places, &mut reading) {
            reading.clear();
            walk::read(event, &self.places, &mut reading).map_err(not_json)?;
        }
        self.judge(reading)
    }

    /// The event as text, if nothing but its syntax and its features can still be wrong.
    fn document<'e>(&self, event: &'e [u8]) -> Result<&'e str, Reject> {
        let Limits { event_bytes_max, json_depth_max } = self.limits;
        if event.len() > event_bytes_max {
            let message = format!("{} bytes, of {event_bytes_max} allowed", event.len());
            return Err(Reject::new(Reason::TooLarge, message));
        }
        let text = str::from_utf8(event)
            .map_err(|error| Reject::new(Reason::NotUtf8, error.to_string()))?;
        if is_deeper(event, json_depth_max) {
            let message = format!("objects and arrays nest deeper than {json_depth_max}");
            return Err(Reject::new(Reason::TooDeep, message));
        }
        match text.trim_start_matches(WHITE).as_bytes().first() {
            Some(b'{') => Ok(text),
            other => Err(no_object(text, other.copied())),
        }
    }

    /// The first feature in the contract's order that is at fault, if any is.
    fn judge(&self, reading: Reading<'_>) -> Result<(), Reject> {
        let Reading { row, mut faults, .. } = reading;
        let absent = self.required.iter().copied().find(|&column| row[column] == ABSENT);
        let (column, reason, what) = match (absent, faults.pop_first()) {
            (None, None) => return Ok(()),
            (absent, Some((column, fault))) if absent.is_none_or(|absent| column < absent) => {
                (column, fault.reason, fault.what)
            }
            (absent, _) => {
                let what = "required, but absent or null".to_owned();
                (absent.unwrap_or_default(), Reason::RequiredFeatureMissing, what)
            }
        };
        let message = format!("`{}` at `{}`: {what}", self.names[column], self.paths[column]);
        Err(Reject::new(reason, message))
    }
}

fn pointer_of(feature: &Feature) -> Result<Vec<String>, ContractError> {
    let pointer = path::parse(&feature.path).and_then(|pointer| {
        if pointer.is_empty() { Err(PointerFault::WholeEvent) } else { Ok(pointer) }
    });
    pointer.map_err(|fault| ContractError::FeaturePath {
        name: feature.name.clone(),
        path: feature.path.clone(),
        fault,
    })
}

/// What an event without the feature has in its row.
fn blank(feature: &Feature) -> f64 {
    if feature.required { ABSENT } else { feature.missing.unwrap_or(f64::NAN) }
}

fn not_json(error: serde_json::Error) -> Reject {
    Reject::new(Reason::NotJson, error.to_string())
}

/// The refusal of a text that does not begin like an object.
fn no_object(text: &str, first: Option<u8>) -> Reject {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return not_json(error);
    }
    let found = match first {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    };
    Reject::new(Reason::NotAnObject, format!("expected an object, found {found}"))
}

/// Whether brackets outside strings nest deeper than `depth_max`, be the rest JSON or not.
pub fn is_deeper(event: &[u8], depth_max: usize) -> bool {
    // Almost always there are not even so many in all, and counting them takes a few ns.
    opening_brackets(event) > depth_max && depth_of(event) > depth_max
}

fn opening_brackets(event: &[u8]) -> usize {
    // Sums of bytes, so that a vector adds as many at a time as it holds bytes; 128 cannot
    // overflow one. `[` and `{` differ in the bit 0x20.
    let count = |chunk: &[u8]| chunk.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum::<u8>();
    event.chunks(128).map(|chunk| usize::from(count(chunk))).sum()
}

/// The deepest nesting of brackets outside strings.
fn depth_of(event: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = event.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// Moves behind the closing quote of a string whose opening one was read.
fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}
