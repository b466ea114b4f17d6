//! HTTP of an instance at work: the one wish that it takes, and those who would only keep it busy.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use foretell::control::message::Message;
use serde_json::Value;

use crate::kafka::deployment::Deployment;
use crate::kafka::eventually::{SOON, eventually};
use crate::kafka::feeder::Feeder;
use crate::kafka::instance::Instance;
use crate::kafka::probe::Probe;
use crate::kafka::{model, topics};

/// Where an instance listens that was told to choose a port.
pub fn address(instance: &Instance) -> String {
    eventually(SOON, "an instance to say where it listens", || {
        let said = instance.said();
        let mut lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let started = lines.find(|line| line["message"] == "started")?;
        started["http"].as_str().map(str::to_owned)
    })
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a time can be set");
    stream
}

/// The whole answer to a request with these headers, and a body if there is one.
pub fn ask(address: &str, request: &str, headers: &[&str], body: &str) -> String {
    let mut stream = connect(address);
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let sent = write!(
        stream,
        "{request} HTTP/1.1\r\nhost: h\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    sent.expect("the request is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers, and hangs up");
    answer
}

#[test]
fn a_wish_for_training_stands_on_the_control_topic() {
    const TOKEN: &str = "0123456789abcdef-wish";
    let deployment = Deployment::new("wish", 1)
        .with("http.listen", "127.0.0.1:0")
        .with_variable("FORETELL_HTTP_TOKEN", TOKEN);
    let instance = deployment.start();
    let address = address(&instance);
    let wish = |token: &str| {
        let token = format!("authorization: Bearer {token}");
        let headers = [token.as_str(), "content-type: application/json"];
        ask(&address, "POST /retrain", &headers, r#"{"reason":"drift in x"}"#)
    };
    let refused = wish("0123456789abcdef-wisH");
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let taken = wish(TOKEN);
    assert!(taken.starts_with("HTTP/1.1 200 "), "{taken}");
    assert!(taken.contains(r#""control_offset":0"#), "{taken}");
    let records = topics::read(&deployment, &deployment.topics.control);
    let values: Vec<_> = records.iter().filter_map(|record| record.value.as_deref()).collect();
    let (model, reason) = (model::NAME.to_owned(), Some("drift in x".to_owned()));
    let said: Vec<_> =
        values.iter().map(|value| Message::parse(value).expect("a message")).collect();
    assert_eq!(said, [Message::RetrainRequest { model, reason }]);
    assert_eq!(records[0].key.as_deref(), Some(model::NAME.as_bytes()));
}

/// More clients than there are places, none of which ever finishes what it says.
#[test]
fn a_flood_of_clients_never_touches_scoring() {
    const CLIENTS: usize = 100;
    let deployment = Arc::new(Deployment::new("flood", 2).with("http.listen", "127.0.0.1:0"));
    let feeder = Feeder::start(&deployment, 500);
    let mut instance = deployment.start();
    let address = address(&instance);
    let mut probe = Probe::new(&deployment);
    probe.await_answers(SOON, 500);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(&address)).collect();
    for client in &mut clients {
        // Some are let go already.
        let _ = client.write_all(b"GET /status HTTP/1.1\r\nx: ");
        let _ = client.set_read_timeout(Some(Duration::from_millis(1)));
    }
    let before = probe.answered();
    probe.await_answers(SOON, before + 1000);
    // Whoever waits long enough is heard: those before it are let go one after the other.
    let answer = ask(&address, "GET /livez", &[], "");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
    let (end, _) = instance.terminate(SOON);
    assert_eq!(end.code, Some(0), "{}", end.said);
}
