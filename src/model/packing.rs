//! A bundle is written: its files, and the manifest that names them by their digests.

use std::path::Path;
use std::{fs, io};

use super::bundle::{self, MANIFEST};
use super::manifest::{Artifact, Contract, Format, Golden, Iterations, Manifest};
use super::reference::Reference;

/// What a bundle is made of.
#[derive(Debug)]
pub struct Contents<'a> {
    pub model: &'a str,
    pub version: &'a str,
    pub contract: Contract,
    pub format: Format,
    /// The model file.
    pub bytes: &'a [u8],
    /// Those that score; `None`: all.
    pub iterations: Option<Iterations>,
    /// Lines of `golden.jsonl`.
    pub golden: &'a [u8],
    /// How far an output may be from its golden row; `None`: what the format is worth.
    pub tolerance: Option<f64>,
    /// What the training rows were like; `None`: nobody says, and drift is not looked for.
    pub reference: Option<Reference>,
}

const GOLDEN: &str = "golden.jsonl";

impl Contents<'_> {
    /// Writes it all into a folder, which is made.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(self, folder: &Path) -> io::Result<()> {
        let Self {
            model,
            version,
            contract,
            format,
            bytes,
            iterations,
            golden,
            tolerance,
            reference,
        } = self;
        fs::create_dir_all(folder)?;
        let name = format.file_name(bytes);
        fs::write(folder.join(name), bytes)?;
        fs::write(folder.join(GOLDEN), golden)?;
        let now = jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default();
        let manifest = Manifest {
            model: model.into(),
            version: version.into(),
            created: now.to_string(),
            artifact: Artifact {
                format,
                path: name.into(),
                sha256: bundle::sha256(bytes),
                bytes: bytes.len() as u64,
                iterations,
            },
            task: contract.task,
            features: contract.features,
            golden: Golden {
                path: GOLDEN.into(),
                sha256: bundle::sha256(golden),
                tolerance: tolerance.unwrap_or(format.tolerance()),
            },
            training: contract.training,
            reference,
        };
        fs::write(folder.join(MANIFEST), serde_json::to_string_pretty(&manifest)?)
    }
}

/// Writes into the manifest of a bundle that is being made what the training rows were like. Its digest is another then.
///
/// # Errors
/// The manifest cannot be written.
pub fn add_reference(folder: &Path, manifest: &Manifest, reference: Reference) -> io::Result<()> {
    let manifest = Manifest { reference: Some(reference), ..manifest.clone() };
    fs::write(folder.join(MANIFEST), serde_json::to_string_pretty(&manifest)?)
}

/// Fills a folder beside its place, and moves it there when it is whole and good: nobody sees half a
/// bundle.
///
/// # Errors
/// What `fill` says, or the folder cannot be made or moved.
pub fn into_place<T, E: From<io::Error>>(
    out: &Path,
    fill: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let making = parent.join(format!(".foretell-pack-{}", std::process::id()));
    let filled = fill(&making).and_then(|filled| {
        fs::rename(&making, out)?;
        Ok(filled)
    });
    if filled.is_err() {
        let _ = fs::remove_dir_all(&making);
    }
    filled
}
