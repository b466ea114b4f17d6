//! `foretell model list`: what was said about the model, when, and what it changed.

use std::io::{self, Write as _};

use clap::Args;
use comfy_table::Table;

use super::failure::Failure;
use super::history::{Entry, History};
use super::{Configured, columns, lookout};

/// Show the history of the model: announced, promoted, rolled back, when and why
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    configured: Configured,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(&self) -> Result<(), Failure> {
        let config = self.configured.load()?;
        let configured = lookout::configured(&config);
        let (_, history) = lookout::control_log(&config, configured.as_ref())?;
        let mut out = io::stdout().lock();
        if self.json {
            for entry in &history.entries {
                writeln!(out, "{}", serde_json::to_string(entry).map_err(io::Error::from)?)?;
            }
        } else if !history.entries.is_empty() {
            writeln!(out, "{}", table(&history.entries).trim_fmt())?;
        }
        let version = configured.as_ref().map(|configured| configured.version.as_str());
        remarks(&history, &config.model.name, version);
        Ok(())
    }
}

/// What is not in the table.
fn remarks(history: &History, model: &str, configured: Option<&str>) {
    if let Some(version) = configured {
        eprintln!("until something was said, version {version} served, as the configuration says");
    }
    if history.entries.is_empty() {
        eprintln!("nothing has been said about model `{model}`");
    }
    match history.others {
        0 => {}
        1 => eprintln!("1 message about another model is left out"),
        others => eprintln!("{others} messages about other models are left out"),
    }
}

fn table(entries: &[Entry]) -> Table {
    let header = ["offset", "time (UTC)", "what", "version", "from", "rollout", "effect", "reason"];
    let mut table = columns::table(header, &[6, 7]);
    for entry in entries {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let effect = match &entry.fault {
            Some(fault) => format!("{}: {fault}", entry.effect),
            None => entry.effect.into(),
        };
        table.add_row([
            entry.offset.to_string(),
            columns::moment(&text(&entry.at)),
            entry.what.into(),
            text(&entry.version),
            text(&entry.from),
            text(&entry.rollout),
            effect,
            text(&entry.reason),
        ]);
    }
    table
}
