//! What the tour takes along, in a folder that goes away with it: the bundles of both versions and
//! the configuration, so that it works from anywhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Configuration of the instances; the binary carries it.
const SETTINGS: &str = include_str!("../../../config/demo.toml");

macro_rules! bundle {
    ($version:literal) => {
        [
            ("manifest.json", bundle!($version, "manifest.json")),
            ("model.txt", bundle!($version, "model.txt")),
            ("golden.jsonl", bundle!($version, "golden.jsonl")),
        ]
    };
    ($version:literal, $file:literal) => {
        include_bytes!(concat!("../../../examples/flights/bundles/", $version, "/", $file))
            .as_slice()
    };
}

const BUNDLES: [(&str, [(&str, &[u8]); 3]); 2] = [("1", bundle!("1")), ("2", bundle!("2"))];

pub struct Luggage {
    folder: TempDir,
}

impl Luggage {
    pub fn unpack() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("foretell-demo-").tempdir()?;
        for (version, files) in BUNDLES {
            let bundle = folder.path().join(version);
            fs::create_dir(&bundle)?;
            for (name, bytes) in files {
                fs::write(bundle.join(name), bytes)?;
            }
        }
        fs::write(folder.path().join("demo.toml"), SETTINGS)?;
        Ok(Self { folder })
    }

    /// Folder of a version's bundle.
    pub fn bundle(&self, version: &str) -> PathBuf {
        self.path().join(version)
    }

    pub fn settings(&self) -> PathBuf {
        self.path().join("demo.toml")
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
