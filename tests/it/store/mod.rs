//! Bundles from servers, good ones and bad ones, and who vouches for them.

#[cfg(feature = "http")]
mod http;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "http")]
pub mod server;
mod signed;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use foretell::model::bundle::{Bundle, BundleError, sha256};
use foretell::model::store::{Settings, Store};
use foretell::stop::Stop;

fn flights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/bundles/1")
}

fn digest(folder: &Path) -> String {
    format!("sha256:{}", sha256(&fs::read(folder.join("manifest.json")).unwrap()))
}

/// A store that may read below `allowed`, keeps nothing and waits for nothing.
fn settings(allowed: &str) -> Settings {
    Settings {
        allowed: vec![allowed.into()],
        cache: None,
        timeout: Duration::from_secs(20),
        jitter: Duration::ZERO,
        bytes_max: 64 << 20,
        trusted_keys: Vec::new(),
    }
}

/// The bundle at `uri`, which has to be the one that stands in `folder`.
fn fetch(settings: Settings, uri: &str, folder: &Path) -> Result<Bundle, BundleError> {
    Store::new(settings, Stop::default()).unwrap().fetch(uri, &digest(folder))
}
