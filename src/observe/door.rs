//! Who may ask for more than the status, and what they send.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};
use tokio::time;

use super::http::Refusal;
use crate::config::Http;

/// A client that has not sent its body by then is let go.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Lets in whoever bears the token, or everybody, or nobody.
pub struct Door {
    lets_in: LetsIn,
    pub(super) body_timeout: Duration,
}

enum LetsIn {
    Nobody,
    /// By the digest of their token. Of two digests it does no harm to tell by the time that it takes
    /// how far they agree.
    Bearers([u8; 32]),
    Everybody,
}

impl Door {
    pub fn of(http: &Http) -> Self {
        let lets_in = match &http.token {
            Some(token) => LetsIn::Bearers(digest(token.reveal())),
            None if http.allow_anonymous => LetsIn::Everybody,
            None => LetsIn::Nobody,
        };
        Self { lets_in, body_timeout: BODY_TIMEOUT }
    }

    pub fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let wanted = match &self.lets_in {
            LetsIn::Everybody => return Ok(()),
            LetsIn::Nobody => {
                let hint = "set `http.token`, by FORETELL_HTTP_TOKEN or FORETELL_HTTP_TOKEN_FILE, and start again";
                return Err(Refusal::new(StatusCode::FORBIDDEN, "nobody may ask here", hint));
            }
            LetsIn::Bearers(wanted) => wanted,
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

    /// The whole body, if it comes in time and is no longer than that; `hint`: what to do if it is.
    pub async fn body(&self, body: Body, bytes_max: usize, hint: &str) -> Result<Bytes, Refusal> {
        let body = time::timeout(self.body_timeout, to_bytes(body, bytes_max)).await;
        let body = body.map_err(|_| {
            let hint = "send it within some seconds";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body does not come", hint)
        })?;
        body.map_err(|_| {
            let error = "the body is too long, or broken off";
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error, hint)
        })
    }
}

/// Fails if the body is not said to be JSON.
pub fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if kind.is_some_and(|kind| kind.split(';').next() == Some("application/json")) {
        return Ok(());
    }
    let hint = "send `Content-Type: application/json`";
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has to be JSON", hint))
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
