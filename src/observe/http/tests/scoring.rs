//! Scoring by request, over sockets.

use std::sync::mpsc::channel;

use super::*;
use crate::encode::Encoder;
use crate::features::decode::Limits;
use crate::model::tiny;
use crate::predict::{Answerer, QUEUE_MAX};
use crate::serving::Served;

const JSON: &str = "application/json";

impl Server {
    /// Serves version 2, and scores what is asked.
    fn scoring(config: &Config) -> Self {
        let mut server = Self::start(samples::serving(), Bounds::default(), config);
        server.serving.swap(served(Some(41)));
        server.score();
        server
    }

    /// From now on somebody scores what is asked.
    fn score(&mut self) {
        let queue = self.queue.take().expect("nobody does yet");
        let limits = Limits { event_bytes_max: 1_024, json_depth_max: 8 };
        let encoder = Encoder::new("events", &Default::default());
        let answerer = Answerer::new(queue, encoder, limits, 16);
        self.threads.push(thread::spawn(move || answerer.run()));
    }

    fn post(&self, path: &str, token: Option<&str>, headers: &str, body: &str) -> String {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let (token, length) = (token.unwrap_or_default(), body.len());
        self.exchange(&format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\n{token}{headers}content-length: {length}\r\n\r\n{body}"
        ))
    }

    fn predict(&self, body: &str) -> String {
        self.post("/predict", Some(TOKEN), "content-type: application/json\r\n", body)
    }

    fn infer(&self, path: &str, body: &str) -> String {
        self.post(path, Some(TOKEN), "", body)
    }
}

/// Says 0.9 where `x` is above a half, else 0.2.
fn served(control_offset: Option<i64>) -> Arc<Served> {
    let version = tiny::version("2", &["x"], 0.5, [0.2, 0.9]);
    Arc::new(Served::alone(version, control_offset))
}

#[track_caller]
fn json(answer: &str, code: u16) -> Value {
    is(answer, code);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-type: {JSON}")), "{head}");
    serde_json::from_str(body).unwrap()
}

