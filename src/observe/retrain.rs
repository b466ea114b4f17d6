//! `POST /retrain`: whoever may ask for a new version to be trained, asks here. It becomes a
//! retrain-request on the control topic, for trainers to see; instances pass over it.
//!
//! The body is JSON, `{"reason": "…"}` or nothing; the answer says what was published and where it
//! stands. `application/json` is compulsory: no page of another site can send that unasked.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time;

use super::door::{Door, is_json};
use super::http::Refusal;
use crate::bus::Fatal;
use crate::bus::publish::Publisher;
use crate::config::Config;
use crate::control::message::Message;
use crate::control::say::say;

/// A reason is a sentence or two, in bytes.
const BODY_BYTES_MAX: usize = 4_096;
/// A loop that asks and asks shall not fill the control topic, which is kept for ever.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the brokers are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Publishes a message, and says at which offset it stands.
pub(super) type Publish = dyn Fn(&Message) -> Result<Option<i64>, Fatal> + Send + Sync;

/// Where wishes are handed in.
pub struct Desk {
    pub(super) door: Door,
    model: String,
    publish: Arc<Publish>,
    /// One at a time.
    turn: Arc<Semaphore>,
}

impl Desk {
    /// A desk that publishes on the control topic, through a client of its own each time.
    pub fn new(config: &Config) -> Self {
        let (kafka, control) = (config.kafka.clone(), config.topics.control.clone());
        let publish = move |message: &Message| {
            let publisher = Publisher::new(&kafka)?;
            say(&publisher, &control, message)?;
            publisher.flush(PATIENCE)
        };
        Self::with(config, Arc::new(publish))
    }

    pub(super) fn with(config: &Config, publish: Arc<Publish>) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        let model = config.model.name.clone();
        Self { door: Door::of(&config.http), model, publish, turn }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    reason: Option<String>,
}

/// Takes a wish, from its head to its answer.
pub async fn take(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    match hear(&desk, request).await {
        Ok(message) => publish(&desk, message).await.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn hear(desk: &Desk, request: Request) -> Result<Message, Refusal> {
    let (head, body) = request.into_parts();
    desk.door.admit(&head.headers)?;
    is_json(&head.headers)?;
    let hint = format!("{BODY_BYTES_MAX} bytes are enough for a reason");
    let body = desk.door.body(body, BODY_BYTES_MAX, &hint).await?;
    let reason = reason(&body).map_err(|error| {
        let hint = r#"write `{"reason": "…"}`, or nothing"#;
        Refusal::new(StatusCode::BAD_REQUEST, format!("this is no wish: {error}"), hint)
    })?;
    Ok(Message::RetrainRequest { model: desk.model.clone(), reason })
}

fn reason(body: &Bytes) -> Result<Option<String>, serde_json::Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    serde_json::from_slice::<Wish>(body).map(|wish| wish.reason)
}

async fn publish(desk: &Desk, message: Message) -> Result<Response, Refusal> {
    let Ok(turn) = Arc::clone(&desk.turn).try_acquire_owned() else {
        let hint = "one wish a second is enough: ask again then";
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "another was first", hint));
    };
    let (publish, said) = (Arc::clone(&desk.publish), message.clone());
    let published = tokio::task::spawn_blocking(move || publish(&said)).await;
    tokio::spawn(async move {
        time::sleep(PAUSE).await;
        drop(turn);
    });
    match published {
        Ok(Ok(control_offset)) => {
            tracing::info!(control_offset, "asked for training, by HTTP");
            let body = json!({"message": message, "control_offset": control_offset});
            Ok(([(CACHE_CONTROL, "no-store")], Json(body)).into_response())
        }
        Ok(Err(fatal)) => {
            tracing::error!("a wish for training was not published: {fatal}");
            let fatal = fatal.to_string();
            let (error, hint) = fatal.split_once("\n\nhint: ").unwrap_or((&fatal, "ask again"));
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error, hint))
        }
        Err(panic) => {
            let panic = panic.to_string();
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, panic, "this is a bug: report it"))
        }
    }
}
