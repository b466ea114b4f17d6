//! `foretell model pack`: a model file, a contract and golden rows become a bundle.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use super::sample;
use crate::app;
use crate::model::bundle;
use crate::model::columns::propose;
use crate::model::gate::{self, Admitted, Expected, Times};
use crate::model::import::{Facts, facts, recognise};
use crate::model::manifest::{Contract, Format, Iterations, Task};
use crate::model::packing::{self, Contents};

/// Make a bundle of a model file, a contract and golden rows
#[derive(Debug, Args)]
pub struct Pack {
    /// The model file as its library wrote it; the format is recognised by its content
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// What the features are and what the output means (JSON: task, features); without it, what
    /// --propose-contract prints
    #[arg(long, value_name = "FILE")]
    contract: Option<PathBuf>,
    /// Print the contract that the model's own feature names, kinds and categories suggest, and
    /// make nothing
    #[arg(long, conflicts_with_all = ["contract", "golden", "name", "version", "out"])]
    propose_contract: bool,
    /// Events with the training library's predictions, one a line: {"event":{…},"output":[…]}
    #[arg(long, value_name = "FILE", required_unless_present = "propose_contract")]
    golden: Option<PathBuf>,
    /// Events as production publishes them, one a line, in plain text or `.zst`: those that the model was trained on, or
    /// an even sample of 1000 or more. Instances then tell how far theirs have drifted from these
    #[arg(long, value_name = "FILE", conflicts_with = "propose_contract")]
    reference: Option<PathBuf>,
    /// How far an output may be from its golden row, relative to it above 1 [default: 1e-9; 1e-5
    /// where the library computes in single precision]
    #[arg(long)]
    tolerance: Option<f64>,
    /// Score with a part of a boosted model: its first N iterations, those FROM..TO (the last one
    /// excluded, from 0), or up to the `best` one of early stopping
    #[arg(long, value_name = "N|FROM..TO|best")]
    iterations: Option<Choice>,
    /// The model's name, the key of its control messages
    #[arg(long, required_unless_present = "propose_contract")]
    name: Option<String>,
    /// The version; a version never changes
    #[arg(long, required_unless_present = "propose_contract")]
    version: Option<String>,
    /// Folder to make; must not exist
    #[arg(long, value_name = "DIR", required_unless_present = "propose_contract")]
    out: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Which iterations score.
#[derive(Debug, Clone, Copy)]
enum Choice {
    These(Iterations),
    Best,
}

impl std::str::FromStr for Choice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = match text {
            "best" => return Ok(Self::Best),
            text => text.split_once("..").unwrap_or(("0", text)),
        };
        match (from.parse(), to.parse()) {
            (Ok(from), Ok(to)) if from < to => Ok(Self::These(Iterations { from, to })),
            _ => Err("expected a number above 0, such as 20, a range such as 5..20, or `best`"),
        }
    }
}

/// A model file, recognised.
struct Given {
    format: Format,
    bytes: Vec<u8>,
    facts: Facts,
}

impl Pack {
    pub fn run(&self) -> Result<(), Failure> {
        let given = self.given()?;
        if self.propose_contract {
            let contract = serde_json::to_string_pretty(&proposed(&given.facts));
            println!("{}", contract.map_err(std::io::Error::from)?);
            return Ok(());
        }
        // The parser asks for these unless a contract is proposed.
        let (Some(golden), Some(out)) = (&self.golden, &self.out) else { return Ok(()) };
        if out.exists() {
            let out = out.display();
            return Err(Failure::data(format!(
                "`{out}` exists: a version never changes\n\nhint: pack into a new folder"
            )));
        }
        let packed = packing::into_place(out, |making| self.pack(&given, golden, making))?;
        self.tell(&packed, out);
        Ok(())
    }

