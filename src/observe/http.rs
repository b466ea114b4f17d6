//! HTTP: the status, for probes, Prometheus, programs and people. Nothing here changes anything.
//!
//! | Path | Answer |
//! | --- | --- |
//! | `/livez` | 200, or 503 when only a restart can help; JSON names what is wrong |
//! | `/readyz` | 200, or 503 while it does not serve, all of it or at all; JSON names what it waits for |
//! | `/metrics` | Prometheus's text format |
//! | `/status` | the [`Report`](super::reports::Report) of this moment, as JSON |
//! | `/` | a page for people, which asks `/status` once a second |

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time;

use super::status::Status;

/// More clients than this wait until one of them goes.
const CONNECTIONS_MAX: usize = 64;
/// A client that has not sent the head of its request by then is let go, idle ones too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// All that a request's head may take, in bytes.
const HEAD_BYTES_MAX: usize = 16_384;
/// How long answers in hand are waited for at the end.
const GRACE: Duration = Duration::from_secs(1);

/// The page is one file: nothing is loaded from elsewhere, and it may talk to us only.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

/// Answers requests on `listener` until `shutdown`. Ask for that late: while an instance drains,
/// probes should hear that it is not ready rather than nothing.
pub async fn serve(listener: TcpListener, status: Status, shutdown: impl Future<Output = ()>) {
    let service = TowerToHyperService::new(router(status));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let connections = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            // Never closed, so always granted.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (listener.accept().await, slot)
        };
        let (accepted, slot) = tokio::select! {
            next = next => next,
            () = &mut shutdown => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: they come back, but not at once.
                tracing::debug!(%error, "accepting a connection");
                time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    // Whoever does not take an answer by then goes without.
    let _ = time::timeout(GRACE, connections.shutdown()).await;
}

/// The paths, for a server or a test.
pub fn router(status: Status) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(report))
        .route("/", get(page))
        .with_state(status)
}

async fn live(State(status): State<Status>) -> Response {
    let faults = status.faults(Instant::now());
    answer(faults.is_empty(), json!({"live": faults.is_empty(), "faults": faults}))
}

async fn ready(State(status): State<Status>) -> Response {
    let waits_for = status.waits_for(Instant::now());
    answer(waits_for.is_empty(), json!({"ready": waits_for.is_empty(), "waits_for": waits_for}))
}

async fn metrics(State(status): State<Status>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], status.metrics()).into_response()
}

async fn report(State(status): State<Status>) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(status.report(Timestamp::now()))).into_response()
}

async fn page() -> Response {
    ([(CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(include_str!("page.html"))).into_response()
}

fn answer(good: bool, body: serde_json::Value) -> Response {
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};

    use tokio::sync::oneshot;

    use super::*;
    use crate::observe::health::Patience;
    use crate::observe::reports::Report;
    use crate::observe::samples;
    use crate::stop::Stop;
    use crate::worker::Turn;

    /// Sends one request to an instance of this status and returns the whole answer.
    fn ask(status: Status, request: &'static str) -> String {
        let exchange = move |address: SocketAddr| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "{request} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (done, over) = oneshot::channel::<()>();
            let client = tokio::task::spawn_blocking(move || {
                let answer = exchange(address);
                drop(done);
                answer
            });
            let shutdown = async {
                let _ = over.await;
            };
            serve(listener, status, shutdown).await;
            client.await.unwrap()
        })
    }

    #[track_caller]
    fn check(status: Status, request: &'static str, code: u16, holds: &[&str]) -> String {
        let answer = ask(status, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
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
    fn probes_are_told_of_what_is_held_back_and_of_who_is_stuck() {
        let status = samples::serving();
        status.worker(0).turned(&samples::holding(), samples::stand(0, 100, 7));
        let why =
            r#"{"latch":"nothing_held_back","why":"worker 0 has stopped: 2 of the last 3 events"#;
        check(status.clone(), "GET /readyz", 503, &[r#""ready":false"#, why]);
        check(status.clone(), "GET /livez", 200, &[r#""live":true"#]);
        status.worker(0).turned(&Turn::default(), samples::stand(0, 107, 0));
        check(status, "GET /readyz", 200, &[r#""ready":true"#]);
        // Whose patience is over at once.
        let (worker, partition) = (Duration::ZERO, Duration::ZERO);
        let patience = Patience { worker, partition };
        let status = Status::new(samples::identity(), 1, patience, Stop::default());
        status.worker(0).turned(&Turn::default(), samples::stand(5, 100, 7));
        let why =
            r#"{"latch":"partitions_move","why":"partition 5 stands still at worker 0 for 0 s"#;
        check(status.clone(), "GET /readyz", 503, &[why]);
        check(status, "GET /livez", 503, &["worker 0 has not come round"]);
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
    fn nothing_is_taken() {
        check(samples::serving(), "POST /status", 405, &[]);
        check(samples::serving(), "GET /elsewhere", 404, &[]);
    }
}
