//! Where announced bundles come from, and where they may.
//!
//! [`allowed`] says which places a message may name, `remote` reads from servers, [`cache`] keeps
//! what was fetched, so that a restart needs no network. What a bundle must be is checked where it
//! is put together, [`Bundle::assemble`], from whichever of them its files come.
//!
//! Folders of this machine are read where they are. Everything waits in steps and gives up at the wish
//! to stop: a server that does not answer holds up no shutdown.

pub mod allowed;
pub mod cache;
pub mod place;
#[cfg(feature = "network")]
mod remote;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bundle::{self, Bundle, BundleError, Terms};
use super::signature::PublicKey;
use crate::stop::Stop;
use allowed::Allowed;
use cache::Cache;
use place::{Place, Remote};

/// What a store is set up with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bundles are read from these places and what is below them: paths and URIs.
    pub allowed: Vec<String>,
    /// Folder for what was fetched. `None`: every start fetches.
    pub cache: Option<PathBuf>,
    /// What one fetch may take in all, after its jitter.
    pub timeout: Duration,
    /// A fetch from a server first waits at random for so long at most: announcements reach all
    /// instances at once, and they would all ask at once.
    pub jitter: Duration,
    /// See [`Terms`].
    pub bytes_max: u64,
    pub trusted_keys: Vec<PublicKey>,
}

/// Fetches bundles by URI and digest.
#[derive(Debug, Clone)]
pub struct Store {
    settings: Settings,
    allowed: Allowed,
    cache: Option<Cache>,
    #[cfg_attr(
        not(feature = "network"),
        expect(dead_code, reason = "only servers are waited for")
    )]
    stop: Stop,
}

impl Store {
    /// Touches neither network nor files. `stop`: the wish that ends a fetch.
    ///
    /// # Errors
    /// One of the allowed places is none.
    pub fn new(settings: Settings, stop: Stop) -> Result<Self, BundleError> {
        let allowed = Allowed::parse(&settings.allowed)?;
        let cache = settings.cache.clone().map(|folder| Cache::new(folder, settings.bytes_max));
        Ok(Self { settings, allowed, cache, stop })
    }

    /// May the bundle at `uri` be read?
    ///
    /// # Errors
    /// Why not.
    pub fn permit(&self, uri: &str) -> Result<(), BundleError> {
        self.allowed.admit(uri).map(|_| ())
    }

    /// The bundle at `uri`, with every digest checked and, where keys are set, its signature.
    ///
    /// # Errors
    /// Whatever keeps it from being read; [`BundleError::is_transient`] says whether to try again.
    pub fn fetch(&self, uri: &str, digest: &str) -> Result<Bundle, BundleError> {
        let hex = hexadecimal(digest)?;
        let Settings { bytes_max, trusted_keys, .. } = &self.settings;
        let terms = Terms { digest: Some(digest), bytes_max: *bytes_max, trusted_keys };
        match self.allowed.admit(uri)? {
            Place::Local(folder) => read_confined(&folder, terms),
            Place::Remote(remote) => {
                let cached = self.cache.as_ref().and_then(|cache| cache.read(hex, terms));
                cached.map_or_else(|| self.fetch_remote(&remote, hex, terms), Ok)
            }
        }
    }

    /// Keeps a bundle in the cache as if it had just been read, if it is there.
    pub fn still_uses(&self, digest: &str) {
        if let (Some(cache), Ok(hex)) = (&self.cache, hexadecimal(digest)) {
            cache.touch(hex);
        }
    }

    #[cfg(feature = "network")]
    fn fetch_remote(
        &self,
        place: &Remote,
        hex: &str,
        terms: Terms<'_>,
    ) -> Result<Bundle, BundleError> {
        place.scheme.is_built_in(&place.uri)?;
        self.wait_at_random(&place.uri)?;
        let session = remote::Session::open(place, self.settings.timeout, &self.stop)?;
        let mut filling = self.cache.as_ref().and_then(Cache::begin);
        let bundle = Bundle::assemble(&place.uri, terms, |name, most| {
            let bytes = session.read(name, most)?;
            if let (Some(filling), Some(bytes)) = (&mut filling, &bytes) {
                filling.write(name, bytes);
            }
            Ok(bytes)
        })?;
        if let Some(filling) = filling {
            filling.keep(hex);
        }
        Ok(bundle)
    }

    /// No server is asked by a build that has no client.
    #[cfg(not(feature = "network"))]
    fn fetch_remote(&self, place: &Remote, _: &str, _: Terms<'_>) -> Result<Bundle, BundleError> {
        place.scheme.is_built_in(&place.uri)?;
        unreachable!("no scheme is built in without the feature `network`")
    }

