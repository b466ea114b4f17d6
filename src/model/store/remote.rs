//! Reading from servers, by the `object_store` crate: credentials, signatures and retries are its
//! own, set the way each cloud's tools are (`AWS_…`, `GOOGLE_…`, `AZURE_…`, the machine's role).
//!
//! The HTTP client under it is ours: its own follows redirects to wherever they lead, out of the allowed
//! places, and takes an error's body into memory whatever its length.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Limited};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::path::Path;
use object_store::{
    ClientConfigKey, ClientOptions, Error, ObjectStore, ObjectStoreExt, RetryConfig,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, sleep_until};

use super::place::{self, Remote, Scheme};
use super::stopped;
use crate::model::bundle::BundleError;
use crate::stop::Stop;

/// How soon the wish to stop is seen.
const TICK: Duration = Duration::from_millis(50);
/// A server that does not even answer the connection is tried again, within the fetch's time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What an error says, and S3's XML around it.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// After the first request; the fetch's time bounds them, too.
const RETRIES_MAX: usize = 5;

/// The reading of one bundle from a server, on a runtime of its own, within its time.
pub struct Session {
    /// Taken when it ends: a look-up of a name may hang, and is not waited for.
    runtime: Option<Runtime>,
    store: Arc<dyn ObjectStore>,
    root: Path,
    uri: String,
    timeout: Duration,
    deadline: Instant,
    stop: Stop,
}

