mod scoring;

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};

use serde_json::Value;
use tokio::sync::oneshot;

use super::*;
use crate::bus::Fatal;
use crate::config::{Config, Token};
use crate::control::message::Message;
use crate::observe::reports::Report;
use crate::observe::samples;
use crate::predict::{self, Queue};
use crate::serving::Serving;
use crate::stop::Stop;
use crate::worker::Turn;

/// More than any answer takes; nobody waits for it but a test that fails.
const LONG: Duration = Duration::from_secs(30);
const TOKEN: &str = "0123456789abcdef";

/// An instance's HTTP, what it published, and what serves.
struct Server {
    address: SocketAddr,
    published: Arc<Mutex<Vec<Message>>>,
    status: Status,
    serving: Serving,
    /// Until somebody scores what is asked.
    queue: Option<Queue>,
    stop: Stop,
    done: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    fn of(status: Status) -> Self {
        Self::start(status, Bounds::default(), &bearers())
    }

    fn start(status: Status, bounds: Bounds, config: &Config) -> Self {
        Self::answering(status, bounds, config, |_| Ok(Some(7)))
    }

    fn answering(
        status: Status,
        bounds: Bounds,
        config: &Config,
        answer: impl Fn(&Message) -> Result<Option<i64>, Fatal> + Send + Sync + 'static,
    ) -> Self {
        let published = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&published);
        let publish = move |message: &Message| {
            seen.lock().unwrap().push(message.clone());
            answer(message)
        };
        let mut desk = Desk::with(config, Arc::new(publish));
        desk.door.body_timeout = Duration::from_millis(200);
        let (serving, stop) = (Serving::default(), Stop::default());
        let (asker, queue) = predict::queue(serving.clone(), stop.clone());
        let mut counter = Counter::new(&config.http, asker, status.clone());
        counter.door.body_timeout = Duration::from_millis(200);
        let router = router(status.clone(), desk, counter);
        let (done, over) = oneshot::channel::<()>();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let run = async move {
            let listener = TcpListener::from_std(listener).unwrap();
            serve(listener, router, bounds, async { drop(over.await) }).await;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let thread = thread::spawn(move || runtime.block_on(run));
        let (queue, done, threads) = (Some(queue), Some(done), vec![thread]);
        Self { address, published, status, serving, queue, stop, done, threads }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// The whole answer to one request.
    fn ask(&self, request: &str) -> String {
        self.exchange(&format!("{request} HTTP/1.1\r\nhost: h\r\n\r\n"))
    }

    fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect();
        // It may answer, and hang up, before it has taken all.
        let _ = stream.write_all(request.as_bytes());
        heard(&mut stream).expect("an answer")
    }

    fn wish(&self, token: Option<&str>, kind: &str, body: &str) -> String {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let length = body.len();
        self.exchange(&format!(
            "POST /retrain HTTP/1.1\r\nhost: h\r\n{}content-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}",
            token.unwrap_or_default()
        ))
    }

    fn published(&self) -> usize {
        self.published.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.request(Duration::ZERO);
        drop(self.done.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("the server has panicked");
            }
        }
    }
}

/// Everything until the other side hangs up; an error where it never does.
fn heard(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        // Hung up on with something of ours unread.
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
        _ => Ok(String::from_utf8(bytes).unwrap()),
    }
}

fn bearers() -> Config {
    let mut config = Config::default();
    config.model.name = "late-arrival".into();
    config.http.token = Some(Token::try_from(TOKEN.to_owned()).unwrap());
    config
}

#[track_caller]
fn is(answer: &str, code: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "expected {code}: {answer}");
}

/// It refuses, says what is wrong and what to do.
#[track_caller]
fn refuses(answer: &str, code: u16) {
    is(answer, code);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    for part in ["error", "hint"] {
        assert!(body[part].as_str().is_some_and(|text| !text.is_empty()), "no {part}: {body}");
    }
}

#[track_caller]
fn check(status: Status, request: &str, code: u16, holds: &[&str]) -> String {
    let answer = Server::of(status).ask(request);
    is(&answer, code);
    for part in holds {
        assert!(answer.contains(part), "{part} in {answer}");
    }
    answer
}

