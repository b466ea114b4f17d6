//! A bundle: the folder that holds one immutable version of a model.
//!
//! ```text
//! manifest.json           what is in here, and the SHA-256 of every other file
//! manifest.json.minisig   who vouches for it, where somebody does
//! model.txt               the model as its library wrote it
//! golden.jsonl            events with the predictions the training library gave for them
//! ```
//!
//! The digest of a version is the SHA-256 of `manifest.json`: it fixes everything, and so a signature
//! of that file is one of the whole bundle. Where its files come from, [`super::store`] knows; what
//! they must be is checked here and nowhere else.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path};

use sha2::{Digest, Sha256};

use super::import::Source;
use super::manifest::{GoldenRow, Manifest};
use super::signature::{self, PublicKey};

pub const MANIFEST: &str = "manifest.json";
/// Beside the manifest, as the `minisign` tool names it.
pub const SIGNATURE: &str = "manifest.json.minisig";
/// Vocabularies of a million entries fit; nothing honest is larger.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Two lines of base64 and two of comments.
const SIGNATURE_BYTES_MAX: u64 = 8 << 10;

/// What a bundle's files hold, with every digest checked.
#[derive(Debug)]
pub struct Bundle {
    pub manifest: Manifest,
    /// `sha256:` and the hexadecimal SHA-256 of `manifest.json`.
    pub digest: String,
    pub model: Vec<u8>,
    pub golden: Vec<GoldenRow>,
}

/// What a bundle has to be before any of it is understood.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The digest it was announced by. `None`: whichever it has.
    pub digest: Option<&'a str>,
    /// Of all its files together.
    pub bytes_max: u64,
    /// One of these must have signed it. None: nobody needs to.
    pub trusted_keys: &'a [PublicKey],
}

/// Why a bundle could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("`{uri}` names no place of a bundle: {why}")]
    Uri { uri: String, why: String },
    #[error("`{uri}` may not be read from: {why}")]
    NotAllowed { uri: String, why: String },
    #[error("`{digest}` is no digest: expected `sha256:` and 64 lower-case hexadecimal digits")]
    NoDigest { digest: String },
    #[error("cannot read `{file}`: {why}")]
    Absent { file: String, why: String },
    #[error("cannot read `{file}`: {why}")]
    Read { file: String, why: String, is_transient: bool },
    #[error("with `{file}`, the bundle is larger than {bytes_max} bytes (`model.bytes_max`)")]
    TooLarge { file: String, bytes_max: u64 },
    #[error("`{file}`: {why}")]
    Signature { file: String, why: String },
    #[error("`{file}`: {why}")]
    Manifest { file: String, why: String },
    #[error("`{file}` has digest {found}, {wanted} was announced")]
    Announced { file: String, found: String, wanted: String },
    #[error("`{file}` has more than the {declared} bytes that its manifest says")]
    Longer { file: String, declared: u64 },
    #[error("`{file}` has SHA-256 {found}, its manifest says {wanted}")]
    Digest { file: String, found: String, wanted: String },
    #[error("`{file}` line {line}: {why}")]
    Golden { file: String, line: usize, why: String },
}

impl BundleError {
    /// May the same fetch succeed later, with nobody doing anything? Networks, servers and
    /// time-outs mend themselves. A file that is not there counts too: an announcement can be faster than a
    /// mirror, a cache in between or a shared file system. What is forbidden, damaged or not what was announced stays so.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Absent { .. } | Self::Read { is_transient: true, .. })
    }

    /// What reading a local file says.
    pub(super) fn of_file(path: &Path, error: &std::io::Error) -> Self {
        let (file, why) = (path.display().to_string(), error.to_string());
        match error.kind() {
            ErrorKind::NotFound => Self::Absent { file, why },
            // Rights and kinds of files are for somebody to mend.
            ErrorKind::PermissionDenied | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
                Self::Read { file, why, is_transient: false }
            }
            _ => Self::Read { file, why, is_transient: true },
        }
    }
}

impl Bundle {
    /// Reads the bundle in a local folder that somebody here named.
    pub fn read(folder: &Path, terms: Terms<'_>) -> Result<Self, BundleError> {
        let read = |name: &str, bytes_max| read_file(&folder.join(name), bytes_max);
        Self::assemble(&folder.display().to_string(), terms, read)
    }

    /// Makes a bundle of files that `read` finds by their names. It takes a name and how many bytes
    /// the file may have at most, and gives `None` for a longer one without taking it into memory.
    /// `place`: what stands before the names in messages.
    ///
    /// A manifest of another digest or without a signature is read no further.
    pub fn assemble(
        place: &str,
        terms: Terms<'_>,
        read: impl FnMut(&str, u64) -> Result<Option<Vec<u8>>, BundleError>,
    ) -> Result<Self, BundleError> {
        let Terms { bytes_max, digest, trusted_keys } = terms;
        let mut files = Files { place, bytes_max, left: bytes_max, read };
        let bytes = files.read(MANIFEST, MANIFEST_BYTES_MAX)?;
        if !trusted_keys.is_empty() {
            files.signature(&bytes, trusted_keys)?;
        }
        let file = files.told(MANIFEST);
        let found = format!("sha256:{}", sha256(&bytes));
        if let Some(wanted) = digest.filter(|wanted| **wanted != found) {
            return Err(BundleError::Announced { file, found, wanted: wanted.into() });
        }
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| BundleError::Manifest { file, why: error.to_string() })?;
        let artifact = &manifest.artifact;
        let model = files.member(&artifact.path, &artifact.sha256, Some(artifact.bytes))?;
        let golden = &manifest.golden;
        let rows = files.member(&golden.path, &golden.sha256, None)?;
        let golden = golden_rows(&files.told(&golden.path), &rows)?;
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

/// The files of a bundle that is being read, within what it may have in all.
struct Files<'a, R> {
    place: &'a str,
    bytes_max: u64,
    /// What is left of `bytes_max`.
    left: u64,
    read: R,
}

