//! The decoder as a specification: by way of `serde_json::Value`, slow and plain. Whatever the event,
//! the decoder agrees with it, and its two readings with each other: `agreement` has chance write
//! events, and the fuzzers of tests/fuzz.

use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;
use ndarray::Array1;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::contract::{Feature, Kind, Part, Term, Unknown};
use super::decode::{Decoder, Limits, Span};
use super::reading::Reading;
use super::{scan, walk};
use crate::reject::{Reason, Reject};

/// The row and what the captures hold, or the reason and the feature that is at fault.
pub type Outcome = Result<(Vec<f64>, Vec<Option<Value>>), (Reason, Option<String>)>;

pub fn reference(
    contract: &[Feature],
    captures: &[String],
    limits: Limits,
    event: &[u8],
) -> Outcome {
    if event.len() > limits.event_bytes_max {
        return Err((Reason::TooLarge, None));
    }
    let text = str::from_utf8(event).map_err(|_| (Reason::NotUtf8, None))?;
    if depth(text) > limits.json_depth_max {
        return Err((Reason::TooDeep, None));
    }
    let event: Value = serde_json::from_str(text).map_err(|_| (Reason::NotJson, None))?;
    if !event.is_object() {
        return Err((Reason::NotAnObject, None));
    }
    let row = contract.iter().map(|feature| {
        column(feature, event.pointer(&feature.path))
            .map_err(|reason| (reason, Some(feature.name.clone())))
    });
    let spans = captures.iter().map(|path| event.pointer(path).cloned());
    Ok((row.collect::<Result<_, _>>()?, spans.collect()))
}

fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut inside, mut escaped) = (0_usize, 0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            '{' | '[' if !inside => depth += 1,
            '}' | ']' if !inside => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn column(feature: &Feature, value: Option<&Value>) -> Result<f64, Reason> {
    let missing = feature.missing.unwrap_or(f64::NAN);
    let value = match value {
        None | Some(Value::Null) if feature.required => {
            return Err(Reason::RequiredFeatureMissing);
        }
        None | Some(Value::Null) => return Ok(missing),
        Some(value) => value,
    };
    let number = match &feature.kind {
        Kind::Number => value.as_f64(),
        Kind::Boolean => value.as_bool().map(|boolean| if boolean { 1.0 } else { 0.0 }),
        Kind::Timestamp { part } => value.as_str().and_then(|text| timestamp(text, *part)),
        Kind::Category { .. } if value.is_object() || value.is_array() => None,
        Kind::Category { vocabulary, unknown } => {
            let code = vocabulary.iter().position(|term| match term {
                Term::Text(text) => value.as_str() == Some(text),
                Term::Boolean(boolean) => value.as_bool() == Some(*boolean),
                Term::Number(number) => value.as_f64() == Some(*number),
            });
            match (code, unknown) {
                (Some(code), _) => Some(code as f64),
                (None, Unknown::Code) => Some(vocabulary.len() as f64),
                (None, Unknown::Missing) => Some(missing),
                (None, Unknown::Reject) => return Err(Reason::UnknownCategory),
            }
        }
    };
    number.ok_or(Reason::WrongKind)
}

fn timestamp(text: &str, part: Part) -> Option<f64> {
    let pieces = Pieces::parse(text).ok()?;
    let civil = pieces.date().to_datetime(pieces.time().unwrap_or_default());
    Some(match part {
        Part::Month => f64::from(civil.month()),
        Part::Day => f64::from(civil.day()),
        Part::Weekday => f64::from(civil.weekday().to_monday_one_offset()) - 1.0,
        Part::Hour => f64::from(civil.hour()),
        Part::Minute => f64::from(civil.minute()),
        Part::EpochSeconds => {
            let offset = i64::from(pieces.to_numeric_offset().map_or(0, Offset::seconds));
            let seconds = civil.duration_since(jiff::civil::date(1970, 1, 1).into()).as_secs();
            (seconds - offset) as f64 + f64::from(civil.subsec_nanosecond()) / 1e9
        }
    })
}

/// The row and the captured texts.
pub fn run(
    contract: &[Feature],
    captures: &[String],
    limits: Limits,
    event: &[u8],
) -> Result<(Vec<f64>, Vec<Option<String>>), Reject> {
    let decoder = Decoder::new(contract, captures, limits).unwrap();
    // What the row and the spans held before has to be of no account.
    let mut row = Array1::from_elem(contract.len(), 77.0);
    let mut spans = vec![Some(Span { start: 7, end: 77 }); captures.len()];
    decoder.decode(event, row.view_mut(), &mut spans)?;
    let text = |span: Span| str::from_utf8(span.of(event)).unwrap().to_owned();
    Ok((row.to_vec(), spans.into_iter().map(|span| span.map(text)).collect()))
}

/// NaN equals NaN, and 0 is not -0.
pub fn bits(row: &[f64]) -> Vec<u64> {
    row.iter().map(|x| if x.is_nan() { u64::MAX } else { x.to_bits() }).collect()
}

/// What the decoder makes of an event, as the reference tells it.
pub fn decoded(contract: &[Feature], captures: &[String], limits: Limits, event: &[u8]) -> Outcome {
    let (row, texts) = run(contract, captures, limits, event).map_err(|reject| {
        // "`name` at `path`: …"
        let feature = reject.message.starts_with('`').then(|| reject.message.split('`').nth(1));
        (reject.reason, feature.flatten().map(str::to_owned))
    })?;
    let value = |text: String| serde_json::from_str(&text).unwrap();
    Ok((row, texts.into_iter().map(|text| text.map(value)).collect()))
}

/// What a reading leaves: the row, the captures, and the faults.
pub type Left = (Vec<u64>, Vec<Option<Span>>, String);

pub fn reading(decoder: &Decoder, read: impl FnOnce(&mut Reading<'_>) -> bool) -> Option<Left> {
    let mut row = Array1::zeros(decoder.features().len());
    let mut spans = vec![None; decoder.captures()];
    let mut reading = Reading::new(&decoder.blank, row.view_mut(), &mut spans);
    let is_read = read(&mut reading);
    let faults = format!("{:?}", reading.faults);
    is_read.then(|| (bits(&row.to_vec()), spans, faults))
}

/// Sees that the decoder makes of an event what the specification does, and its quick reading what the
/// complete one does.
pub fn check(contract: &[Feature], captures: &[String], limits: Limits, event: &[u8]) {
    let text = str::from_utf8(event).ok();
    let expected = reference(contract, captures, limits, event);
    let is_json = text.is_some_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    // Numbers beyond f64 and halves of surrogate pairs: the decoder passes over them where nothing is
    // read, `Value` does not.
    if matches!(expected, Err((Reason::NotJson, _))) && is_json {
        let _ = run(contract, captures, limits, event);
    } else {
        let bits = |outcome: Outcome| outcome.map(|(row, captured)| (bits(&row), captured));
        assert_eq!(bits(decoded(contract, captures, limits, event)), bits(expected));
    }
    // Deeper ones are refused before they are read.
    let Some(text) = text.filter(|text| depth(text) <= limits.json_depth_max) else { return };
    let decoder = Decoder::new(contract, captures, limits).unwrap();
    let Decoder { places, .. } = &decoder;
    let quick = reading(&decoder, |reading| scan::read(text, places, reading));
    if quick.is_some() {
        let complete = reading(&decoder, |reading| walk::read(text, places, reading).is_ok());
        assert_eq!(quick, complete, "what both readings make of it");
    }
}