    fn given(&self) -> Result<Given, Failure> {
        let bytes = read(&self.model)?;
        let refused = |error: crate::model::import::ImportError| {
            Failure::data(format!("`{}`: {error}", self.model.display()))
        };
        let format = recognise(&bytes).map_err(refused)?;
        let facts = facts(format, &bytes).map_err(refused)?;
        Ok(Given { format, bytes, facts })
    }

    /// Fills `folder` and lets the gate judge it.
    fn pack(&self, given: &Given, golden: &Path, folder: &Path) -> Result<Admitted, Failure> {
        let Given { format, bytes, facts } = given;
        let contract = self.contract(facts)?;
        let rows = read(golden)?;
        bundle::golden_rows(&golden.display().to_string(), &rows)
            .map_err(|error| Failure::data(error.to_string()))?;
        let iterations = self.iterations(facts)?;
        Contents {
            model: self.name.as_deref().unwrap_or_default(),
            version: self.version.as_deref().unwrap_or_default(),
            contract,
            format: *format,
            bytes,
            iterations,
            golden: &rows,
            tolerance: self.tolerance,
            reference: None,
        }
        .write(folder)?;
        let settings = app::gate_settings_for_tools();
        let admit = || gate::admit(folder, Expected::default(), &settings, &mut Times::default());
        let admitted = admit().map_err(|refusal| match best_is_fewer(facts, iterations) {
            Some(count) => Failure::data(format!("{refusal}\n\nhint: {}", early_stopping(count))),
            None => refusal.into(),
        })?;
        let Some(path) = &self.reference else { return Ok(admitted) };
        // Its predictions are part of the reference: only what can be loaded makes some.
        let reference = sample::reference(path, &admitted.version)?;
        packing::add_reference(folder, &admitted.manifest, reference)?;
        Ok(admit()?)
    }

    fn contract(&self, facts: &Facts) -> Result<Contract, Failure> {
        let Some(path) = &self.contract else {
            eprintln!("without --contract: every feature stands at the top of the event, by name");
            if facts.columns.iter().any(|column| !column.named) {
                eprintln!("note: the model has no names for its columns, so they are made up");
            }
            return Ok(proposed(facts));
        };
        serde_json::from_slice(&read(path)?)
            .map_err(|error| Failure::data(format!("`{}`: {error}", path.display())))
    }

    fn iterations(&self, facts: &Facts) -> Result<Option<Iterations>, Failure> {
        match (self.iterations, facts.best) {
            (None, _) => Ok(None),
            (Some(Choice::These(iterations)), _) => Ok(Some(iterations)),
            (Some(Choice::Best), Some((best, _))) => Ok(Some(Iterations { from: 0, to: best })),
            (Some(Choice::Best), None) => Err(Failure::data(format!(
                "`{}` does not say which iteration is the best\n\nhint: give --iterations a number",
                self.model.display()
            ))),
        }
    }

    fn tell(&self, admitted: &Admitted, out: &Path) {
        let version = &admitted.version;
        if self.json {
            let told = serde_json::json!({
                "model": version.model, "version": version.version, "digest": version.digest,
                "bundle": out, "golden_rows": admitted.golden_rows,
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
            out.display(),
            admitted.golden_rows,
            admitted.golden_difference
        );
    }
}

fn proposed(facts: &Facts) -> Contract {
    Contract {
        task: Task { kind: facts.kind, labels: Vec::new(), threshold: None },
        features: propose(&facts.columns),
        training: None,
    }
}

/// How many iterations early stopping would have, where more were packed.
fn best_is_fewer(facts: &Facts, packed: Option<Iterations>) -> Option<usize> {
    let (best, all) = facts.best?;
    (best < packed.map_or(all, |packed| packed.to)).then_some(best)
}

fn early_stopping(count: usize) -> String {
    format!(
        "early stopping found the first {count} iterations best, and `XGBClassifier.predict` uses \
         no more; if the golden rows come from there, pack with --iterations best"
    )
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path)
        .map_err(|error| Failure::data(format!("cannot read `{}`: {error}", path.display())))
}