impl Session {
    /// Asks nothing of the server yet. The time begins to run.
    pub fn open(place: &Remote, timeout: Duration, stop: &Stop) -> Result<Self, BundleError> {
        let failed = |why: String| BundleError::Uri { uri: place.uri.clone(), why };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        let store = connect(place, timeout).map_err(|error| failed(error.to_string()))?;
        let root =
            Path::from_url_path(place.url.path()).map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            runtime: Some(runtime),
            store,
            root,
            uri: place.uri.clone(),
            timeout,
            deadline: Instant::now() + timeout,
            stop: stop.clone(),
        })
    }

    /// A file of at most `most` bytes; `None` if it is longer.
    pub fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, BundleError> {
        let Some(runtime) = &self.runtime else { return Err(stopped(&self.uri)) };
        let path = self.root.clone().join(name);
        let file = || format!("{}/{name}", self.uri);
        runtime.block_on(async {
            tokio::select! {
                read = get(&*self.store, &path, most) => read.map_err(|error| told(file(), &error)),
                () = sleep_until(self.deadline) => {
                    let why = format!(
                        "it took longer than {} ms (`model.fetch_timeout_ms`)",
                        self.timeout.as_millis()
                    );
                    Err(BundleError::Read { file: file(), why, is_transient: true })
                }
                () = wished(&self.stop) => Err(stopped(&self.uri)),
            }
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Ends with the wish to stop.
async fn wished(stop: &Stop) {
    while !stop.is_requested() {
        sleep(TICK).await;
    }
}

/// Takes no byte into memory that is beyond the bound, whatever length the server says.
async fn get(
    store: &dyn ObjectStore,
    path: &Path,
    most: u64,
) -> object_store::Result<Option<Vec<u8>>> {
    let found = store.get(path).await?;
    if found.meta.size > most {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let mut chunks = found.into_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if (bytes.len() + chunk.len()) as u64 > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// Characters of a server's own words that are told.
const WORDS_MAX: usize = 400;

/// As much of a server's words as may be told: what S3 answers holds the request with its
/// credentials, and another number each time.
fn brief(words: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = words.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.trim())
    };
    let words = match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => words.to_owned(),
    };
    match words.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// What a server's error comes to.
fn told(file: String, error: &Error) -> BundleError {
    // The innermost error says most; those around it say the same once more.
    let mut innermost: &dyn std::error::Error = error;
    let mut is_redirect = innermost.is::<Redirect>();
    while let Some(source) = innermost.source() {
        innermost = source;
        is_redirect |= innermost.is::<Redirect>();
    }
    let why = brief(&innermost.to_string());
    match error {
        Error::NotFound { .. } => BundleError::Absent { file, why: "it is not there".into() },
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            let why = format!(
                "the server refuses it: {why}\n\nhint: credentials are taken from the environment, as by the cloud's own tools"
            );
            BundleError::Read { file, why, is_transient: false }
        }
        Error::InvalidPath { .. } | Error::NotSupported { .. } | Error::NotImplemented { .. } => {
            BundleError::Read { file, why, is_transient: false }
        }
        _ => BundleError::Read { file, why, is_transient: !is_redirect },
    }
}

/// The client of a kind of server, with the credentials of its environment.
fn connect(place: &Remote, timeout: Duration) -> object_store::Result<Arc<dyn ObjectStore>> {
    let retry =
        RetryConfig { max_retries: RETRIES_MAX, retry_timeout: timeout, ..RetryConfig::default() };
    // `Place` takes no URL without one.
    let bucket = place.url.host_str().unwrap_or_default();
    Ok(match place.scheme {
        #[cfg(feature = "http")]
        Scheme::Http => Arc::new(
            object_store::http::HttpBuilder::new()
                .with_url(&place.url[..url::Position::BeforePath])
                .with_client_options(
                    ClientOptions::new().with_allow_http(place.url.scheme() == "http"),
                )
                .with_retry(retry)
                .with_http_connector(Connector)
                .build()?,
        ),
        #[cfg(feature = "s3")]
        Scheme::S3 => Arc::new(
            object_store::aws::AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_retry(retry)
                .with_http_connector(Connector)
                .build()?,
        ),
        #[cfg(feature = "gs")]
        Scheme::Gs => Arc::new(
            object_store::gcp::GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_retry(retry)
                .with_http_connector(Connector)
                .build()?,
        ),
        #[cfg(feature = "az")]
        Scheme::Az => Arc::new(
            object_store::azure::MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_retry(retry)
                .with_http_connector(Connector)
                .build()?,
        ),
        // `Scheme::is_built_in` was asked before.
        #[allow(unreachable_patterns)]
        _ => {
            let source = format!("no client for `{bucket}` in this build").into();
            return Err(Error::NotSupported { source });
        }
    })
}

/// Makes clients that go nowhere but where they are sent.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let set = options.get_config_value(&ClientConfigKey::AllowHttp);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .https_only(!set.is_some_and(|set| set == "true" || set == "1"))
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("foretell/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::Generic { store: "HTTP", source: Box::new(error) })?;
        Ok(HttpClient::new(Guarded(client)))
    }
}

/// A client whose redirects are errors and whose errors are short.
#[derive(Debug)]
struct Guarded(reqwest::Client);

#[async_trait]
impl HttpService for Guarded {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = HttpService::call(&self.0, request).await?.into_parts();
        if parts.status.is_redirection()
            && let Some(to) = parts.headers.get("location")
        {
            // Without its query: that of a signed URL lets in whoever reads it.
            let to = String::from_utf8_lossy(to.as_bytes());
            let to = place::told(&to);
            return Err(HttpError::new(HttpErrorKind::Decode, Redirect { to }));
        }
        if parts.status.is_success() {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        let short = Limited::new(body, ERROR_BYTES_MAX);
        let short = short.map_err(|error| HttpError::new_boxed(HttpErrorKind::Decode, error));
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(short)))
    }
}

/// Redirects are not followed: the place they lead to was never allowed.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server redirects to `{to}`, and redirects are not followed\n\nhint: announce the bundle by the URL where it is, and allow that in `model.allowed_uris`"
)]
struct Redirect {
    to: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_server_says_only_as_much_is_told_as_may_be() {
        let s3 = "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>It does not match.</Message>\
                  <AWSAccessKeyId>AKIA</AWSAccessKeyId><RequestId>7</RequestId></Error>";
        assert_eq!(brief(s3), "SignatureDoesNotMatch: It does not match.");
        assert_eq!(brief("connection refused"), "connection refused");
        assert_eq!(brief(&"é".repeat(5_000)).chars().count(), WORDS_MAX + 1);
    }
}
