//! The decoder as a specification: by way of `serde_json::Value`, slow and plain. Whatever event
//! chance writes under whatever contract, the decoder agrees with it, and its two readings with
//! each other.

use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;
use ndarray::Array1;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

use super::contract::{Feature, Kind, Part, Term, Unknown};
use super::decode::{Decoder, Limits, Span};
use super::reading::Reading;
use super::tests::run;
use super::{scan, walk};
use crate::reject::Reason;

const LIMITS: Limits = Limits { event_bytes_max: 400, json_depth_max: 5 };

/// The row and what the captures hold, or the reason and the feature that is at fault.
type Outcome = Result<(Vec<f64>, Vec<Option<Value>>), (Reason, Option<String>)>;

fn reference(contract: &[Feature], captures: &[String], event: &[u8]) -> Outcome {
    if event.len() > LIMITS.event_bytes_max {
        return Err((Reason::TooLarge, None));
    }
    let text = str::from_utf8(event).map_err(|_| (Reason::NotUtf8, None))?;
    if depth(text) > LIMITS.json_depth_max {
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

/// Names that objects and pointers draw from, as JSON and as a pointer's step.
const NAMES: [(&str, &str); 8] = [
    (r#""a""#, "a"),
    (r#""b""#, "b"),
    (r#""\u0061""#, "a"),
    (r#""0""#, "0"),
    (r#""1""#, "1"),
    (r#""x/y""#, "x~1y"),
    (r#""m~n""#, "m~0n"),
    (r#""é""#, "é"),
];

const SCALARS: [&str; 20] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "1.0",
    "-2.5E-3",
    "0.30000000000000004",
    "12345678901234567890123",
    "18446744073709551615",
    r#""""#,
    r#""a""#,
    r#""\u0061""#,
    r#""1""#,
    r#""{[\"""#,
    r#""2013-01-01T05:15:00-05:00""#,
    r#""2013-03-31 23:59:59.25Z""#,
    r#""2013-12-09""#,
    r#""2013-02-30""#,
];

fn pointer() -> impl Strategy<Value = String> {
    vec(select(&NAMES[..]), 1..4)
        .prop_map(|steps| steps.iter().map(|(_, step)| format!("/{step}")).collect())
}

fn kind() -> impl Strategy<Value = Kind> {
    use Part::{Day, EpochSeconds, Hour, Minute, Month, Weekday};
    let terms = vec![
        Term::Text("a".into()),
        Term::Number(1.0),
        Term::Text("1".into()),
        Term::Boolean(true),
        Term::Number(0.0),
    ];
    prop_oneof![
        Just(Kind::Number),
        Just(Kind::Boolean),
        select(vec![Unknown::Missing, Unknown::Reject, Unknown::Code])
            .prop_map(move |unknown| Kind::Category { vocabulary: terms.clone(), unknown }),
        select(vec![Month, Day, Weekday, Hour, Minute, EpochSeconds])
            .prop_map(|part| Kind::Timestamp { part }),
    ]
}

fn contract() -> impl Strategy<Value = Vec<Feature>> {
    let feature = (pointer(), kind(), prop::bool::weighted(0.1), prop::option::of(Just(-1.0)));
    vec(feature, 1..6).prop_map(|features| {
        let named = features.into_iter().enumerate();
        named
            .map(|(i, (path, kind, required, missing))| Feature {
                name: format!("f{i}"),
                path,
                kind,
                required,
                missing,
            })
            .collect()
    })
}

fn value() -> impl Strategy<Value = String> {
    let scalar = select(&SCALARS[..]).prop_map(str::to_owned);
    scalar.prop_recursive(5, 24, 4, |value| {
        prop_oneof![
            vec(value.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(", "))),
            object(value),
        ]
    })
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    vec((select(&NAMES[..]), value), 0..5).prop_map(|members| {
        let members: Vec<_> =
            members.iter().map(|((name, _), value)| format!("{name} :\n{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

/// Mostly events, some other documents, some of either damaged by one byte. None comes to hold a
/// number beyond f64 or half a surrogate pair: the decoder passes over them where nothing is
/// read, `Value` does not.
fn event() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![9 => object(value()), 1 => value()];
    let damage = (any::<Index>(), select(&b"{}[]\",:\\ \x00\xff0a-."[..]));
    (text, prop::option::weighted(0.2, damage)).prop_map(|(text, damage)| {
        let mut bytes = text.into_bytes();
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

/// NaN equals NaN, and 0 is not -0.
fn bits(row: &[f64]) -> Vec<u64> {
    row.iter().map(|x| if x.is_nan() { u64::MAX } else { x.to_bits() }).collect()
}

/// What the decoder makes of an event, as the reference tells it.
fn decoded(contract: &[Feature], captures: &[String], event: &[u8]) -> Outcome {
    let (row, texts) = run(contract, captures, LIMITS, event).map_err(|reject| {
        // "`name` at `path`: …"
        let feature = reject.message.starts_with('`').then(|| reject.message.split('`').nth(1));
        (reject.reason, feature.flatten().map(str::to_owned))
    })?;
    let value = |text: String| serde_json::from_str(&text).unwrap();
    Ok((row, texts.into_iter().map(|text| text.map(value)).collect()))
}

/// Any text that is an event, or was one before a few of its bytes were replaced, left out or
/// doubled.
fn damaged() -> impl Strategy<Value = String> {
    let bytes = b"{}[]\",:\\ \t\n\x0b\x1f\x7f0019aeE+-.tfnu";
    let damage = (any::<Index>(), select(&bytes[..]), 0..3_usize);
    (object(value()), vec(damage, 0..4)).prop_map(|(text, damages)| {
        let mut bytes = text.into_bytes();
        for (at, byte, how) in damages {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        // Damage within an é is the business of the UTF-8 check.
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What a reading leaves: the row, the captures, and the faults.
type Left = (Vec<u64>, Vec<Option<Span>>, String);

fn reading(decoder: &Decoder, read: impl FnOnce(&mut Reading<'_>) -> bool) -> Option<Left> {
    let mut row = Array1::zeros(decoder.features().len());
    let mut spans = vec![None; decoder.captures()];
    let mut reading = Reading::new(&decoder.blank, row.view_mut(), &mut spans);
    let is_read = read(&mut reading);
    let faults = format!("{:?}", reading.faults);
    is_read.then(|| (bits(&row.to_vec()), spans, faults))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]
    #[test]
    fn the_decoder_agrees_with_the_reference(
        contract in contract(),
        captures in vec(prop_oneof![4 => pointer(), 1 => Just(String::new())], 0..3),
        event in event(),
    ) {
        let bits = |outcome: Outcome| outcome.map(|(row, captured)| (bits(&row), captured));
        let found = decoded(&contract, &captures, &event);
        prop_assert_eq!(bits(found), bits(reference(&contract, &captures, &event)));
    }

    #[test]
    fn the_quick_reading_agrees_with_the_complete_one(
        contract in contract(),
        captures in vec(prop_oneof![4 => pointer(), 1 => Just(String::new())], 0..3),
        event in damaged(),
    ) {
        let decoder = Decoder::new(&contract, &captures, LIMITS).unwrap();
        let Decoder { places, .. } = &decoder;
        let quick = reading(&decoder, |reading| scan::read(&event, places, reading));
        let complete = reading(&decoder, |reading| walk::read(&event, places, reading).is_ok());
        if quick.is_some() {
            prop_assert_eq!(quick, complete);
        } else if let Some((_, _, faults)) = complete {
            // It may give up where it is not sure: escapes in what is read, mostly.
            let has_doubt = event.contains('\\') || event.contains(['e', 'E']);
            prop_assert!(has_doubt, "{event}: {faults}");
        }
    }
}
