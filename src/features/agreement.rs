//! Whatever event chance writes under whatever contract, the decoder agrees with its specification, and
//! its two readings with each other.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::contract::{Feature, Kind, Part, Term, Unknown};
use super::decode::{Decoder, Limits};
use super::reference::{Outcome, bits, decoded, reading, reference};
use super::{scan, walk};

const LIMITS: Limits = Limits { event_bytes_max: 400, json_depth_max: 5 };

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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]
    #[test]
    fn the_decoder_agrees_with_the_reference(
        contract in contract(),
        captures in vec(prop_oneof![4 => pointer(), 1 => Just(String::new())], 0..3),
        event in event(),
    ) {
        let bits = |outcome: Outcome| outcome.map(|(row, captured)| (bits(&row), captured));
        let found = decoded(&contract, &captures, LIMITS, &event);
        prop_assert_eq!(bits(found), bits(reference(&contract, &captures, LIMITS, &event)));
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
