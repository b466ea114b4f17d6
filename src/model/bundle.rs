//! A bundle: the folder that holds one immutable version of a model.
//!
//! ```text
//! manifest.json   what is in here, and the SHA-256 of every other file
//! model.txt       the model as its library wrote it
//! golden.jsonl    events with the predictions the training library gave for them
//! ```
//!
//! The digest of a version is the SHA-256 of `manifest.json`: it fixes everything. This is the only
//! place that reads models from files.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::import::Source;
use super::manifest::{GoldenRow, Manifest};

pub const MANIFEST: &str = "manifest.json";
/// Vocabularies of a million entries fit; nothing honest is larger.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// What a bundle's files hold, with every digest checked.
#[derive(Debug)]
pub struct Bundle {
    pub manifest: Manifest,
    /// `sha256:` and the hexadecimal SHA-256 of `manifest.json`.
    pub digest: String,
    pub model: Vec<u8>,
    pub golden: Vec<GoldenRow>,
}

/// Why a bundle could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("`{uri}` cannot be read here: {why}")]
    Uri { uri: String, why: &'static str },
    #[error("cannot read `{path}`: {why}")]
    Read { path: PathBuf, why: String },
    #[error("`{path}` is larger than {bytes_max} bytes")]
    TooLarge { path: PathBuf, bytes_max: u64 },
    #[error("`{path}`: {why}")]
    Manifest { path: PathBuf, why: String },
    #[error("`{path}` has digest {found}, {wanted} was announced")]
    Announced { path: PathBuf, found: String, wanted: String },
    #[error("`{path}` has more than the {declared} bytes that its manifest says")]
    Longer { path: PathBuf, declared: u64 },
    #[error("`{path}` has SHA-256 {found}, its manifest says {wanted}")]
    Digest { path: PathBuf, found: String, wanted: String },
    #[error("`{path}` line {line}: {why}")]
    Golden { path: PathBuf, line: usize, why: String },
}

impl Bundle {
    /// Reads the bundle in `folder`. With a `digest`, the manifest is read no further if it has
    /// another. No file larger than `bytes_max` is taken into memory.
    pub fn read(folder: &Path, digest: Option<&str>, bytes_max: u64) -> Result<Self, BundleError> {
        let path = folder.join(MANIFEST);
        let bytes = read(&path, MANIFEST_BYTES_MAX.min(bytes_max))?;
        let found = format!("sha256:{}", sha256(&bytes));
        if let Some(wanted) = digest.filter(|wanted| **wanted != found) {
            return Err(BundleError::Announced { path, found, wanted: wanted.into() });
        }
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| BundleError::Manifest { path, why: error.to_string() })?;
        let artifact = &manifest.artifact;
        let model = member(folder, &artifact.path, &artifact.sha256, artifact.bytes, bytes_max)?;
        let golden = &manifest.golden;
        let rows = member(folder, &golden.path, &golden.sha256, bytes_max, bytes_max)?;
        let golden = golden_rows(&folder.join(&golden.path), &rows)?;
        Ok(Self { manifest, digest: found, model, golden })
    }

    /// The model file, and all that an importer needs to know of it.
    pub fn source(&self) -> Source<'_> {
        let Manifest { artifact, features, .. } = &self.manifest;
        Source {
            format: artifact.format,
            bytes: &self.model,
            iterations: artifact.iterations,
            features,
        }
    }
}

/// The folder that a bundle's URI names. Today: a path, or `file://` and a path.
pub fn folder(uri: &str) -> Result<PathBuf, BundleError> {
    match uri.split_once("://") {
        None => Ok(PathBuf::from(uri)),
        Some(("file", path)) => Ok(PathBuf::from(path)),
        Some(_) => {
            Err(BundleError::Uri { uri: uri.into(), why: "only file:// and plain paths are" })
        }
    }
}

