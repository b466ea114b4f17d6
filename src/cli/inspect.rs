//! `foretell model inspect`: what a bundle holds, what its model is made of and costs here, and
//! whether it passes the gate.

use std::path::PathBuf;

use clap::Args;
use comfy_table::{Table, presets};

use super::anatomy::Anatomy;
use super::failure::Failure;
use crate::app;
use crate::features::contract::{Feature, Kind};
use crate::model::bundle::{Bundle, Terms};
use crate::model::gate::{self, Expected, Times};
use crate::model::manifest::Manifest;
use crate::model::reference::Reference;

/// Show what a bundle and its model hold, and whether it passes the gate
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
        let terms = Terms { digest: None, bytes_max: settings.bytes_max, trusted_keys: &[] };
        let bundle =
            Bundle::read(&self.bundle, terms).map_err(|error| Failure::data(error.to_string()))?;
        let mut times = Times::default();
        let judged = gate::admit(&self.bundle, Expected::default(), &settings, &mut times);
        if self.json {
            let golden = judged.as_ref().ok().map(|admitted| admitted.golden_difference);
            let refusal = judged.as_ref().err().map(ToString::to_string);
            let anatomy = Anatomy::of(&bundle).ok().map(|anatomy| anatomy.json());
            let told = serde_json::json!({
                "digest": bundle.digest, "manifest": bundle.manifest, "model": anatomy,
                "golden_difference": golden, "refusal": refusal,
            });
            println!("{told:#}");
        } else {
            // What cannot be read has none; the gate says why.
            let anatomy = Anatomy::of(&bundle).ok();
            println!("{}\n", facts(&bundle, anatomy.as_ref()));
            println!("{}", features(&bundle.manifest.features));
            if let Some(uses) = anatomy.as_ref().and_then(Anatomy::uses) {
                println!("\n{uses}");
            }
        }
        let admitted = judged?;
        eprintln!(
            "passes the gate: {} golden rows, largest difference {:e}, loaded in {:.0} ms",
            admitted.golden_rows,
            admitted.golden_difference,
            times.sum().as_secs_f64() * 1e3
        );
        Ok(())
    }
}

fn facts(bundle: &Bundle, anatomy: Option<&Anatomy>) -> Table {
    let Manifest { model, version, created, artifact, task, training, reference, .. } =
        &bundle.manifest;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("model", format!("{model} version {version}, created {created}"));
    row("digest", bundle.digest.clone());
    let iterations =
        artifact.iterations.map(|part| format!(", iterations {}..{}", part.from, part.to));
    let iterations = iterations.unwrap_or_default();
    let artifact = format!("{:?}, {} bytes{iterations}", artifact.format, artifact.bytes);
    row("artifact", artifact.to_lowercase());
    let threshold = task.threshold.map(|threshold| format!(", threshold {threshold}"));
    let labels = (!task.labels.is_empty()).then(|| format!(" [{}]", task.labels.join(", ")));
    let kind = format!("{:?}", task.kind).to_lowercase();
    row("task", kind + &labels.unwrap_or_default() + &threshold.unwrap_or_default());
    for (name, value) in anatomy.map(Anatomy::facts).unwrap_or_default() {
        row(name, value);
    }
    if let Some(training) = training {
        let window =
            training.window.as_ref().map(|window| format!(", {} to {}", window.from, window.to));
        row("training", format!("{} rows{}", training.rows, window.unwrap_or_default()));
        for (name, value) in &training.metrics {
            row("", format!("{name} {value}"));
        }
    }
    let told = |it: &Reference| format!("{} rows, {} features", it.rows, it.features.len());
    let none = || "none: drift is not looked for (`model pack --reference`)".into();
    row("reference", reference.as_ref().map_or_else(none, told));
    table
}

fn features(features: &[Feature]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
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
