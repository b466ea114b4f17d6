//! Questions and answers, without HTTP.

use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};

use super::*;
use crate::features::contract::Feature;
use crate::model::tiny;
use crate::reject::Reason;

const LIMITS: Limits = Limits { event_bytes_max: 1_024, json_depth_max: 8 };
const TILE_ROWS: usize = 8;

/// The two ends, and a version that says 0.9 where `x` is above a half, else 0.2.
fn scene() -> (Asker, Answerer, Stop) {
    let (asker, answerer, serving, stop) = empty_scene();
    let version = tiny::version("7", &["x", "y"], 0.5, [0.2, 0.9]);
    serving.swap(Arc::new(Served::alone(version, Some(41))));
    (asker, answerer, stop)
}

fn empty_scene() -> (Asker, Answerer, Serving, Stop) {
    let (serving, stop) = (Serving::default(), Stop::default());
    let (asker, queue) = queue(serving.clone(), stop.clone());
    let encoder = Encoder::new("events", &Default::default());
    (asker, Answerer::new(queue, encoder, LIMITS, TILE_ROWS), serving, stop)
}

fn ask(asker: &Asker, form: Form, body: impl Into<Vec<u8>>) -> Result<Receiver<Reply>, Refusal> {
    let (tell, told) = channel();
    let reply = Box::new(move |reply| tell.send(reply).expect("the test listens"));
    asker.ask(Question { form, body: body.into(), reply }).map(|()| told)
}

/// The answer to one question.
fn answer(form: Form, body: impl Into<Vec<u8>>) -> Result<Value, Refusal> {
    let (asker, mut answerer, _) = scene();
    let told = ask(&asker, form, body).expect("there is room");
    let first = answerer.queue.wait().expect("a question");
    answerer.round(first);
    let reply = told.recv().expect("an answer");
    reply.map(|answer| serde_json::from_slice(&answer.body).expect("an answer is JSON"))
}

fn tensors() -> Form {
    Form::Tensors { model: "tiny".into(), version: None }
}

fn infer(request: Value) -> Result<Value, Refusal> {
    answer(tensors(), request.to_string())
}

fn input(name: &str, data: Value) -> Value {
    let rows = data.as_array().map_or(0, Vec::len);
    json!({"name": name, "datatype": "FP64", "shape": [rows], "data": data})
}

