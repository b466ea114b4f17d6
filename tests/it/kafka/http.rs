//! Scoring over HTTP beside the stream: the same event gets the same prediction.

use std::process::Command;

use serde_json::{Value, json};

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::security::http::{address, ask};
use super::{feeder, model, topics};
use crate::schemas::assert_valid;

const TOKEN: &str = "0123456789abcdef-score";

fn deployment(name: &str) -> Deployment {
    Deployment::new(name, 2)
        .with("http.listen", "127.0.0.1:0")
        .with("output.carry.x", "/x")
        .with_variable("FORETELL_HTTP_TOKEN", TOKEN)
}

/// The answer to a request that has to be granted.
fn post(address: &str, path: &str, body: &str) -> Value {
    let token = format!("authorization: Bearer {TOKEN}");
    let headers = [token.as_str(), "content-type: application/json"];
    let answer = ask(address, &format!("POST {path}"), &headers, body);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("the answer is JSON")
}

fn json_of(value: Option<&[u8]>) -> Value {
    serde_json::from_slice(value.expect("a value")).expect("it is JSON")
}

/// Events, and what the topic says of them under a version; by id.
fn on_the_topic(deployment: &Deployment, version: &str, count: usize) -> Vec<(String, Value)> {
    let predictions = eventually(SOON, "predictions of all events", || {
        let records = topics::read(deployment, &deployment.topics.predictions);
        let all = records.iter().map(|record| json_of(record.value.as_deref()));
        let those: Vec<_> = all.filter(|it| it["version"] == version).collect();
        (those.len() >= count).then_some(those)
    });
    let events = topics::read(deployment, &deployment.topics.events);
    let event = |prediction: &Value| {
        let its = |event: &&foretell::bus::tail::Record| {
            json_of(event.value.as_deref())["id"] == prediction["id"]
        };
        let event = events.iter().find(its).expect("a prediction answers an event");
        String::from_utf8(event.value.clone().expect("a value")).expect("text")
    };
    predictions.into_iter().map(|prediction| (event(&prediction), prediction)).collect()
}

/// One by one, and all in one request.
#[track_caller]
fn compare(address: &str, answered: Vec<(String, Value)>) {
    let without_input = |mut prediction: Value| {
        let members = prediction.as_object_mut().expect("an object");
        members.remove("input").expect("on the topic an event has a place");
        prediction
    };
    let (events, predictions): (Vec<_>, Vec<_>) = answered.into_iter().unzip();
    let predictions: Vec<_> = predictions.into_iter().map(without_input).collect();
    for (event, prediction) in events.iter().zip(&predictions) {
        let found = post(address, "/predict", event);
        assert_eq!(found, *prediction, "of {event}");
        assert_valid("prediction", &found);
    }
    let all = post(address, "/predict", &format!("[{}]", events.join(",")));
    assert_eq!(all, json!(predictions));
    let texts = json!({"inputs": [
        {"name": "event", "datatype": "BYTES", "shape": [events.len()], "data": events}]});
    let tensors = post(address, "/v2/models/tiny/infer", &texts.to_string());
    let values: Vec<_> = predictions.iter().map(|it| it["prediction"].clone()).collect();
    assert_eq!(tensors["outputs"][0]["data"], json!(values));
    assert_eq!(tensors["model_version"], predictions[0]["version"]);
}

#[test]
fn a_prediction_over_http_is_that_of_the_topic_before_and_after_a_swap() {
    const COUNT: usize = 20;
    let deployment = deployment("ask");
    let mut instance = deployment.start();
    let address = address(&instance);
    feeder::burst(&deployment, COUNT as u64);
    compare(&address, on_the_topic(&deployment, "1", COUNT));
    deployment.announce(&model::bundle(2));
    // What the topic shows of a version, HTTP has as well: there is one slot.
    eventually(SOON, "a prediction of version 2", || {
        feeder::burst(&deployment, 1);
        let records = topics::read(&deployment, &deployment.topics.predictions);
        let is_second =
            |it: &foretell::bus::tail::Record| json_of(it.value.as_deref())["version"] == "2";
        records.iter().any(is_second).then_some(())
    });
    feeder::burst(&deployment, COUNT as u64);
    compare(&address, on_the_topic(&deployment, "2", COUNT));
    let rejected = post(&address, "/predict", r#"[{"id":"a","x":1},{"id":"b","x":"one"}]"#);
    assert_eq!(rejected[1]["error"]["reason"], "wrong_kind");
    assert_valid("rejection", &rejected[1]);
    let (end, _) = instance.terminate(SOON);
    assert_eq!(end.code, Some(0), "{}", end.said);
}

/// Whoever speaks the Open Inference Protocol need not know of us: here tritonclient (`tests/triton.sh`).
#[test]
fn a_client_of_the_open_inference_protocol_is_understood() {
    let deployment = deployment("triton");
    let instance = deployment.start();
    let address = address(&instance);
    eventually(SOON, "the instance to be ready", || {
        ask(&address, "GET /v2/health/ready", &[], "").starts_with("HTTP/1.1 200 ").then_some(())
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/triton.sh");
    let output = Command::new(script).args(["check", &address, TOKEN, "1"]).output();
    let output = output.expect("the script can be run");
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the client does not understand the instance:\n{talk}");
}