#[test]
fn probes_are_told_what_is_wrong() {
    let why = r#"{"latch":"workers_joined","why":"0 of 2 workers have joined the group"}"#;
    check(samples::starting(), "GET /readyz", 503, &[r#""ready":false"#, why]);
    check(samples::serving(), "GET /readyz", 200, &[r#""ready":true,"waits_for":[]"#]);
    check(samples::starting(), "GET /livez", 200, &[r#""live":true"#]);
    let status = samples::starting();
    status.worker(1).ended();
    check(status, "GET /livez", 503, &[r#"{"faults":["worker 1 has ended"],"live":false}"#]);
}

#[test]
fn probes_are_told_of_what_is_held_back_and_of_what_stands_still() {
    let status = samples::serving();
    status.worker(0).turned(&samples::holding(), samples::stand(0, 100, 7));
    let why = r#"{"latch":"nothing_held_back","why":"worker 0 has stopped: 2 of the last 3 events"#;
    check(status.clone(), "GET /readyz", 503, &[r#""ready":false"#, why]);
    check(status.clone(), "GET /livez", 200, &[r#""live":true"#]);
    status.worker(0).turned(&Turn::default(), samples::stand(0, 107, 0));
    check(status, "GET /readyz", 200, &[r#""ready":true"#]);
    // Whose patience is over at once.
    let status = Status::new(samples::identity(), 1, Duration::ZERO, Stop::default());
    status.worker(0).turned(&Turn::default(), samples::stand(5, 100, 7));
    let why = r#"{"latch":"partitions_move","why":"partition 5 stands still at worker 0 for 0 s"#;
    check(status, "GET /readyz", 503, &[why]);
}

#[test]
fn prometheus_reads_its_text_format() {
    let kind = "content-type: text/plain; version=0.0.4";
    let holds = [kind, "\nforetell_events_total 202\n", "\nforetell_ready 1\n"];
    check(samples::serving(), "GET /metrics", 200, &holds);
}

#[test]
fn the_status_is_the_report() {
    let answer = check(samples::serving(), "GET /status", 200, &["application/json"]);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let report: Report = serde_json::from_str(body).unwrap();
    assert_eq!(report.served.map(|served| served.version).as_deref(), Some("2"));
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let policy = "content-security-policy: default-src 'none'";
    let page = check(samples::serving(), "GET /", 200, &["text/html", policy, "/status"]);
    for elsewhere in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn other_methods_and_paths_are_refused() {
    let server = Server::of(samples::serving());
    for request in [
        "POST /status",
        "DELETE /",
        "BREW /livez",
        "GET /retrain",
        "OPTIONS /retrain",
        "GET /predict",
        "POST /v2",
    ] {
        refuses(&server.ask(request), 405);
    }
    for request in ["GET /elsewhere", "GET /../etc/passwd", "POST /retrain/x", "GET /v2/models"] {
        refuses(&server.ask(request), 404);
    }
    assert_eq!(server.published(), 0);
}

/// Bounds short enough for a test to see their ends.
fn tight() -> Bounds {
    Bounds {
        connections_max: 2,
        head_timeout: Duration::from_millis(300),
        connection_timeout: Duration::from_secs(3),
    }
}

/// Whoever sends a byte now and then is let go, and those who wait for the place get it.
#[test]
fn a_head_that_dribbles_holds_no_connection() {
    let server = Server::start(samples::serving(), tight(), &bearers());
    let mut slow: Vec<_> = (0..tight().connections_max).map(|_| server.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").unwrap();
    }
    let dribble = slow[0].try_clone().unwrap();
    let dribbler = thread::spawn(move || {
        let mut stream = dribble;
        let began = Instant::now();
        while began.elapsed() < LONG && stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
        began.elapsed()
    });
    is(&server.ask("GET /livez"), 200);
    assert!(dribbler.join().unwrap() < LONG, "the dribbler was never let go");
    for stream in &mut slow {
        let answer = heard(stream).expect("it hangs up");
        assert!(!answer.contains(" 200 "), "{answer}");
    }
}

#[test]
fn a_body_that_dribbles_holds_no_connection() {
    let server = Server::of(samples::serving());
    let mut stream = server.connect();
    write!(
        stream,
        "POST /retrain HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    )
    .unwrap();
    refuses(&heard(&mut stream).expect("it hangs up"), 408);
    assert_eq!(server.published(), 0);
}

/// Clients that send nothing at all.
#[test]
fn a_connection_has_an_end() {
    let bounds =
        Bounds { head_timeout: LONG, connection_timeout: Duration::from_millis(300), ..tight() };
    let server = Server::start(samples::serving(), bounds, &bearers());
    let mut silent: Vec<_> = (0..bounds.connections_max).map(|_| server.connect()).collect();
    is(&server.ask("GET /livez"), 200);
    for stream in &mut silent {
        assert_eq!(heard(stream).expect("it hangs up"), "");
    }
}

#[test]
fn too_much_is_not_taken() {
    let server = Server::of(samples::serving());
    let long = "x".repeat(2 * HEAD_BYTES_MAX);
    is(&server.exchange(&format!("GET /livez HTTP/1.1\r\nhost: h\r\nx: {long}\r\n\r\n")), 431);
    let many = "x: y\r\n".repeat(1000);
    is(&server.exchange(&format!("GET /livez HTTP/1.1\r\nhost: h\r\n{many}\r\n")), 431);
    let huge = format!(r#"{{"reason":"{}"}}"#, "x".repeat(1_000_000));
    refuses(&server.wish(Some(TOKEN), "application/json", &huge), 413);
    // Of who may not ask, no body is read.
    refuses(&server.wish(None, "application/json", &huge), 401);
    is(&server.exchange("\0\u{1}\u{2} nonsense\r\n\r\n"), 400);
    is(&server.ask("GET /livez"), 200);
    assert_eq!(server.published(), 0);
}

#[test]
fn who_bears_the_token_may_ask_for_training_and_not_without_end() {
    let server = Server::of(samples::serving());
    let wish = |token, body| server.wish(token, "application/json", body);
    refuses(&wish(None, "{}"), 401);
    for wrong in ["0123456789abcdeF", "0123456789abcde", "0123456789abcdef0", "***", ""] {
        let answer = wish(Some(wrong), "{}");
        refuses(&answer, 401);
        assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
    }
    refuses(&server.wish(Some(TOKEN), "text/plain", "{}"), 415);
    for nonsense in ["[", "[]", r#"{"reason":3}"#, r#"{"model":"other"}"#] {
        refuses(&wish(Some(TOKEN), nonsense), 400);
    }
    assert_eq!(server.published(), 0);
    let answer = wish(Some(TOKEN), r#"{"reason":"drift in dep_delay"}"#);
    is(&answer, 200);
    assert!(answer.contains(r#""control_offset":7"#), "{answer}");
    let (model, reason) = ("late-arrival".into(), Some("drift in dep_delay".into()));
    assert_eq!(*server.published.lock().unwrap(), [Message::RetrainRequest { model, reason }]);
    let answer = wish(Some(TOKEN), "");
    refuses(&answer, 429);
    assert!(answer.contains("retry-after: 1"), "{answer}");
    assert_eq!(server.published(), 1);
}

#[test]
fn without_a_token_nobody_may_ask_unless_everybody_may() {
    let mut config = bearers();
    config.http.token = None;
    let server = Server::start(samples::serving(), Bounds::default(), &config);
    refuses(&server.wish(None, "application/json", "{}"), 403);
    refuses(&server.wish(Some(TOKEN), "application/json", "{}"), 403);
    config.http.allow_anonymous = true;
    let server = Server::start(samples::serving(), Bounds::default(), &config);
    is(&server.wish(None, "application/json; charset=utf-8", ""), 200);
    assert_eq!(server.published(), 1);
}

#[test]
fn a_wish_that_no_broker_takes_is_told_so() {
    let gone = |_: &Message| Err(Fatal::Unavailable("no broker\n\nhint: look".into()));
    let server = Server::answering(samples::serving(), Bounds::default(), &bearers(), gone);
    let answer = server.wish(Some(TOKEN), "application/json", "{}");
    refuses(&answer, 503);
    assert!(answer.contains(r#"{"error":"no broker","hint":"look"}"#), "{answer}");
}
