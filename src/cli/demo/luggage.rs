//! What the tour takes along, in a folder that goes away with it: the bundles of both versions and
//! the configuration, so that it works from anywhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Configuration of the instances; the binary carries it.
const SETTINGS: &str = include_str!("../../../config/demo.toml");

/// For the trainer: what is special to the tour, and what the features are.
const TRAINING: &str = include_str!("../../../config/demo-train.toml");
const CONTRACT: &str = include_str!("../../../examples/flights/contract.json");

/// The two bundles, file by file.
const BUNDLES: [(&str, &[u8]); 6] = [
    ("1/manifest.json", include_bytes!("../../../examples/flights/bundles/1/manifest.json")),
    ("1/model.txt", include_bytes!("../../../examples/flights/bundles/1/model.txt")),
    ("1/golden.jsonl", include_bytes!("../../../examples/flights/bundles/1/golden.jsonl")),
    ("2/manifest.json", include_bytes!("../../../examples/flights/bundles/2/manifest.json")),
    ("2/model.txt", include_bytes!("../../../examples/flights/bundles/2/model.txt")),
    ("2/golden.jsonl", include_bytes!("../../../examples/flights/bundles/2/golden.jsonl")),
];

pub struct Luggage {
    folder: TempDir,
}

impl Luggage {
    pub fn unpack() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("foretell-demo-").tempdir()?;
        for version in ["1", "2"] {
            fs::create_dir(folder.path().join(version))?;
        }
        for (name, bytes) in BUNDLES {
            fs::write(folder.path().join(name), bytes)?;
        }
        fs::write(folder.path().join("demo.toml"), SETTINGS)?;
        fs::write(folder.path().join("contract.json"), CONTRACT)?;
        Ok(Self { folder })
    }

    /// Folder of a version's bundle.
    pub fn bundle(&self, version: &str) -> PathBuf {
        self.path().join(version)
    }

    pub fn settings(&self) -> PathBuf {
        self.path().join("demo.toml")
    }

    /// The configuration of a training on the topics.
    pub fn training(&self, labels: &str) -> io::Result<PathBuf> {
        let path = self.path().join("train.toml");
        fs::write(&path, TRAINING.replace("{labels}", labels))?;
        Ok(path)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
