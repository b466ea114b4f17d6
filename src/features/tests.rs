//! What the decoder does, event by event.

use ndarray::{Array1, Array2, ShapeBuilder};
use serde_json::json;

use super::contract::{ContractError, Feature};
use super::decode::{Decoder, Limits};
use super::reading::Reading;
use super::reference::run;
use super::scan;
use crate::reject::Reason;

const LIMITS: Limits = Limits { event_bytes_max: 1 << 20, json_depth_max: 32 };

fn features(contract: serde_json::Value) -> Vec<Feature> {
    serde_json::from_value(contract).unwrap()
}

fn flights() -> Vec<Feature> {
    features(json!([
        {"name": "hour", "path": "/scheduled", "kind": {"timestamp": {"part": "hour"}}},
        {"name": "delay", "path": "/departure/delay", "kind": "number", "required": true},
        {"name": "carrier", "path": "/carrier", "kind": {"category":
            {"vocabulary": ["UA", "AA", 7, true], "unknown": "reject"}}},
        {"name": "late", "path": "/late", "kind": "boolean", "missing": -1.0},
        {"name": "gate", "path": "/gates/1", "kind": "number"},
    ]))
}

fn row(event: &str) -> Vec<f64> {
    run(&flights(), &[], LIMITS, event.as_bytes()).unwrap().0
}

#[track_caller]
fn check_row(event: &str, expected: [f64; 5]) {
    // NaN equals NaN.
    assert_eq!(format!("{:?}", row(event)), format!("{expected:?}"), "{event}");
}

#[track_caller]
fn check_reject(event: impl AsRef<[u8]>, reason: Reason, message: &str) {
    let reject = run(&flights(), &[], LIMITS, event.as_ref()).unwrap_err();
    assert_eq!((reject.reason, &*reject.message), (reason, message));
}

#[track_caller]
fn check_captures(event: &str, paths: &[&str], expected: &[Option<&str>]) {
    let paths: Vec<_> = paths.iter().map(|&path| path.to_owned()).collect();
    let (_, texts) = run(&flights(), &paths, LIMITS, event.as_bytes()).unwrap();
    let texts: Vec<_> = texts.iter().map(Option::as_deref).collect();
    assert_eq!(texts, expected, "{event}");
}

#[test]
fn a_whole_event_becomes_a_row() {
    check_row(
        r#"{"carrier":"AA","x":[{"y":{}}],"scheduled":"2013-01-01T05:15:00-05:00",
            "departure":{"gate":"C70","delay":2.5},"late":true,"gates":[1,2,3]}"#,
        [5.0, 2.5, 1.0, 1.0, 2.0],
    );
}

#[track_caller]
fn check_is_quick(event: &str, expected: bool) {
    let decoder = Decoder::new(&flights(), &["/id".to_owned()], LIMITS).unwrap();
    let (mut row, mut spans) = (Array1::zeros(5), [None]);
    let mut reading = Reading::new(&decoder.blank, row.view_mut(), &mut spans);
    assert_eq!(scan::read(event, &decoder.places, &mut reading), expected, "{event}");
}