/// Lower-case hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file of the bundle, checked against the manifest.
fn member(
    folder: &Path,
    name: &str,
    wanted: &str,
    declared: u64,
    bytes_max: u64,
) -> Result<Vec<u8>, BundleError> {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    if !plain {
        let why = format!("`{name}` is no file name: a bundle's files stand in its own folder");
        return Err(BundleError::Manifest { path: folder.join(MANIFEST), why });
    }
    let path = folder.join(name);
    if declared > bytes_max {
        return Err(BundleError::TooLarge { path, bytes_max });
    }
    let bytes = read(&path, declared).map_err(|error| match error {
        BundleError::TooLarge { path, .. } => BundleError::Longer { path, declared },
        other => other,
    })?;
    let found = sha256(&bytes);
    if found != wanted {
        return Err(BundleError::Digest { path, found, wanted: wanted.into() });
    }
    Ok(bytes)
}

/// Reads a file of at most `bytes_max` bytes, whatever its directory entry says of its length.
fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, BundleError> {
    let failed =
        |error: std::io::Error| BundleError::Read { path: path.into(), why: error.to_string() };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(BundleError::TooLarge { path: path.into(), bytes_max });
    }
    Ok(bytes)
}

/// The lines of `golden.jsonl`.
pub fn golden_rows(path: &Path, bytes: &[u8]) -> Result<Vec<GoldenRow>, BundleError> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(index, line)| {
            serde_json::from_slice(line).map_err(|error| BundleError::Golden {
                path: path.into(),
                line: index + 1,
                why: error.to_string(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flights bundle, copied so that a test can spoil it.
    fn copy() -> tempfile::TempDir {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/bundles/1");
        let folder = tempfile::tempdir().unwrap();
        for name in [MANIFEST, "model.txt", "golden.jsonl"] {
            std::fs::copy(source.join(name), folder.path().join(name)).unwrap();
        }
        folder
    }

    fn error(folder: &Path, digest: Option<&str>, bytes_max: u64) -> String {
        Bundle::read(folder, digest, bytes_max).unwrap_err().to_string()
    }

    #[test]
    fn a_bundle_is_named_by_its_manifest() {
        let folder = copy();
        let bundle = Bundle::read(folder.path(), None, 1 << 30).unwrap();
        let again = Bundle::read(folder.path(), Some(&bundle.digest), 1 << 30).unwrap();
        assert_eq!(again.manifest, bundle.manifest);
        assert!(!bundle.golden.is_empty());
        let other = format!("sha256:{}", "0".repeat(64));
        assert!(error(folder.path(), Some(&other), 1 << 30).contains("was announced"));
    }

    #[test]
    fn a_changed_file_is_noticed() {
        let folder = copy();
        let model = folder.path().join("model.txt");
        let mut text = std::fs::read(&model).unwrap();
        *text.last_mut().unwrap() ^= 1;
        std::fs::write(&model, text).unwrap();
        assert!(error(folder.path(), None, 1 << 30).contains("its manifest says"));
    }

    #[test]
    fn nothing_outside_the_folder_is_read() {
        for name in ["../model.txt", "/etc/passwd", "a/b", "..", ""] {
            let folder = copy();
            let path = folder.path().join(MANIFEST);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace("\"model.txt\"", &format!("{name:?}"))).unwrap();
            assert!(error(folder.path(), None, 1 << 30).contains("is no file name"), "{name}");
        }
    }

    #[test]
    fn sizes_are_bounded_before_anything_is_read() {
        let folder = copy();
        assert!(error(folder.path(), None, 100_000).contains("is larger than 100000 bytes"));
        assert!(error(folder.path(), None, 100).contains("is larger than 100 bytes"));
    }

    #[test]
    fn a_uri_names_a_folder() {
        assert_eq!(folder("file:///models/7").unwrap(), PathBuf::from("/models/7"));
        assert_eq!(folder("models/7").unwrap(), PathBuf::from("models/7"));
        assert!(folder("ftp://models/7").unwrap_err().to_string().contains("only file://"));
    }
}
