//! The [Open Inference Protocol](https://github.com/kserve/open-inference-protocol), version 2, over HTTP and
//! in JSON: what there is, and `POST /v2/models/{model}[/versions/{version}]/infer`. How features are tensors
//! stands in `src/predict/tensors.rs` and docs/http.md.
//!
//! `/v2/health/…` are `/livez` and `/readyz`. Its errors are ours: JSON with a text `error`, and a `hint` besides.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use super::http::Refusal;
use super::predict::{Counter, refusal};
use crate::predict::{self, Form, is_meant, metadata};
use crate::serving::Served;

/// Which model is meant.
#[derive(Deserialize)]
struct Meant {
    model: String,
    version: Option<String>,
}

/// Its paths, but for those of health.
pub fn routes() -> Router<Arc<Counter>> {
    Router::new()
        .route("/v2", get(server))
        .route("/v2/models/{model}", get(model))
        .route("/v2/models/{model}/ready", get(ready))
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/versions/{version}", get(model))
        .route("/v2/models/{model}/versions/{version}/ready", get(ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer))
}

async fn server() -> Response {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    Json(json!({"name": name, "version": version, "extensions": []})).into_response()
}

async fn model(
    State(counter): State<Arc<Counter>>,
    Path(meant): Path<Meant>,
) -> Result<Response, Refusal> {
    let served = serving(&counter, &meant)?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(metadata(&served.version))).into_response())
}

async fn ready(
    State(counter): State<Arc<Counter>>,
    Path(meant): Path<Meant>,
) -> Result<Response, Refusal> {
    let served = serving(&counter, &meant)?;
    let body = Json(json!({"name": served.version.model, "ready": true}));
    Ok(([(CACHE_CONTROL, "no-store")], body).into_response())
}

async fn infer(
    State(counter): State<Arc<Counter>>,
    Path(Meant { model, version }): Path<Meant>,
    request: Request,
) -> Response {
    counter.answer(Form::Tensors { model, version }, request).await
}

/// What serves, if it is what is meant.
fn serving(counter: &Counter, Meant { model, version }: &Meant) -> Result<Arc<Served>, Refusal> {
    let served = counter.asker.served().ok_or_else(|| refusal(predict::Refusal::NothingServes))?;
    is_meant(&served.version, model, version.as_deref()).map_err(refusal)?;
    Ok(served)
}
