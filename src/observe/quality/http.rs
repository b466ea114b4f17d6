//! An evaluator's doors: `/livez`, `/readyz`, `/metrics` and `/status`, to be read only.

use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::json;

use super::board::Board;
use crate::observe::http::{Refusal, answer};

/// The paths, for [`serve`](crate::observe::http::serve).
pub fn router(board: Board) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(board)
        .fallback(wrong_path)
}

async fn live(State(board): State<Board>) -> Response {
    let faults = board.faults(Instant::now());
    answer(faults.is_empty(), json!({"live": faults.is_empty(), "faults": faults}))
}

async fn ready(State(board): State<Board>) -> Response {
    let report = board.report();
    answer(report.ready, json!({"ready": report.ready, "waits_for": report.waits_for}))
}

async fn metrics(State(board): State<Board>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], board.metrics()).into_response()
}

async fn status(State(board): State<Board>) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(board.report())).into_response()
}

async fn wrong_path() -> Refusal {
    let hint = "there are `/livez`, `/readyz`, `/metrics` and `/status`";
    Refusal::new(StatusCode::NOT_FOUND, "there is no such path", hint)
}