#[test]
fn events_are_scored_and_counted() {
    let server = Server::scoring(&bearers());
    let one = json(&server.predict(r#"{"x":1.5}"#), 200);
    assert_eq!((&one["version"], &one["control_offset"]), (&"2".into(), &41.into()));
    assert!(one.get("input").is_none() && one.get("id").is_none(), "{one}");
    let many = json(&server.predict(r#"[{"x":1.5},{"x":"a"}]"#), 200);
    assert_eq!(many[0], one);
    assert_eq!(many[1]["error"]["reason"], "wrong_kind");
    let refused = json(&server.predict(r#"{"x":"a"}"#), 422);
    assert_eq!(refused, many[1]);
    let text = server.status.metrics();
    for series in [
        // The samples hold one request, of two predictions and a rejection.
        r#"foretell_http_requests_total{code="200"} 3"#,
        r#"foretell_http_requests_total{code="422"} 1"#,
        r#"foretell_http_events_total{outcome="predicted"} 4"#,
        r#"foretell_http_events_total{outcome="rejected"} 3"#,
        "foretell_http_request_seconds_count 4",
    ] {
        assert!(text.contains(&format!("\n{series}\n")), "{series} in\n{text}");
    }
    assert!(text.contains("\nforetell_events_total 202\n"), "the stream's events are others");
}

#[test]
fn scoring_needs_the_token() {
    let server = Server::scoring(&bearers());
    for path in ["/predict", "/v2/models/tiny/infer"] {
        refuses(&server.post(path, None, "content-type: application/json\r\n", "{}"), 401);
        refuses(&server.post(path, Some("0123456789abcdeF"), "", "{}"), 401);
    }
    let mut config = bearers();
    config.http.token = None;
    let closed = Server::scoring(&config);
    refuses(&closed.post("/predict", None, "content-type: application/json\r\n", "{}"), 403);
    config.http.allow_anonymous = true;
    let open = Server::scoring(&config);
    is(&open.post("/predict", None, "content-type: application/json\r\n", r#"{"x":1}"#), 200);
}

#[test]
fn hostile_bodies_are_refused() {
    let mut config = bearers();
    config.http.body_bytes_max = 4_096;
    let server = Server::scoring(&config);
    for body in ["", "nonsense", r#"{"x":NaN}"#, "null"] {
        assert!(json(&server.predict(body), 422)["error"]["reason"].is_string(), "{body}");
    }
    let deep = "[".repeat(4_000);
    for body in ["[", "[{}", "[{}]]", "[NaN]", &deep] {
        refuses(&server.predict(body), 400);
    }
    refuses(&server.predict(&format!("[{}1]", "1,".repeat(16))), 413);
    refuses(&server.predict(&" ".repeat(1_000_000)), 413);
    let kinds = ["", "content-type: text/plain\r\n", "content-type: application/jsonx\r\n"];
    for kind in kinds {
        refuses(&server.post("/predict", Some(TOKEN), kind, "{}"), 415);
    }
    for body in ["", "[]", "{}", r#"{"inputs":[{}]}"#, &deep] {
        refuses(&server.infer("/v2/models/tiny/infer", body), 400);
    }
    let binary = "inference-header-content-length: 2\r\n";
    refuses(&server.post("/v2/models/tiny/infer", Some(TOKEN), binary, "{}"), 400);
    is(&server.predict(r#"{"x":1}"#), 200);
}

#[test]
fn an_event_that_dribbles_holds_no_place() {
    let server = Server::scoring(&bearers());
    let mut stream = server.connect();
    write!(
        stream,
        "POST /predict HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: {JSON}\r\ncontent-length: 100\r\n\r\n{{"
    )
    .unwrap();
    refuses(&heard(&mut stream).expect("it hangs up"), 408);
}

/// While nobody scores, as many wait as may; one more is sent away, probes are heard, and all that
/// wait are answered in the end.
#[test]
fn a_full_queue_sends_away_and_keeps_probes() {
    let mut server = Server::start(samples::serving(), Bounds::default(), &bearers());
    server.serving.swap(served(None));
    let request = format!(
        "POST /predict HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: {JSON}\r\ncontent-length: 7\r\n\r\n{{\"x\":1}}"
    );
    let (tell, told) = channel();
    for _ in 0..=QUEUE_MAX {
        let (mut stream, tell) = (server.connect(), tell.clone());
        stream.write_all(request.as_bytes()).unwrap();
        thread::spawn(move || tell.send(heard(&mut stream).expect("an answer")));
    }
    let away = told.recv_timeout(LONG).expect("one is sent away");
    refuses(&away, 503);
    assert!(away.contains("retry-after: 1"), "{away}");
    is(&server.ask("GET /livez"), 200);
    server.score();
    for _ in 0..QUEUE_MAX {
        is(&told.recv_timeout(LONG).expect("who waits is answered"), 200);
    }
}

#[test]
fn there_is_no_answer_before_a_version_serves_nor_after_the_stop() {
    let mut server = Server::start(samples::starting(), Bounds::default(), &bearers());
    server.score();
    let early = server.predict(r#"{"x":1}"#);
    refuses(&early, 503);
    assert!(early.contains("no version serves yet"), "{early}");
    refuses(&server.ask("GET /v2/models/tiny/ready"), 503);
    server.serving.swap(served(None));
    is(&server.predict(r#"{"x":1}"#), 200);
    server.stop.request(Duration::from_secs(9));
    refuses(&server.predict(r#"{"x":1}"#), 503);
}

#[test]
fn the_open_inference_protocol_is_spoken() {
    let server = Server::scoring(&bearers());
    for path in [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/tiny/ready",
        "/v2/models/tiny/versions/2/ready",
    ] {
        json(&server.ask(&format!("GET {path}")), 200);
    }
    let metadata = json(&server.ask("GET /v2/models/tiny/versions/2"), 200);
    assert_eq!(metadata["inputs"][0]["name"], "x");
    let body = r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP64","data":[1.5,0]}]}"#;
    let answer = json(&server.infer("/v2/models/tiny/infer", body), 200);
    let one = json(&server.predict(r#"{"x":1.5}"#), 200);
    assert_eq!(answer["outputs"][0]["name"], "probability");
    assert_eq!(answer["outputs"][0]["data"], serde_json::json!([0.9, 0.2]));
    assert_eq!(one["probability"], 0.9);
    is(&server.infer("/v2/models/tiny/versions/2/infer", body), 200);
    for path in ["/v2/models/tiny/versions/1/infer", "/v2/models/other/infer"] {
        refuses(&server.infer(path, body), 404);
    }
    for path in ["/v2/models/other", "/v2/models/tiny/versions/1/ready"] {
        refuses(&server.ask(&format!("GET {path}")), 404);
    }
}
