//! `foretell model inspect`: what a bundle holds, and whether it passes the gate.

use std::path::PathBuf;

use clap::Args;
use comfy_table::{Table, presets};

use super::failure::Failure;
use crate::app;
use crate::features::contract::{Feature, Kind};
use crate::model::bundle::Bundle;
use crate::model::gate::{self, Expected};
use crate::model::manifest::Manifest;

/// Show what a bundle holds, and whether it passes the gate
#[derive(Debug, Args)]
pub struct Inspect {
    /// Folder of the bundle
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    /// Print the manifest and the gate's findings as JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(&self) -> Result<(), Failure> {
        let settings = app::gate_settings_for_tools();
        let bundle = Bundle::read(&self.bundle, None, settings.bytes_max)
            .map_err(|error| Failure::data(error.to_string()))?;
        let judged = gate::admit(&self.bundle, Expected::default(), &settings);
        if self.json {
            let golden = judged.as_ref().ok().map(|admitted| admitted.golden_difference);
            let refusal = judged.as_ref().err().map(ToString::to_string);
            let told = serde_json::json!({
                "digest": bundle.digest, "manifest": bundle.manifest, "golden_difference": golden,
                "refusal": refusal,
            });
            println!("{told:#}");
        } else {
            println!("{}", facts(&bundle));
            println!("{}", features(&bundle.manifest.features));
        }
        let admitted = judged?;
        eprintln!(
            "passes the gate: {} golden rows, largest difference {:e}, loaded in {:.0} ms",
            admitted.golden_rows,
            admitted.golden_difference,
            admitted.seconds * 1e3
        );
        Ok(())
    }
}

fn facts(bundle: &Bundle) -> Table {
    let Manifest { model, version, created, artifact, task, training, .. } = &bundle.manifest;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("model", format!("{model} version {version}, created {created}"));
    row("digest", bundle.digest.clone());
    row("artifact", format!("{:?}, {} bytes", artifact.format, artifact.bytes).to_lowercase());
    let threshold = task.threshold.map(|threshold| format!(", threshold {threshold}"));
    let labels = task.labels.join(", ");
    row(
        "task",
        format!("{:?} [{labels}]{}", task.kind, threshold.unwrap_or_default()).to_lowercase(),
    );
    if let Some(training) = training {
        let window =
            training.window.as_ref().map(|window| format!(", {} to {}", window.from, window.to));
        row("training", format!("{} rows{}", training.rows, window.unwrap_or_default()));
        for (name, value) in &training.metrics {
            row("", format!("{name} {value}"));
        }
    }
    table
}

fn features(features: &[Feature]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["feature", "path", "kind", "absent"]);
    for feature in features {
        let kind = match &feature.kind {
            Kind::Number => "number".into(),
            Kind::Boolean => "boolean".into(),
            Kind::Category { vocabulary, unknown } => {
                format!("category of {}, unknown: {unknown:?}", vocabulary.len()).to_lowercase()
            }
            Kind::Timestamp { part } => format!("timestamp, {part:?}").to_lowercase(),
        };
        let absent = match (feature.required, feature.missing) {
            (true, _) => "dead letter".into(),
            (false, Some(value)) => value.to_string(),
            (false, None) => "missing".into(),
        };
        table.add_row([feature.name.clone(), feature.path.clone(), kind, absent]);
    }
    table
}
