//! `foretell-train`: each part of a training as a subcommand, and `run`, which is all of them.
//!
//! What a part has made stands in the work folder, where the next one finds it, and a person too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::clean::{self, Table};
use super::evaluate::{self, Evaluation};
use super::settings::Settings;
use super::{draft, example, load, report, served, watch};
use crate::cli::announce;
use crate::cli::configuration;
use crate::cli::failure::Failure;
use crate::model::bundle::MANIFEST;
use crate::model::manifest::{Contract, Manifest};
use crate::model::packing;

/// Trains a version of a model on labelled events, and announces it if it has earned that.
#[derive(Debug, Parser)]
#[command(name = "foretell-train", version, about, max_term_width = 100)]
pub struct Cli {
    /// The configuration file (TOML)
    #[arg(
        long,
        value_name = "FILE",
        env = "FORETELL_TRAIN_CONFIG",
        global = true,
        default_value = "train.toml"
    )]
    config: PathBuf,
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Read events and labels, from files or topics, and join them
    Load,
    /// Read the events through the contract; take out what cannot be trained on
    Clean,
    /// Fit a model to all but the newest rows, which are held out
    Fit {
        /// The version's name; default: the time
        #[arg(long)]
        version: Option<String>,
    },
    /// Judge the model by the held-out rows, beside the version that serves; exits with 65 if it has
    /// not earned its announcement
    Evaluate,
    /// Make a bundle of a model that has
    Pack,
    /// Tell all instances that it is ready
    Announce,
    /// Run whenever a `retrain-request` on the control topic asks for it, until stopped
    Watch,
    /// All of this, one after the other
    Run {
        /// The version's name; default: the time
        #[arg(long)]
        version: Option<String>,
    },
}

/// Names in the work folder.
const LOADED: &str = "loaded.jsonl.zst";
const CLEAN: &str = "clean.jsonl.zst";
const DRAFT: &str = "draft";
const EVALUATION: &str = "evaluation.json";
const PACKED: &str = "packed.json";
/// In the work folder, and in the bundle.
const REPORT_MD: &str = "report.md";
const REPORT_JSON: &str = "report.json";

/// Where the last bundle is.
#[derive(Debug, Serialize, Deserialize)]
struct Packed {
    folder: PathBuf,
    version: String,
}

impl Cli {
    pub fn read() -> Self {
        Self::parse()
    }

    pub fn run(self) -> ExitCode {
        match self.train() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.tell(),
        }
    }

    fn train(&self) -> Result<(), Failure> {
        let work = Work::open(&self.config)?;
        match &self.part {
            Part::Watch => {
                let config = self.config.clone();
                // Each training reads its configuration anew.
                watch::watch(&work.settings, move || Work::open(&config)?.run(None))
            }
            Part::Load => work.load(),
            Part::Clean => work.clean(),
            Part::Fit { version } => work.fit(version.as_deref()),
            Part::Evaluate => work.evaluate(),
            Part::Pack => work.pack(),
            Part::Announce => work.announce(),
            Part::Run { version } => work.run(version.as_deref()),
        }
    }
}

/// A training under way.
struct Work {
    settings: Settings,
    contract: Contract,
    folder: PathBuf,
}

impl Work {
    fn open(config: &Path) -> Result<Self, Failure> {
        let settings = Settings::read(config)?;
        let contract: Contract = read(&settings.model.contract)?;
        if let Some(fault) = settings.disagrees(&contract.task) {
            return Err(Failure::configuration(fault));
        }
        let folder = settings.work();
        fs::create_dir_all(&folder).map_err(|error| example::cannot("make", &folder, &error))?;
        Ok(Self { settings, contract, folder })
    }

    /// All parts; announces where the settings say to whom.
    fn run(&self, version: Option<&str>) -> Result<(), Failure> {
        self.load()?;
        self.clean()?;
        self.fit(version)?;
        self.evaluate()?;
        self.pack()?;
        if self.settings.announce.is_some() { self.announce() } else { Ok(()) }
    }

    fn load(&self) -> Result<(), Failure> {
        let (examples, counts) = load::load(&self.settings)?;
        eprintln!("load: {} labelled events ({})", examples.len(), example::told(&counts));
        example::write(&self.folder.join(LOADED), &examples)
    }

    fn clean(&self) -> Result<(), Failure> {
        let examples = example::read(&self.found(LOADED, "load")?)?;
        let (table, counts) = clean::clean(examples, &self.contract)?;
        eprintln!("clean: {} rows ({})", table.len(), example::told(&counts));
        example::write(&self.folder.join(CLEAN), &table.examples)
    }

    /// The rows to fit, and those that are held out.
    fn rows(&self) -> Result<(Table, Table), Failure> {
        let examples = example::read(&self.found(CLEAN, "clean")?)?;
        let (table, _) = clean::clean(examples, &self.contract)?;
        table.split(self.settings.evaluate.holdout)
    }