impl<R: FnMut(&str, u64) -> Result<Option<Vec<u8>>, BundleError>> Files<'_, R> {
    /// A file as messages name it.
    fn told(&self, name: &str) -> String {
        format!("{}/{name}", self.place)
    }

    /// A whole file of at most `most` bytes, whatever its directory or its server says of its length.
    fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>, BundleError> {
        let most = most.min(self.left);
        let bytes = (self.read)(name, most)?.filter(|bytes| bytes.len() as u64 <= most);
        let Some(bytes) = bytes else {
            return Err(BundleError::TooLarge { file: self.told(name), bytes_max: self.bytes_max });
        };
        self.left -= bytes.len() as u64;
        Ok(bytes)
    }

    /// A file that the manifest names, checked against what it says.
    fn member(
        &mut self,
        name: &str,
        wanted: &str,
        declared: Option<u64>,
    ) -> Result<Vec<u8>, BundleError> {
        if !is_file_name(name) {
            let why = format!("`{name}` is no file name: a bundle's files stand in its own folder");
            return Err(BundleError::Manifest { file: self.told(MANIFEST), why });
        }
        let file = self.told(name);
        let bytes_max = self.bytes_max;
        let declared = match declared {
            Some(declared) if declared > self.left => {
                return Err(BundleError::TooLarge { file, bytes_max });
            }
            declared => declared,
        };
        let bytes = match (self.read(name, declared.unwrap_or(u64::MAX)), declared) {
            (Err(BundleError::TooLarge { file, .. }), Some(declared)) => {
                return Err(BundleError::Longer { file, declared });
            }
            (bytes, _) => bytes?,
        };
        let found = sha256(&bytes);
        if found != wanted {
            return Err(BundleError::Digest { file, found, wanted: wanted.into() });
        }
        Ok(bytes)
    }

    /// Reads the signature, and fails unless a trusted key made it of this manifest.
    fn signature(&mut self, manifest: &[u8], trusted: &[PublicKey]) -> Result<(), BundleError> {
        let file = self.told(SIGNATURE);
        let bytes = match self.read(SIGNATURE, SIGNATURE_BYTES_MAX) {
            Err(BundleError::Absent { .. }) => {
                let why = "the bundle is not signed, and `model.trusted_keys` is set\n\nhint: \
                           `foretell model sign` signs it";
                return Err(BundleError::Signature { file, why: why.into() });
            }
            bytes => bytes?,
        };
        signature::verify(manifest, &bytes, trusted)
            .map_err(|why| BundleError::Signature { file, why })
    }
}

/// Is it one plain name, that leads nowhere else?
fn is_file_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

/// Lower-case hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A local file of at most `bytes_max` bytes; `None` if it is longer.
pub(super) fn read_file(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, BundleError> {
    let failed = |error| BundleError::of_file(path, &error);
    // Opening a pipe would wait for somebody to write to it.
    if !path.metadata().map_err(failed)?.is_file() {
        let (file, why) = (path.display().to_string(), "it is no file".into());
        return Err(BundleError::Read { file, why, is_transient: false });
    }
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= bytes_max))
}

/// The lines of `golden.jsonl`; `file`: its name for messages.
pub fn golden_rows(file: &str, bytes: &[u8]) -> Result<Vec<GoldenRow>, BundleError> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(index, line)| {
            serde_json::from_slice(line).map_err(|error| BundleError::Golden {
                file: file.into(),
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

    fn terms(digest: Option<&str>, bytes_max: u64) -> Terms<'_> {
        Terms { digest, bytes_max, trusted_keys: &[] }
    }

    fn error(folder: &Path, digest: Option<&str>, bytes_max: u64) -> String {
        Bundle::read(folder, terms(digest, bytes_max)).unwrap_err().to_string()
    }

    #[test]
    fn a_bundle_is_named_by_its_manifest() {
        let folder = copy();
        let bundle = Bundle::read(folder.path(), terms(None, 1 << 30)).unwrap();
        let again = Bundle::read(folder.path(), terms(Some(&bundle.digest), 1 << 30)).unwrap();
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
        for name in
            ["../model.txt", "/etc/passwd", "a/b", "..", "", ".", "model.txt/", "./model.txt"]
        {
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

    /// The manifest, the model and the golden rows share one bound.
    #[test]
    fn the_files_together_are_bounded() {
        let folder = copy();
        let size = |name: &str| folder.path().join(name).metadata().unwrap().len();
        let all = size(MANIFEST) + size("model.txt") + size("golden.jsonl");
        Bundle::read(folder.path(), terms(None, all)).unwrap();
        let told = error(folder.path(), None, all - 1);
        assert!(told.contains("golden.jsonl`, the bundle is larger than"), "{told}");
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let folder = copy();
        std::fs::remove_file(folder.path().join("golden.jsonl")).unwrap();
        std::fs::create_dir(folder.path().join("golden.jsonl")).unwrap();
        assert!(error(folder.path(), None, 1 << 30).contains("it is no file"));
    }

    #[test]
    fn what_may_mend_itself_is_told_from_what_will_not() {
        let folder = copy();
        let fault = |digest| Bundle::read(folder.path(), terms(digest, 1 << 30)).unwrap_err();
        assert!(!fault(Some("sha256:0")).is_transient());
        std::fs::remove_file(folder.path().join("golden.jsonl")).unwrap();
        assert!(fault(None).is_transient());
    }
}