#[test]
fn ordinary_events_are_read_the_quick_way() {
    check_is_quick(
        r#"{"id": "é\u00e9\n", "scheduled": "2013-01-01T05:15:00-05:00", "x": [{"y": {}}, 1.5e3],
            "departure": {"gate": "C\"70", "delay": -2.50}, "late": null, "gates": [1, 2e-1, []]}"#,
        true,
    );
    // What else would be read in a way of its own.
    check_is_quick(r#"{"carrier":"\u0041A"}"#, false);
    check_is_quick(r#"{"\u0041":1}"#, false);
    check_is_quick(r#"{"x":1e999}"#, false);
    check_is_quick(r#"{"x":01}"#, false);
    check_is_quick(r#"{"x":1,}"#, false);
    check_is_quick(r#"{"x":"\x"}"#, false);
    check_is_quick("{\"x\":\"\t\"}", false);
    check_is_quick("{} {}", false);
    check_is_quick(&format!("{{\"x\":{}{}}}", "[".repeat(64), "]".repeat(64)), false);
}

#[test]
fn absent_and_null_are_missing() {
    check_row(r#"{"departure":{"delay":0}}"#, [f64::NAN, 0.0, f64::NAN, -1.0, f64::NAN]);
    check_row(
        r#"{"scheduled":null,"departure":{"delay":0},"carrier":null,"late":null,"gates":null}"#,
        [f64::NAN, 0.0, f64::NAN, -1.0, f64::NAN],
    );
}

#[test]
fn a_row_of_a_column_major_matrix_is_filled() {
    let decoder = Decoder::new(&flights(), &[], LIMITS).unwrap();
    let mut matrix = Array2::zeros((3, 5).f());
    let event = br#"{"departure":{"delay":9},"carrier":"UA","late":false}"#;
    decoder.decode(event, matrix.row_mut(1), &mut []).unwrap();
    assert_eq!(matrix.column(1).to_vec(), [0.0, 9.0, 0.0]);
    assert_eq!(matrix.column(3).to_vec(), [0.0, 0.0, 0.0]);
    assert!(matrix[[1, 0]].is_nan());
}

#[test]
fn the_last_of_a_repeated_key_counts_alone() {
    let last = |event| row(event)[1..3].to_vec();
    assert_eq!(last(r#"{"departure":{"delay":1},"carrier":"ZZ","carrier":"AA"}"#), [1.0, 1.0]);
    assert_eq!(
        last(r#"{"departure":{"delay":"1"},"departure":{"delay":2},"carrier":7}"#),
        [2.0, 2.0]
    );
    check_reject(
        r#"{"departure":{"delay":1},"departure":{}}"#,
        Reason::RequiredFeatureMissing,
        "`delay` at `/departure/delay`: required, but absent or null",
    );
    check_reject(
        r#"{"departure":{"delay":1},"departure":7}"#,
        Reason::RequiredFeatureMissing,
        "`delay` at `/departure/delay`: required, but absent or null",
    );
    check_captures(
        r#"{"departure":{"delay":1,"id":"a"},"departure":{"delay":2}}"#,
        &["/departure/id", "/departure"],
        &[None, Some(r#"{"delay":2}"#)],
    );
}

#[test]
fn captures_are_raw_text_of_any_value() {
    check_captures(
        "\n { \"id\" : \"\\u00e9\\\"\" , \"n\":1.50,\"departure\" : {\"delay\": 1 } ,\"gates\":[1, 2],\"z\":null} \n",
        &["/id", "/n", "/departure", "/departure/delay", "/gates", "/gates/0", "/z", "/none"],
        &[
            Some(r#""\u00e9\"""#),
            Some("1.50"),
            Some(r#"{"delay": 1 }"#),
            Some("1"),
            Some("[1, 2]"),
            Some("1"),
            Some("null"),
            None,
        ],
    );
    check_captures(
        " \t{\"departure\":{\"delay\":1}}\r\n",
        &["", ""],
        &[Some(r#"{"departure":{"delay":1}}"#), Some(r#"{"departure":{"delay":1}}"#)],
    );
}

#[test]
fn the_event_as_a_whole_is_judged_first() {
    let limits = Limits { event_bytes_max: 8, json_depth_max: 2 };
    let reason = |event: &[u8]| run(&flights(), &[], limits, event).map_err(|reject| reject.reason);
    assert_eq!(reason(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Err(Reason::TooLarge));
    assert_eq!(reason(b"\xff[[[["), Err(Reason::NotUtf8));
    assert_eq!(reason(b"[[[[}"), Err(Reason::TooDeep));
    assert_eq!(reason(br#"["[[\"["]"#), Err(Reason::TooLarge));
    assert_eq!(reason(br#"["[[\""]"#), Err(Reason::NotAnObject));
    assert_eq!(reason(b"[[],[]]"), Err(Reason::NotAnObject));
    assert_eq!(reason(b"[{},"), Err(Reason::NotJson));
    assert_eq!(reason(b"{}"), Err(Reason::RequiredFeatureMissing));
}

#[test]
fn what_is_no_object_is_told() {
    check_reject("", Reason::NotJson, "EOF while parsing a value at line 1 column 0");
    check_reject("\u{feff}{}", Reason::NotJson, "expected value at line 1 column 1");
    check_reject("{}\n{}", Reason::NotJson, "trailing characters at line 2 column 1");
    check_reject("{\"a\":01}", Reason::NotJson, "invalid number at line 1 column 7");
    check_reject("[1]", Reason::NotAnObject, "expected an object, found an array");
    check_reject("null ", Reason::NotAnObject, "expected an object, found null");
    check_reject("-1", Reason::NotAnObject, "expected an object, found a number");
    check_reject(
        b"{\"a\":\"\xff\"}",
        Reason::NotUtf8,
        "invalid utf-8 sequence of 1 bytes from index 6",
    );
}

#[test]
fn a_wrong_kind_is_told_with_its_place() {
    check_reject(
        r#"{"departure":{"delay":"12"}}"#,
        Reason::WrongKind,
        "`delay` at `/departure/delay`: expected a number, found a string",
    );
    check_reject(
        r#"{"departure":{"delay":[]},"late":1}"#,
        Reason::WrongKind,
        "`delay` at `/departure/delay`: expected a number, found an array",
    );
    check_reject(
        r#"{"late":1,"departure":{"delay":0}}"#,
        Reason::WrongKind,
        "`late` at `/late`: expected a boolean, found a number",
    );
    check_reject(
        r#"{"departure":{"delay":0},"carrier":{"UA":1}}"#,
        Reason::WrongKind,
        "`carrier` at `/carrier`: expected a string, a number or a boolean, found an object",
    );
    check_reject(
        r#"{"scheduled":"soon","carrier":"ZZ"}"#,
        Reason::WrongKind,
        r#"`hour` at `/scheduled`: expected a timestamp, found "soon""#,
    );
    check_reject(
        r#"{"scheduled":20130101}"#,
        Reason::WrongKind,
        "`hour` at `/scheduled`: expected a timestamp, found a number",
    );
}

#[test]
fn an_unknown_category_is_told_and_cut() {
    let check = |carrier: &str, told: &str| {
        let event = format!(r#"{{"departure":{{"delay":0}},"carrier":{carrier}}}"#);
        let message = format!("`carrier` at `/carrier`: {told} is not in the vocabulary");
        check_reject(event, Reason::UnknownCategory, &message);
    };
    check(r#""Z\"Z\n""#, r#""Z\"Z\n""#);
    check("8", "8");
    check("false", "false");
    check(r#""7""#, r#""7""#);
    // 63 bytes and half of an é would be 64.
    check(&format!("\"z{}é\"", "é".repeat(31)), &format!("\"z{}\"…", "é".repeat(31)));
}

#[test]
fn a_number_beyond_f64_is_refused_where_it_is_read() {
    let unread = r#"{"departure":{"delay":0},"x":1e999,"y":"\ud800"}"#;
    assert_eq!(row(unread)[1], 0.0);
    check_reject(
        r#"{"departure":{"delay":1e999}}"#,
        Reason::NotJson,
        "number out of range at line 1 column 27",
    );
    let capture = ["/departure/delay".to_owned(), "/departure".to_owned()];
    let event = br#"{"departure":{"delay":1e999}}"#;
    let reject = run(&flights(), &capture, LIMITS, event).unwrap_err();
    assert_eq!(reject.message, "number out of range at line 1 column 29");
    check_reject(
        r#"{"carrier":"\ud800"}"#,
        Reason::NotJson,
        "unexpected end of hex escape at line 1 column 19",
    );
}

#[test]
fn every_decimal_is_its_nearest_f64() {
    for text in [
        "0.1",
        "0.30000000000000004",
        "2.2250738585072014e-308",
        "1e-400",
        "-0.0",
        "-0",
        "9007199254740993",
        "9007199254740.993",
        "0.9007199254740992",
        "9999999999999999999",
        "-9223372036854775809",
        "18446744073709551616",
        "1.000000000000000000000000001",
        "0.000000000000000001",
        "123456789012345678.5",
        "4.35",
        "1E+5",
    ] {
        let event = format!(r#"{{"departure":{{"delay":{text}}}}}"#);
        assert_eq!(row(&event)[1].to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
    }
}

#[test]
fn a_million_brackets_where_nothing_is_read_cost_no_stack() {
    let deep = format!(
        r#"{{"x":{open}{close},"departure":{{"delay":0}}}}"#,
        open = "[".repeat(1 << 20),
        close = "]".repeat(1 << 20)
    );
    let limits = Limits { event_bytes_max: 1 << 22, json_depth_max: 1 << 21 };
    let captures = ["/x".to_owned()];
    let (_, texts) = run(&flights(), &captures, limits, deep.as_bytes()).unwrap();
    assert_eq!(texts[0].as_ref().unwrap().len(), 1 << 21);
    check_reject(&deep[..1 << 19], Reason::TooDeep, "objects and arrays nest deeper than 32");
}

#[test]
fn timestamps_are_read_off_the_clock_as_written() {
    let parts = ["month", "day", "weekday", "hour", "minute", "epoch_seconds"];
    let contract = features(
        parts
            .map(|part| json!({"name": part, "path": "/at", "kind": {"timestamp": {"part": part}}}))
            .into_iter()
            .collect(),
    );
    let check = |at: &str, expected: [f64; 6]| {
        let event = json!({ "at": at }).to_string();
        let row = run(&contract, &[], LIMITS, event.as_bytes()).unwrap().0;
        assert_eq!(row, expected, "{at}");
    };
    // 2013-01-01 is a Tuesday.
    check("2013-01-01T05:15:00-05:00", [1.0, 1.0, 1.0, 5.0, 15.0, 1_357_035_300.0]);
    check("2013-01-01T05:15:00Z", [1.0, 1.0, 1.0, 5.0, 15.0, 1_357_017_300.0]);
    check("2013-01-01T05:15", [1.0, 1.0, 1.0, 5.0, 15.0, 1_357_017_300.0]);
    check(
        "2013-01-01 05:15:00.25+01:00[Europe/Paris]",
        [1.0, 1.0, 1.0, 5.0, 15.0, 1_357_013_700.25],
    );
    check("2013-01-06", [1.0, 6.0, 6.0, 0.0, 0.0, 1_357_430_400.0]);
    check("1969-12-31T23:59:59.5Z", [12.0, 31.0, 2.0, 23.0, 59.0, -0.5]);
    for wrong in
        ["2013-02-30", "05:15", "", "9999-12-31T23:59:59-12:00", "2013-01-01T05:15:00-05:00x"]
    {
        let event = json!({ "at": wrong }).to_string();
        let reject = run(&contract, &[], LIMITS, event.as_bytes()).unwrap_err();
        assert_eq!(reject.reason, Reason::WrongKind, "{wrong}");
        assert!(reject.message.ends_with(&format!("found {wrong:?}")), "{reject}");
    }
}

#[test]
fn an_unknown_category_that_counts_as_missing_is_not_absent() {
    let contract = features(json!([
        {"name": "a", "path": "/a", "kind": {"category": {"vocabulary": ["x"]}}, "required": true},
        {"name": "b", "path": "/b", "kind": {"category": {"vocabulary": ["x"]}}, "missing": -1.0},
        {"name": "c", "path": "/b", "kind": {"category":
            {"vocabulary": ["x", 1], "unknown": "code"}}},
    ]));
    let (row, _) = run(&contract, &[], LIMITS, br#"{"a":"y","b":"y"}"#).unwrap();
    assert!(row[0].is_nan());
    assert_eq!(row[1..], [-1.0, 2.0]);
}

#[test]
fn numbers_are_categories_by_value() {
    let contract = features(json!([
        {"name": "n", "path": "/n", "kind": {"category": {"vocabulary": [7, -0.0, 0.1]}}},
    ]));
    for (number, code) in [("7.0", 0.0), ("70e-1", 0.0), ("0", 1.0), ("-0", 1.0), ("0.1", 2.0)] {
        let event = format!(r#"{{"n":{number}}}"#);
        assert_eq!(run(&contract, &[], LIMITS, event.as_bytes()).unwrap().0, [code], "{number}");
    }
}

#[test]
fn a_field_and_its_parent_can_both_be_features() {
    let contract = features(json!([
        {"name": "child", "path": "/a/b", "kind": "number"},
        {"name": "parent", "path": "/a", "kind": "boolean"},
    ]));
    let run = |event: &str| run(&contract, &[], LIMITS, event.as_bytes());
    assert_eq!(run(r#"{"a":{"b":1},"a":true}"#).unwrap().0[1], 1.0);
    let reject = run(r#"{"a":true,"a":{"b":1}}"#).unwrap_err();
    assert_eq!(reject.message, "`parent` at `/a`: expected a boolean, found an object");
}

#[test]
fn a_contract_that_cannot_be_meant_is_refused() {
    let number = |name: &str, path: &str| json!({"name": name, "path": path, "kind": "number"});
    let category =
        |terms| json!([{"name": "c", "path": "/c", "kind": {"category": {"vocabulary": terms}}}]);
    let refusal = |contract| refusal(&features(contract), &[]).to_string();
    assert_eq!(refusal(json!([])), "the contract has no features");
    assert_eq!(
        refusal(json!([number("a", "/a"), number("a", "/b")])),
        "feature `a` is described twice"
    );
    assert_eq!(refusal(json!([number("a", "a")])), "feature `a`: path `a` has to start with `/`");
    assert_eq!(
        refusal(json!([number("a", "")])),
        "feature `a`: path `` names the whole event, which is an object and no feature"
    );
    assert_eq!(
        refusal(json!([number("a", "/~2")])),
        "feature `a`: path `/~2` has a `~` that is neither `~0` (for `~`) nor `~1` (for `/`)"
    );
    assert_eq!(refusal(category(json!([]))), "feature `c`: the vocabulary is empty");
    assert_eq!(
        refusal(category(json!(["x", "1", 1, true, "true", 1.0]))),
        "feature `c`: 1 stands twice in the vocabulary"
    );
    assert_eq!(
        refusal(category(json!([0, -0.0]))),
        "feature `c`: 0 stands twice in the vocabulary"
    );
}

#[test]
fn a_capture_that_is_no_pointer_is_refused() {
    let refusal = refusal(&flights(), &["id".to_owned()]);
    assert_eq!(refusal.to_string(), "captured path `id` has to start with `/`");
}

fn refusal(contract: &[Feature], captures: &[String]) -> ContractError {
    Decoder::new(contract, captures, LIMITS).unwrap_err()
}

#[test]
fn a_decoder_is_shared_by_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&Decoder::new(&flights(), &[], LIMITS).unwrap());
}
