//! HTTP: the status, for probes, Prometheus, programs and people; scoring by request; and one wish that
//! can be told.
//!
//! | Path | Answer |
//! | --- | --- |
//! | `/livez` | 200, or 503 when only a restart can help; JSON names what is wrong |
//! | `/readyz` | 200, or 503 while it does not serve, all of it or at all; JSON names what it waits for |
//! | `/metrics` | Prometheus's text format |
//! | `/status` | the [`Report`](super::reports::Report) of this moment, as JSON |
//! | `/` | a page for people, which asks `/status` once a second |
//! | `POST /predict` | predictions for an event or an array of them; for who bears the token ([`super::predict`]) |
//! | `/v2`, `/v2/health/…`, `/v2/models/…` | Open Inference Protocol; `POST …/infer` needs the token ([`super::inference`]) |
//! | `POST /retrain` | publishes a retrain-request; for who bears the token ([`super::retrain`]) |
//!
//! All of it runs on the supervising thread, and requests are scored on a thread of their own: no worker ever
//! waits for a client. A connection serves one request and has an end, so that nobody can hold on to the few
//! that there are.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time;

use super::predict::Counter;
use super::retrain::{self, Desk};
use super::status::Status;
use super::{inference, predict};

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// More clients than this wait until one of them goes.
    pub connections_max: usize,
    /// A client that has not sent the head of its request by then is let go.
    pub head_timeout: Duration,
    /// Everything has to be over by then: request, answer, and that the client takes it.
    pub connection_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 64,
            head_timeout: Duration::from_secs(5),
            connection_timeout: Duration::from_secs(20),
        }
    }
}

/// All that a request's head may take, in bytes.
const HEAD_BYTES_MAX: usize = 16_384;
/// How long answers in hand are waited for at the end.
const GRACE: Duration = Duration::from_secs(1);

/// The page is one file: nothing is loaded from elsewhere, and it may talk to us only.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

/// Answers requests on `listener` until `shutdown`. Ask for that late: while an instance drains,
/// probes should hear that it is not ready rather than nothing.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    shutdown: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false);
    let connections = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(bounds.connections_max));
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
            match time::timeout(bounds.connection_timeout, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a connection ended"),
                Err(_) => tracing::debug!("a client took too long and was let go"),
            }
        });
    }
    // Whoever does not take an answer by then goes without.
    let _ = time::timeout(GRACE, connections.shutdown()).await;
}

/// The paths, for a server or a test.
pub fn router(status: Status, desk: Desk, counter: Counter) -> Router {
    let scoring = Router::new().route("/predict", post(predict::take)).merge(inference::routes());
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(report))
        .route("/", get(page))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .with_state(status)
        .merge(scoring.with_state(Arc::new(counter)))
        .merge(Router::new().route("/retrain", post(retrain::take)).with_state(Arc::new(desk)))
        .method_not_allowed_fallback(wrong_method)
        .fallback(wrong_path)
}

/// What is wrong with a request, and what to do about it.
#[derive(Debug)]
pub struct Refusal {
    code: StatusCode,
    error: String,
    hint: String,
}

impl Refusal {
    pub fn new(code: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, error: error.into(), hint: hint.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { code, error, hint } = self;
        let body = Json(json!({"error": error, "hint": hint}));
        let mut response = (code, [(CACHE_CONTROL, "no-store")], body).into_response();
        let more = match code {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Some((RETRY_AFTER, "1"))
            }
            _ => None,
        };
        response.headers_mut().extend(more.map(|(name, it)| (name, HeaderValue::from_static(it))));
        response
    }
}

async fn wrong_method() -> Refusal {
    let hint = "GET reads, and POST is for `/predict`, `/v2/models/…/infer` and `/retrain` alone";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method", hint)
}

async fn wrong_path() -> Refusal {
    let hint = "there are `/livez`, `/readyz`, `/metrics`, `/status`, `/predict`, `/v2`, `/retrain` and `/`";
    Refusal::new(StatusCode::NOT_FOUND, "there is no such path", hint)
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

pub(super) fn answer(good: bool, body: serde_json::Value) -> Response {
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

#[cfg(test)]
mod tests;
