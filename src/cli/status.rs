//! `foretell status`: every instance, and whether the fleet has converged.

mod drift;
mod quality;

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{CellAlignment, Table};
use console::Term;
use indicatif::HumanCount;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::failure::Failure;
use super::lookout::Lookout;
use super::{Configured, columns};
use crate::observe::fleet::Verdict;
use crate::observe::reports::{Report, rfc3339};

/// `--watch` shows how things stand so often.
const EVERY: Duration = Duration::from_secs(2);

/// Show every instance, and whether all serve what they shall; exits with 1 if not
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    configured: Configured,
    /// Show it again every two seconds, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Show also how far the events and predictions of the version that serves have drifted from its training, by what the
    /// whole fleet has seen last
    #[arg(long)]
    drift: bool,
    /// Show how good each version was, by the evaluators' reports (`foretell evaluate`)
    #[arg(long)]
    quality: bool,
    /// Print one JSON object: the verdict and all reports
    #[arg(long)]
    json: bool,
}

impl Status {
    pub fn run(&self) -> Result<(), Failure> {
        let config = self.configured.load()?;
        let mut lookout = Lookout::open(&config)?;
        let is_converged = self.show(&lookout)?;
        if !self.watch {
            return if is_converged { Ok(()) } else { Err(Failure::no()) };
        }
        loop {
            let next = Instant::now() + EVERY;
            while Instant::now() < next {
                lookout.look()?;
            }
            match lookout.reach() {
                Ok(()) => {
                    self.show(&lookout)?;
                }
                // What was last seen stays to be seen.
                Err(outage) => eprintln!("{outage}"),
            }
        }
    }

    /// Shows how things stand; says whether all is as it shall be.
    fn show(&self, lookout: &Lookout) -> Result<bool, Failure> {
        let now = Timestamp::now();
        let goal = lookout.history.wanted();
        let verdict = lookout.fleet.verdict(goal.as_ref(), now);
        let text = match (self.json, self.watch) {
            (true, false) => format!("{:#}", self.object(lookout, &verdict, now)),
            (true, true) => self.object(lookout, &verdict, now).to_string(),
            (false, false) => self.page(lookout, &verdict, now),
            (false, true) => {
                let page = self.page(lookout, &verdict, now);
                format!("{}\n\n{page}\n", columns::moment(&rfc3339(now)) + " UTC")
            }
        };
        let mut out = io::stdout().lock();
        if self.watch && !self.json && out.is_terminal() {
            Term::stdout().clear_screen()?;
        }
        writeln!(out, "{text}")?;
        out.flush()?;
        Ok(verdict.is_converged())
    }

    fn object(&self, lookout: &Lookout, verdict: &Verdict<'_>, now: Timestamp) -> Value {
        let mut object = verdict.json();
        if self.drift {
            object["drift"] = verdict.drift().map_or(Value::Null, |drift| drift.json());
        }
        if self.quality {
            object["evaluators"] = json!(lookout.evaluators.living(now).collect::<Vec<_>>());
        }
        object
    }

    fn page(&self, lookout: &Lookout, verdict: &Verdict<'_>, now: Timestamp) -> String {
        let mut pages = vec![page(verdict, now)];
        if self.drift {
            pages.push(drift::page(verdict.drift().as_ref()));
        }
        if self.quality {
            pages.push(quality::page(&lookout.evaluators.living(now).collect::<Vec<_>>()));
        }
        pages.join("\n\n")
    }
}

fn page(verdict: &Verdict<'_>, now: Timestamp) -> String {
    if verdict.living.is_empty() {
        return verdict.to_string();
    }
    format!("{}\n\n{verdict}", table(&verdict.living, now).trim_fmt())
}

fn table(reports: &[&Report], now: Timestamp) -> Table {
    let header = [
        "instance",
        "host",
        "version",
        "since (UTC)",
        "candidates",
        "partitions",
        "lag",
        "events/s",
        "last refusal",
    ];
    let mut table = columns::table(header, &[8]);
    for report in reports {
        table.add_row(row(report, now));
    }
    for numbers in 5..8 {
        if let Some(column) = table.column_mut(numbers) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn row(report: &Report, now: Timestamp) -> [String; 9] {
    let served = report.served.as_ref();
    let lag: u64 = report.partitions.iter().map(|partition| partition.lag).sum();
    let refusal = report.last_refusal.as_ref().map(|refusal| {
        let at = columns::recent(&refusal.at, now);
        format!("{} ({}), {at}", refusal.version, refusal.check.as_str())
    });
    [
        report.instance.clone(),
        report.host.clone(),
        served.map_or("none".into(), |serves| serves.version.clone()),
        served.map(|serves| columns::recent(&serves.since, now)).unwrap_or_default(),
        report.candidates.join(", "),
        report.partitions.len().to_string(),
        HumanCount(lag).to_string(),
        HumanCount(report.rates.events.round() as u64).to_string(),
        refusal.unwrap_or_default(),
    ]
}