    #[cfg(feature = "network")]
    fn wait_at_random(&self, uri: &str) -> Result<(), BundleError> {
        const STEP: Duration = Duration::from_millis(50);
        let mut left = self.settings.jitter.mul_f64(fastrand::f64());
        while !left.is_zero() {
            if self.stop.is_requested() {
                return Err(stopped(uri));
            }
            let step = left.min(STEP);
            std::thread::sleep(step);
            left -= step;
        }
        Ok(())
    }
}

/// What is told of a fetch that the wish to stop ended.
#[cfg(feature = "network")]
fn stopped(uri: &str) -> BundleError {
    let why = "this instance is stopping".into();
    BundleError::Read { file: uri.into(), why, is_transient: true }
}

/// The digits of `sha256:…`. They name a folder of the cache, so nothing else may be in them.
fn hexadecimal(digest: &str) -> Result<&str, BundleError> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digest
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(is_digit))
        .ok_or_else(|| BundleError::NoDigest { digest: digest.into() })
}

/// Reads a folder that a message named, by its real path: no file in it may lead out of it. Links
/// within it are good; Kubernetes mounts files so.
fn read_confined(folder: &Path, terms: Terms<'_>) -> Result<Bundle, BundleError> {
    Bundle::assemble(&folder.display().to_string(), terms, |name, most| {
        let path = folder.join(name);
        let real = path.canonicalize().map_err(|error| BundleError::of_file(&path, &error))?;
        if !real.starts_with(folder) {
            let why = format!("it leads to `{}`, out of the bundle's folder", real.display());
            return Err(BundleError::NotAllowed { uri: path.display().to_string(), why });
        }
        bundle::read_file(&real, most)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn flights() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/bundles")
    }

    fn digest(folder: &Path) -> String {
        format!("sha256:{}", bundle::sha256(&std::fs::read(folder.join("manifest.json")).unwrap()))
    }

    fn store(allowed: &Path) -> Store {
        let settings = Settings {
            allowed: vec![allowed.display().to_string()],
            cache: None,
            timeout: Duration::from_secs(5),
            jitter: Duration::ZERO,
            bytes_max: 1 << 30,
            trusted_keys: Vec::new(),
        };
        Store::new(settings, Stop::default()).unwrap()
    }

    #[test]
    fn a_folder_is_read_where_it_is() {
        let folder = flights().join("1");
        let store = store(&flights());
        for uri in [folder.display().to_string(), format!("file://{}", folder.display())] {
            let bundle = store.fetch(&uri, &digest(&folder)).unwrap();
            assert_eq!(bundle.manifest.version, "1");
        }
        let other = store.fetch(folder.to_str().unwrap(), &digest(&flights().join("2")));
        assert!(matches!(other, Err(BundleError::Announced { .. })), "{other:?}");
    }

    /// It is a file name in the cache.
    #[test]
    fn the_digest_is_compulsory_and_nothing_but_a_digest() {
        let store = store(&flights());
        let folder = flights().join("1").display().to_string();
        let upper = digest(&flights().join("1")).to_uppercase();
        for digest in ["", "sha256:", "sha256:../../etc", "sha256:ab", "md5:ab", &upper] {
            let fault = store.fetch(&folder, digest).unwrap_err();
            assert!(matches!(fault, BundleError::NoDigest { .. }), "{digest}: {fault}");
        }
    }

    #[test]
    fn files_that_lead_out_of_the_bundle_are_refused_and_links_within_it_are_not() {
        let root = tempfile::tempdir().unwrap();
        let bundle = root.path().join("bundle");
        std::fs::create_dir_all(bundle.join("..data")).unwrap();
        for name in ["manifest.json", "model.txt", "golden.jsonl"] {
            std::fs::copy(flights().join("1").join(name), bundle.join("..data").join(name))
                .unwrap();
            symlink(Path::new("..data").join(name), bundle.join(name)).unwrap();
        }
        let store = store(root.path());
        let fetch = || store.fetch(bundle.to_str().unwrap(), &digest(&bundle));
        fetch().unwrap();
        std::fs::remove_file(bundle.join("model.txt")).unwrap();
        symlink(flights().join("1/model.txt"), bundle.join("model.txt")).unwrap();
        let fault = fetch().unwrap_err();
        assert!(matches!(fault, BundleError::NotAllowed { .. }), "{fault}");
        assert!(!fault.is_transient());
    }

    /// What a message says is told apart before anything is asked of a network.
    #[cfg(not(feature = "gs"))]
    #[test]
    fn a_scheme_that_is_not_built_in_names_its_feature() {
        let mut settings = store(&flights()).settings;
        settings.allowed = vec!["gs://models".into()];
        let store = Store::new(settings, Stop::default()).unwrap();
        let fault = store.fetch("gs://models/7", &digest(&flights().join("1"))).unwrap_err();
        assert!(fault.to_string().contains("--features gs"), "{fault}");
        assert!(!fault.is_transient());
    }
}
