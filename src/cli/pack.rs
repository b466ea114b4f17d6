//! `foretell model pack`: a model file, a contract and golden rows become a bundle.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use crate::app;
use crate::model::bundle::{self, MANIFEST};
use crate::model::gate::{self, Admitted, Expected};
use crate::model::manifest::{Artifact, Contract, Format, Golden, Manifest};

/// Make a bundle of a model file, a contract and golden rows
#[derive(Debug, Args)]
pub struct Pack {
    /// The model file as its library wrote it
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// What the features are and what the output means (JSON: task, features)
    #[arg(long, value_name = "FILE")]
    contract: PathBuf,
    /// Events with the training library's predictions, one a line: {"event":{…},"output":[…]}
    #[arg(long, value_name = "FILE")]
    golden: PathBuf,
    /// How far an output may be from its golden row, absolute
    #[arg(long, default_value_t = 1e-9)]
    tolerance: f64,
    /// The model's name, the key of its control messages
    #[arg(long)]
    name: String,
    /// The version; a version never changes
    #[arg(long)]
    version: String,
    /// Folder to make; must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Pack {
    pub fn run(&self) -> Result<(), Failure> {
        if self.out.exists() {
            let out = self.out.display();
            return Err(Failure::data(format!(
                "`{out}` exists: a version never changes\n\nhint: pack into a new folder"
            )));
        }
        // Made beside its place and moved there when it is whole and good.
        let parent = self.out.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        let making = parent.join(format!(".foretell-pack-{}", std::process::id()));
        let packed = self.pack(&making).and_then(|admitted| {
            fs::rename(&making, &self.out)?;
            Ok(admitted)
        });
        if packed.is_err() {
            let _ = fs::remove_dir_all(&making);
        }
        self.tell(&packed?);
        Ok(())
    }

    /// Fills `folder` and lets the gate judge it.
    fn pack(&self, folder: &Path) -> Result<Admitted, Failure> {
        let contract: Contract = serde_json::from_slice(&read(&self.contract)?)
            .map_err(|error| Failure::data(format!("`{}`: {error}", self.contract.display())))?;
        let model = read(&self.model)?;
        let golden = read(&self.golden)?;
        bundle::golden_rows(&self.golden, &golden)
            .map_err(|error| Failure::data(error.to_string()))?;
        fs::create_dir_all(folder)?;
        fs::write(folder.join("model.txt"), &model)?;
        fs::write(folder.join("golden.jsonl"), &golden)?;
        let manifest = Manifest {
            model: self.name.clone(),
            version: self.version.clone(),
            created: jiff::Timestamp::now()
                .round(jiff::Unit::Second)
                .unwrap_or_default()
                .to_string(),
            artifact: Artifact {
                format: Format::Lightgbm,
                path: "model.txt".into(),
                sha256: bundle::sha256(&model),
                bytes: model.len() as u64,
                iterations: None,
            },
            task: contract.task,
            features: contract.features,
            golden: Golden {
                path: "golden.jsonl".into(),
                sha256: bundle::sha256(&golden),
                tolerance: self.tolerance,
            },
            training: contract.training,
            reference: None,
        };
        let text = serde_json::to_string_pretty(&manifest).map_err(std::io::Error::from)?;
        fs::write(folder.join(MANIFEST), text)?;
        Ok(gate::admit(folder, Expected::default(), &app::gate_settings_for_tools())?)
    }

    fn tell(&self, admitted: &Admitted) {
        let version = &admitted.version;
        if self.json {
            let told = serde_json::json!({
                "model": version.model, "version": version.version, "digest": version.digest,
                "bundle": self.out, "golden_rows": admitted.golden_rows,
                "golden_difference": admitted.golden_difference,
            });
            println!("{told}");
            return;
        }
        println!("{}", version.digest);
        eprintln!(
            "packed {} version {} into {}: {} golden rows, largest difference {:e}",
            version.model,
            version.version,
            self.out.display(),
            admitted.golden_rows,
            admitted.golden_difference
        );
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path)
        .map_err(|error| Failure::data(format!("cannot read `{}`: {error}", path.display())))
}
