//! `POST /predict`: an event as production publishes it, or an array of them; the answer is the very
//! prediction that the topic would get, but for `input`, since the event stands on no topic.
//!
//! An event that cannot be scored is told with the reason that a dead letter would have: 422 where it came
//! alone, in its place where it is one of an array. Scoring is done on a thread of its own
//! ([`crate::predict`]); here requests are let in, a bounded number at a time, and their answers awaited.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use tokio::sync::{Semaphore, oneshot};

use super::door::{Door, is_json};
use super::http::Refusal;
use super::status::Status;
use crate::config::Http;
use crate::encode::Rejection;
use crate::predict::{self, Answer, Asker, Form, QUEUE_MAX, Question};

/// The header by which clients of the Open Inference Protocol say that binary data follows the JSON.
const BINARY: &str = "inference-header-content-length";

/// Where requests to be scored are handed in.
pub struct Counter {
    pub(super) door: Door,
    pub(super) asker: Asker,
    status: Status,
    body_bytes_max: usize,
    /// For requests from their head to their answer. Fewer than there are connections, so that probes
    /// find a free one.
    places: Semaphore,
}

/// What a refused request is told, and how many of its events were at fault.
struct Refused(Response, usize);

impl Counter {
    pub fn new(http: &Http, asker: Asker, status: Status) -> Self {
        let (door, places) = (Door::of(http), Semaphore::new(QUEUE_MAX));
        Self { door, asker, status, body_bytes_max: http.body_bytes_max, places }
    }

    /// Answers a request from its head on.
    pub(super) async fn answer(&self, form: Form, request: Request) -> Response {
        let began = Instant::now();
        let (response, predicted, rejected) = match self.hear(form, request).await {
            Ok(Answer { body, predicted, rejected }) => {
                let headers = [(CACHE_CONTROL, "no-store"), (CONTENT_TYPE, "application/json")];
                ((headers, body).into_response(), predicted, rejected)
            }
            Err(Refused(response, rejected)) => (response, 0, rejected),
        };
        self.status.requested(response.status().as_u16(), predicted, rejected, began.elapsed());
        response
    }

    async fn hear(&self, form: Form, request: Request) -> Result<Answer, Refused> {
        let (head, body) = request.into_parts();
        self.door.admit(&head.headers)?;
        is_readable(&form, &head.headers)?;
        let Ok(_place) = self.places.try_acquire() else {
            return Err(refusal(predict::Refusal::Busy).into());
        };
        let hint = format!("`http.body_bytes_max` is {}: send fewer events", self.body_bytes_max);
        let body = self.door.body(body, self.body_bytes_max, &hint).await?;
        let is_event = matches!(form, Form::Events);
        let (reply, answer) = oneshot::channel();
        // Whoever has hung up is told nothing.
        let reply = Box::new(|answer| drop(reply.send(answer)));
        let asked = self.asker.ask(Question { form, body: body.into(), reply });
        let answer = match asked {
            Ok(()) => answer.await.unwrap_or(Err(predict::Refusal::Stopping)),
            Err(refusal) => Err(refusal),
        };
        answer.map_err(|refused| match refused {
            predict::Refusal::Rejected { reject, .. } if is_event => {
                let body = Json(Rejection::from(&reject));
                let (code, headers) =
                    (StatusCode::UNPROCESSABLE_ENTITY, [(CACHE_CONTROL, "no-store")]);
                Refused((code, headers, body).into_response(), 1)
            }
            predict::Refusal::Rejected { .. } => Refused(refusal(refused).into_response(), 1),
            _ => refusal(refused).into(),
        })
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.into_response(), 0)
    }
}

/// Takes events, from the head of their request to the answer.
pub async fn take(State(counter): State<Arc<Counter>>, request: Request) -> Response {
    counter.answer(Form::Events, request).await
}

fn is_readable(form: &Form, headers: &HeaderMap) -> Result<(), Refusal> {
    match form {
        Form::Events => is_json(headers),
        // Its clients do not say what they send, unless it is binary.
        Form::Tensors { .. } if headers.contains_key(BINARY) => {
            let hint = "send tensors as JSON (in tritonclient: `binary_data=False`)";
            Err(Refusal::new(StatusCode::BAD_REQUEST, "binary data is not taken", hint))
        }
        Form::Tensors { .. } => Ok(()),
    }
}

/// What HTTP says of a refusal.
pub(super) fn refusal(refusal: predict::Refusal) -> Refusal {
    use predict::Refusal as Why;
    let (code, error, hint) = match refusal {
        Why::NothingServes => {
            let hint = "`/readyz` says what this instance waits for: ask again then";
            (StatusCode::SERVICE_UNAVAILABLE, "no version serves yet".into(), hint)
        }
        Why::Busy => {
            let hint = "ask again in a second, or another instance";
            (StatusCode::SERVICE_UNAVAILABLE, "too many requests wait".into(), hint)
        }
        Why::Stopping => {
            let hint = "ask another instance, or this one when it is back";
            (StatusCode::SERVICE_UNAVAILABLE, "this instance is stopping".into(), hint)
        }
        Why::NotServed(what) => {
            let error = format!("no such model or version: {what}");
            (StatusCode::NOT_FOUND, error, "ask for what serves, or for no version")
        }
        Why::Malformed(error) => (StatusCode::BAD_REQUEST, error, "docs/http.md shows requests"),
        Why::TooMany(rows_max) => {
            let error = format!("more than {rows_max} events in one request");
            (StatusCode::PAYLOAD_TOO_LARGE, error, "send fewer at a time (`batch.tile_rows`)")
        }
        Why::Rejected { row, reject } => {
            let error = format!("row {row}: {}: {reject}", reject.reason);
            (StatusCode::BAD_REQUEST, error, "mend that row, or leave it out")
        }
    };
    Refusal::new(code, error, hint)
}