/// Each with its own reply, by the version and the message that chose it.
#[test]
fn what_waits_is_answered_in_one_round_and_before_the_end() {
    let (asker, answerer, stop) = scene();
    let one = ask(&asker, Form::Events, r#"{"x":1,"y":0}"#).unwrap();
    let many = ask(&asker, Form::Events, r#"[{"x":0,"y":0},{"x":1,"y":0}]"#).unwrap();
    let columns = json!({"inputs": [input("x", json!([1, 0])), input("y", json!([0, 0]))]});
    let columns = ask(&asker, tensors(), columns.to_string()).unwrap();
    let broken = ask(&asker, Form::Events, "[").unwrap();
    let last = ask(&asker, Form::Events, r#"{"x":0,"y":0}"#).unwrap();
    stop.request(Duration::from_secs(9));
    thread::spawn(move || answerer.run()).join().unwrap();
    let json = |told: Receiver<Reply>| -> Value {
        serde_json::from_slice(&told.recv().unwrap().unwrap().body).unwrap()
    };
    let (one, last) = (json(one), json(last));
    assert_eq!((&one["prediction"], &last["prediction"]), (&json!(1), &json!(0)));
    assert_eq!((&one["version"], &one["control_offset"]), (&json!("7"), &json!(41)));
    let many = json(many);
    assert_eq!((&many[0], &many[1]), (&last, &one));
    let columns = json(columns);
    assert_eq!(columns["outputs"][0]["data"], json!([one["probability"], last["probability"]]));
    assert_eq!(columns["parameters"]["control_offset"], 41);
    assert!(matches!(broken.recv().unwrap(), Err(Refusal::Malformed(_))));
    assert_eq!(ask(&asker, Form::Events, "{}").unwrap_err(), Refusal::Stopping);
}

#[test]
fn a_full_queue_takes_no_more_and_loses_nothing() {
    let (asker, answerer, stop) = scene();
    let event = r#"{"x":1,"y":0}"#;
    let told: Vec<_> = (0..QUEUE_MAX).map(|_| ask(&asker, Form::Events, event).unwrap()).collect();
    assert_eq!(ask(&asker, Form::Events, event).unwrap_err(), Refusal::Busy);
    stop.request(Duration::from_secs(9));
    answerer.run();
    assert!(told.iter().all(|told| told.recv().unwrap().is_ok_and(|it| it.predicted == 1)));
}

/// A request may fill a tile, and so may the next.
#[test]
fn requests_as_large_as_they_may_be_share_a_round() {
    let (asker, answerer, stop) = scene();
    let events = vec![json!({"x": 1, "y": 0}); TILE_ROWS];
    let small = ask(&asker, Form::Events, r#"{"x":1,"y":0}"#).unwrap();
    let told = [(); 3].map(|()| ask(&asker, Form::Events, json!(events).to_string()).unwrap());
    stop.request(Duration::from_secs(9));
    answerer.run();
    assert_eq!(small.recv().unwrap().unwrap().predicted, 1);
    assert!(told.iter().all(|told| told.recv().unwrap().unwrap().predicted == TILE_ROWS));
    let many = json!(vec![json!({"x": 1, "y": 0}); TILE_ROWS + 1]).to_string();
    assert_eq!(answer(Form::Events, many), Err(Refusal::TooMany(TILE_ROWS)));
}

#[test]
fn without_a_version_there_is_no_answer() {
    let (asker, mut answerer, ..) = empty_scene();
    let told = ask(&asker, Form::Events, "{}").unwrap();
    let first = answerer.queue.wait().unwrap();
    answerer.round(first);
    assert_eq!(told.recv().unwrap().unwrap_err(), Refusal::NothingServes);
}

#[test]
fn an_event_alone_is_refused_with_its_reason() {
    let deep = format!("{}1{}", r#"{"x":"#.repeat(9), "}".repeat(9));
    let long = format!(r#"{{"x":1,"y":0,"z":"{}"}}"#, "z".repeat(2_000));
    let cases: [(&[u8], Reason); 9] = [
        (b"", Reason::NotJson),
        (b" \n", Reason::NotJson),
        (b"{\"x\":NaN,\"y\":0}", Reason::NotJson),
        (b"{\"x\":1,\"y\":0}{}", Reason::NotJson),
        (b"{\"x\":1,\"y\":0,\"z\":\"\xff\"}", Reason::NotUtf8),
        (b"17", Reason::NotAnObject),
        (b"{\"x\":1}", Reason::RequiredFeatureMissing),
        (deep.as_bytes(), Reason::TooDeep),
        (long.as_bytes(), Reason::TooLarge),
    ];
    for (body, reason) in cases {
        match answer(Form::Events, body) {
            Err(Refusal::Rejected { row: 0, reject }) => assert_eq!(reject.reason, reason),
            other => panic!("{}: {other:?}", String::from_utf8_lossy(body)),
        }
    }
}

#[test]
fn one_bad_event_of_an_array_is_told_in_its_place() {
    let body = r#" [ {"x":1,"y":0}, {"x":"1","y":0}, 3, {"y":0,"x":0} ] "#;
    let answers = answer(Form::Events, body).unwrap();
    let reasons: Vec<_> = (0..4).map(|row| answers[row]["error"]["reason"].as_str()).collect();
    assert_eq!(reasons, [None, Some("wrong_kind"), Some("not_an_object"), None]);
    let why = answers[1]["error"]["message"].as_str().unwrap();
    assert!(why.contains("`x` at `/x`"), "{why}");
    assert_eq!((&answers[0]["prediction"], &answers[3]["prediction"]), (&json!(1), &json!(0)));
    assert_eq!(answer(Form::Events, "[]"), Ok(json!([])));
}

#[test]
fn an_array_that_is_no_json_is_refused_whole() {
    let deep = "[".repeat(1 << 20);
    let bodies: [&[u8]; 7] =
        [b"[", b"[{}", b"[{},]", b"[NaN]", b"[{}] x", b"[\"\xff\"]", deep.as_bytes()];
    for body in bodies {
        let answer = answer(Form::Events, body);
        assert!(matches!(answer, Err(Refusal::Malformed(_))), "{answer:?}");
    }
    // However many there are, no more than the bound are looked at.
    let many = format!("[{}", "1,".repeat(1 << 20));
    assert_eq!(answer(Form::Events, many), Err(Refusal::TooMany(TILE_ROWS)));
}

#[test]
fn whole_events_may_be_a_tensor_of_text() {
    let events = [r#"{"x":1,"y":0}"#, "{\"x\":0,\n\"y\":0}"];
    let request = json!({"id": "a", "inputs": [
        {"name": "event", "datatype": "BYTES", "shape": [2], "data": events}
    ], "outputs": [{"name": "prediction"}]});
    assert_eq!(
        infer(request).unwrap(),
        json!({"id": "a", "model_name": "tiny", "model_version": "7",
            "parameters": {"control_offset": 41}, "outputs": [
            {"name": "prediction", "datatype": "INT64", "shape": [2], "data": [1, 0]}]})
    );
}

#[test]
fn tensors_come_flat_and_nested() {
    let nested = json!({"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [[1], [0]]});
    let flat = json!({"name": "y", "datatype": "INT8", "shape": [2, 1], "data": [0, 0]});
    let answer = infer(json!({"inputs": [nested, flat]})).unwrap();
    assert_eq!(answer["outputs"][1]["data"], json!([1, 0]));
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let (x, y) = (input("x", json!([1, 0])), input("y", json!([0, 0])));
    let with = |field: &str, value: Value| {
        let mut x = x.clone();
        x[field] = value;
        json!({"inputs": [x, y]})
    };
    let cases = [
        (json!({}), "missing field `inputs`"),
        (json!({"inputs": []}), "no inputs"),
        (json!({"inputs": [x, y, x]}), "input `x` stands there twice"),
        (json!({"inputs": [x, y, input("z", json!([1, 0]))]}), "input `z` is no feature"),
        (json!({"inputs": [x, input("y", json!([1]))]}), "2 rows"),
        (json!({"inputs": [x, y], "outputs": [{"name": "z"}]}), "no output `z`"),
        (with("shape", json!([3])), "its shape says 3"),
        (with("shape", json!([1])), "more than 1"),
        (with("shape", json!([2, 2])), "[n] or [n, 1]"),
        (with("shape", json!([-2])), "invalid value"),
        (with("datatype", json!("FP16")), "FP16"),
        (with("datatype", json!("BOOL")), "BOOL"),
        (with("data", json!([1, "1"])), "\"1\""),
        (with("data", json!({})), "`data`"),
        (with("parameters", json!({"binary_data_size": 16})), "binary"),
        (
            json!({"inputs": [{"name": "event", "datatype": "FP64", "shape": [1], "data": [1]}]}),
            "BYTES",
        ),
        (
            json!({"inputs": [{"name": "event", "datatype": "BYTES", "shape": [1], "data": [1]}]}),
            "no text",
        ),
    ];
    for (request, why) in cases {
        match infer(request.clone()) {
            Err(Refusal::Malformed(error)) => assert!(error.contains(why), "{why}: {error}"),
            other => panic!("{request}: {other:?}"),
        }
    }
    let many = json!({"inputs": [with("shape", json!([9]))["inputs"][0]]});
    assert_eq!(infer(many), Err(Refusal::TooMany(TILE_ROWS)));
}

/// A tensor has no place for a reject.
#[test]
fn a_row_that_is_refused_refuses_its_request() {
    for (x, reason) in
        [(json!([1, null]), Reason::RequiredFeatureMissing), (json!([1, 1e308]), Reason::NonFinite)]
    {
        let request = json!({"inputs": [input("x", x), input("y", json!([0, 0]))]});
        match infer(request) {
            Err(Refusal::Rejected { row: 1, reject }) => assert_eq!(reject.reason, reason),
            other => panic!("{reason}: {other:?}"),
        }
    }
}

#[test]
fn another_model_or_version_is_not_served() {
    let body = json!({"inputs": [input("x", json!([1])), input("y", json!([0]))]}).to_string();
    for (model, version, is_it) in
        [("tiny", Some("7"), true), ("tiny", Some("6"), false), ("late-arrival", None, false)]
    {
        let form = Form::Tensors { model: model.into(), version: version.map(Into::into) };
        let answer = answer(form, body.clone());
        assert_eq!(matches!(answer, Err(Refusal::NotServed(_))), !is_it, "{model}: {answer:?}");
    }
}

/// And nothing keeps the version before in memory.
#[test]
fn after_a_swap_tensors_are_those_of_the_new_contract() {
    let (asker, mut answerer, serving, _) = empty_scene();
    let mut infer = |name| {
        let body = json!({"inputs": [input(name, json!([1]))]}).to_string();
        let told = ask(&asker, tensors(), body).unwrap();
        let first = answerer.queue.wait().unwrap();
        answerer.round(first);
        told.recv().unwrap().is_ok()
    };
    let first = tiny::version("1", &["x"], 0.5, [0.2, 0.9]);
    let weak = Arc::downgrade(&first);
    serving.swap(Arc::new(Served::alone(first, None)));
    assert!(infer("x") && !infer("z"));
    let second = tiny::version("2", &["z"], 0.5, [0.2, 0.9]);
    serving.swap(Arc::new(Served::alone(second, Some(1))));
    assert!(weak.upgrade().is_none(), "the version before is kept");
    assert!(infer("z") && !infer("x"));
}

#[test]
fn metadata_names_the_features_and_what_comes_out() {
    let version = tiny::version("7", &["x", "y"], 0.5, [0.2, 0.9]);
    let tensor = |name, datatype| json!({"name": name, "datatype": datatype, "shape": [-1]});
    assert_eq!(
        serde_json::to_value(metadata(&version)).unwrap(),
        json!({"name": "tiny", "versions": ["7"], "platform": "foretell",
            "inputs": [tensor("x", "FP64"), tensor("y", "FP64")],
            "outputs": [tensor("probability", "FP64"), tensor("prediction", "INT64")]})
    );
}

/// A flat event makes the row that the event makes.
#[test]
fn flat_events_are_decoded_like_those_of_production() {
    let contract: Vec<Feature> = serde_json::from_value(json!([
        {"name": "a/b~c", "path": "/deep/x", "kind": "number"},
        {"name": "late", "path": "/late", "kind": "boolean"},
        {"name": "carrier", "path": "/c", "kind": {"category": {"vocabulary": ["UA", "AA"]}}},
        {"name": "month", "path": "/t", "kind": {"timestamp": {"part": "month"}}},
        {"name": "hour", "path": "/t", "kind": {"timestamp": {"part": "hour"}}},
        {"name": "gone", "path": "/gone", "kind": "number", "missing": -1.0},
    ]))
    .unwrap();
    let row = |contract: &[Feature], event: Value| {
        let decoder = Decoder::new(contract, &[], LIMITS).unwrap();
        let mut row = ndarray::Array1::zeros(contract.len());
        decoder.decode(event.to_string().as_bytes(), row.view_mut(), &mut []).unwrap();
        row
    };
    let event = json!({"deep": {"x": 3}, "late": true, "c": "AA", "t": "2013-12-01T05:15:00Z"});
    let flat = json!({"a/b~c": 3, "late": true, "carrier": "AA", "month": 12, "hour": 5});
    assert_eq!(row(&contract, event), row(&tensors::flat(&contract), flat));
}
