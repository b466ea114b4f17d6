//! The last chapter, in which the loop closes: the stream changes, an instance notices and asks, a trainer
//! learns from what came since, and its version is gated, shadowed and promoted. The topics tell it all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::feeder::Arrivals;
use super::flights;
use super::process::Process;
use super::tour::Tour;
use crate::bus::Fatal;
use crate::cli::failure::Failure;
use crate::control::message::Message;

/// It stands beside this program, where both were built.
const TRAINER: &str = "foretell-train";
/// It holds no connection that it would have to end well.
const TRAINER_DRAIN: Duration = Duration::from_secs(1);
/// From the release to the new version's first prediction, beside the time that the flights take which the alarm and the
/// shadow need.
const PATIENCE: Duration = Duration::from_secs(180);
/// Flights that the shadow scores before it is promoted: `config/demo-train.toml`.
const SHADOWED: u64 = 1_000;
/// Flights that the new version scores before the tour ends.
const AFTERWARDS: u64 = 5_000;

impl Tour {
    /// Goes on with another stream until the version that was trained on it has scored some of it.
    pub(super) fn close_the_loop(&mut self) -> Result<(), Failure> {
        let Some(program) = trainer()? else {
            return Ok(self.screen.line(
                "\nHow the loop closes is left out: `foretell-train` is not beside this program (cargo build --features train).",
            )?);
        };
        if self.is_over() {
            return Ok(());
        }
        self.screen.heading(
            "A release upstream: from now on a flight's delay is told in seconds, not minutes",
        )?;
        self.screen.line("  Nobody has told the model. What becomes of each flight is told on a topic of its own.\n")?;
        let topic = self.stage.arrivals().to_owned();
        let mut trainer = self.start(&program, &topic)?;
        self.ledger.release();
        let known = Arc::new(flights::Arrivals::unpack()?);
        self.moments.course.arrivals = Some(Arrivals { topic, known });
        // A window that had begun before the release may not show it.
        let needed = 2 * self.stage.config().drift.window_rows + SHADOWED;
        let until = Instant::now() + PATIENCE + Duration::from_secs(needed / self.plan.rate);
        self.feed(None, |tour, _| {
            trainer.check()?;
            let scored = tour.moments.course.trained.as_ref();
            let scored = scored.map_or(0, |version| tour.ledger.predictions_by(version));
            if scored == 0 && Instant::now() > until {
                return Err(tour.does_not_close(&trainer).into());
            }
            Ok(scored >= AFTERWARDS)
        })
    }

    fn start(&self, program: &Path, labels: &str) -> Result<Process, Failure> {
        let config = self.luggage.training(labels)?;
        let mut command = Command::new(program);
        command.arg("watch").arg("--config").arg(config);
        command.envs(self.stage.settings().variables());
        Ok(Process::start("trainer", command, self.luggage.path(), TRAINER_DRAIN)?)
    }

    /// What the control topic says of the new version.
    pub(super) fn hear(&mut self, message: &Message) -> Result<(), Failure> {
        let Self { screen, moments, .. } = self;
        let course = &mut moments.course;
        match message {
            // It asks again while it is so.
            Message::RetrainRequest { .. } if course.asked => return Ok(()),
            Message::RetrainRequest { .. } => {
                course.asked = true;
                screen.heading(
                    "The alarm: an instance finds its events changed, and asks for a new version",
                )?;
            }
            Message::RetrainComplete { version, uri, .. } if course.asked => {
                course.trained = Some(version.clone());
                screen.heading("Trained on what came since the release, compared with what serves, and announced as its shadow")?;
                if let Some(line) = report(Path::new(uri)) {
                    screen.line(line)?;
                }
            }
            Message::Promote { .. } => {
                screen.heading(
                    "It has scored beside what serves for long enough: an instance promotes it",
                )?;
            }
            _ => return Ok(()),
        }
        screen.json(&serde_json::to_string(message).unwrap_or_default())?;
        screen.line("")?;
        Ok(())
    }

    fn does_not_close(&self, trainer: &Process) -> Fatal {
        let course = &self.moments.course;
        let what = match (course.asked, &course.trained) {
            (false, _) => "no instance has asked for a new version".into(),
            (true, None) => "no new version was announced".into(),
            (true, Some(version)) => {
                format!("version {version} was announced and has scored nothing")
            }
        };
        let words = trainer.last_words();
        Fatal::Bug(format!("the loop does not close: {what}; the trainer's last words:\n{words}"))
    }
}

/// Where the trainer is, if it was built.
fn trainer() -> std::io::Result<Option<PathBuf>> {
    let program = std::env::current_exe()?.with_file_name(TRAINER);
    Ok(program.exists().then_some(program))
}

/// What the trainer's report says of the held-out flights.
fn report(bundle: &Path) -> Option<String> {
    let report: Value = serde_json::from_slice(&fs::read(bundle.join("report.json")).ok()?).ok()?;
    let measured = |side: &str, metric: &str| report[side]["metrics"][metric].as_f64();
    let side = |side: &str| {
        let (accuracy, auc) = (measured(side, "accuracy")?, measured(side, "auc")?);
        Some(format!("{:.1} % right, AUC {auc:.3}", 100.0 * accuracy))
    };
    let rows = report["new"]["rows"].as_u64()?;
    Some(format!(
        "  of the {rows} newest flights: {}; what serves: {}",
        side("new")?,
        side("served")?
    ))
}
