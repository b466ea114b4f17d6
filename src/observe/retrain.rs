//! `POST /retrain`: whoever may ask for a new version to be trained, asks here. It becomes a
//! retrain-request on the control topic, for trainers to see; instances pass over it.
//!
//! The body is JSON, `{"reason": "…"}` or nothing; the answer says what was published and where it
//! stands. `application/json` is compulsory: no page of another site can send that unasked.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time;

use super::http::Refusal;
use crate::bus::Fatal;
use crate::bus::publish::Publisher;
use crate::config::Config;
use crate::control::message::Message;
use crate::control::say::say;

/// A reason is a sentence or two, in bytes.
const BODY_BYTES_MAX: usize = 4_096;
/// A client that has not sent its body by then is let go.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// A loop that asks and asks shall not fill the control topic, which is kept for ever.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the brokers are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Publishes a message, and says at which offset it stands.
pub(super) type Publish = dyn Fn(&Message) -> Result<Option<i64>, Fatal> + Send + Sync;

/// Where wishes are handed in.
pub struct Desk {
    door: Door,
    model: String,
    publish: Arc<Publish>,
    /// One at a time.
    turn: Arc<Semaphore>,
    pub(super) body_timeout: Duration,
}

/// Who comes in.
enum Door {
    Closed,
    /// By the digest of their token. Of two digests it does no harm to tell by the time that it takes
    /// how far they agree.
    Bearers([u8; 32]),
    Open,
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
        let door = match &config.http.token {
            Some(token) => Door::Bearers(digest(token.reveal())),
            None if config.http.allow_anonymous => Door::Open,
            None => Door::Closed,
        };
        let turn = Arc::new(Semaphore::new(1));
        let model = config.model.name.clone();
        Self { door, model, publish, turn, body_timeout: BODY_TIMEOUT }
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let wanted = match &self.door {
            Door::Open => return Ok(()),
            Door::Closed => {
                let hint = "set `http.token`, by FORETELL_HTTP_TOKEN or FORETELL_HTTP_TOKEN_FILE, and start again";
                return Err(Refusal::new(StatusCode::FORBIDDEN, "nobody may ask here", hint));
            }
            Door::Bearers(wanted) => wanted,
        };
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        if given.is_some_and(|given| digest(given) == *wanted) {
            return Ok(());
        }
        let error = if given.is_some() { "this is not the token" } else { "a token is needed" };
        let hint = "send `Authorization: Bearer …` with what `http.token` is set to";
        Err(Refusal::new(StatusCode::UNAUTHORIZED, error, hint))
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
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
    desk.admit(&head.headers)?;
    let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if kind.is_none_or(|kind| kind.split(';').next() != Some("application/json")) {
        let hint = "send `Content-Type: application/json`";
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body has to be JSON",
            hint,
        ));
    }
    let body = time::timeout(desk.body_timeout, axum::body::to_bytes(body, BODY_BYTES_MAX)).await;
    let body = body.map_err(|_| {
        let hint = "send it within some seconds";
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body does not come", hint)
    })?;
    let body = body.map_err(|_| {
        let hint = format!("{BODY_BYTES_MAX} bytes are enough for a reason");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or broken off", hint)
    })?;
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