    fn fit(&self, version: Option<&str>) -> Result<(), Failure> {
        let (rows, held_out) = self.rows()?;
        let version = version.map_or_else(by_the_clock, str::to_owned);
        for column in rows.constant_columns() {
            // smartcore's forests end a node where none of the features that it drew splits it.
            let name = &self.contract.features[column].name;
            eprintln!(
                "warning: `{name}` is the same in all rows: it teaches nothing, and spoils forests"
            );
        }
        let folder = self.folder.join(DRAFT);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .map_err(|error| example::cannot("remove", &folder, &error))?;
        }
        let draft = draft::Draft { settings: &self.settings, contract: &self.contract };
        packing::into_place(&folder, |making| draft.make(&version, &rows, &held_out, making))?;
        eprintln!(
            "fit: version {version}, to {} rows; {} are held out",
            rows.len(),
            held_out.len()
        );
        Ok(())
    }

    fn evaluate(&self) -> Result<(), Failure> {
        let (rows, held_out) = self.rows()?;
        let new = served::in_folder(&self.found(DRAFT, "fit")?)?;
        let served = served::served(&self.settings)?;
        let draft = draft::Draft { settings: &self.settings, contract: &self.contract };
        let folds = draft.folds(&rows)?;
        let evaluation =
            evaluate::evaluate(&self.settings, &new, served.as_ref(), &held_out, folds)?;
        let text = report::markdown(&self.settings.model.name, &evaluation);
        self.write(REPORT_MD, text.as_bytes())?;
        self.write(EVALUATION, &serde_json::to_vec_pretty(&evaluation).unwrap_or_default())?;
        println!("{text}");
        evaluation.verdict()
    }

    fn pack(&self) -> Result<(), Failure> {
        let draft = self.found(DRAFT, "fit")?;
        let evaluation: Evaluation = read(&self.found(EVALUATION, "evaluate")?)?;
        evaluation.verdict()?;
        let version = served::in_folder(&draft)?;
        if evaluation.new.digest != version.digest {
            return Err(Failure::data(
                "the model was fitted again since it was evaluated\n\nhint: `foretell-train evaluate`",
            ));
        }
        let out = self.settings.bundle.folder.join(&version.version);
        if out.exists() {
            return Err(Failure::data(format!(
                "`{}` exists: a version never changes\n\nhint: fit with another --version",
                out.display()
            )));
        }
        packing::into_place(&out, |making| self.fill(&draft, &evaluation, making))?;
        let digest = served::in_folder(&out)?.digest;
        let packed = Packed { folder: out, version: version.version };
        self.write(PACKED, &serde_json::to_vec_pretty(&packed).unwrap_or_default())?;
        println!("{digest}");
        eprintln!("pack: version {} in `{}`", packed.version, packed.folder.display());
        Ok(())
    }

    /// The draft's files, and what was found of it.
    fn fill(&self, draft: &Path, evaluation: &Evaluation, folder: &Path) -> Result<(), Failure> {
        fs::create_dir_all(folder)?;
        let mut manifest: Manifest = read(&draft.join(MANIFEST))?;
        for name in [&manifest.artifact.path, &manifest.golden.path] {
            fs::copy(draft.join(name), folder.join(name))?;
        }
        manifest.training.get_or_insert_default().metrics = evaluation.new.scalars();
        let text = serde_json::to_string_pretty(&manifest).map_err(std::io::Error::from)?;
        fs::write(folder.join(MANIFEST), text)?;
        fs::copy(self.folder.join(REPORT_MD), folder.join(REPORT_MD))?;
        fs::copy(self.folder.join(EVALUATION), folder.join(REPORT_JSON))?;
        Ok(())
    }

    fn announce(&self) -> Result<(), Failure> {
        let Some(settings) = &self.settings.announce else {
            return Err(Failure::configuration(
                "there is no `announce` in the configuration\n\nhint: `announce.config` names the instances' own",
            ));
        };
        let Packed { folder, version } = read(&self.found(PACKED, "pack")?)?;
        let config = configuration(&settings.config)?;
        let uri = settings.uri.as_ref().map(|uri| uri.replace("{version}", &version));
        let message =
            announce::complete(&config, &folder, uri, settings.rollout, settings.promote_when)?;
        announce::say_aloud(&config, &message).map(|_| ())
    }

    /// What an earlier part has made.
    fn found(&self, name: &str, part: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name);
        if !path.exists() {
            let what = format!("there is no `{}`", path.display());
            return Err(Failure::data(format!("{what}\n\nhint: `foretell-train {part}` makes it")));
        }
        Ok(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.folder.join(name);
        fs::write(&path, bytes).map_err(|error| example::cannot("write", &path, &error))
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let bytes = fs::read(path).map_err(|error| example::cannot("read", path, &error))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::data(format!("`{}`: {error}", path.display())))
}

fn by_the_clock() -> String {
    Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}
