//! The live line: how the stream is doing right now, as the reader sees it.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::ledger::{self, Counts};

/// What the line tells is of so long.
const WINDOW: Duration = Duration::from_secs(1);
/// Where the line cannot be drawn again and again, it is written so often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

pub struct Live {
    bar: ProgressBar,
    is_terminal: bool,
    recent: Histogram<u64>,
    since: Instant,
    answered: u64,
    version: String,
    written: Instant,
}

impl Live {
    /// `records`: how many there will be, if that is known.
    pub fn new(records: Option<u64>) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = ProgressDrawTarget::stderr_with_hz(4);
        let bar = ProgressBar::with_draw_target(records, target);
        let template = match records {
            Some(_) => "  {bar:8} {human_pos} · {wide_msg}",
            None => "  {human_pos} · {wide_msg}",
        };
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let now = Instant::now();
        Self {
            bar,
            is_terminal,
            recent: ledger::histogram(),
            since: now,
            answered: 0,
            version: String::new(),
            written: now,
        }
    }

    /// A prediction was read.
    pub fn note(&mut self, version: &str, latency_ms: Option<u64>) {
        if self.version != version {
            version.clone_into(&mut self.version);
        }
        if let Some(latency_ms) = latency_ms {
            self.recent.saturating_record(latency_ms);
        }
    }

    /// Has the window passed that [`Self::show`] tells of?
    pub fn is_due(&self) -> bool {
        self.since.elapsed() >= WINDOW
    }

    pub fn show(&mut self, counts: Counts) {
        let age = self.since.elapsed();
        let rate = (counts.answered - self.answered) as f64 / age.as_secs_f64();
        let line = self.line(rate, counts);
        self.recent.reset();
        self.since = Instant::now();
        self.answered = counts.answered;
        self.bar.set_position(counts.answered);
        if self.is_terminal {
            self.bar.set_message(line);
        } else if self.written.elapsed() >= PLAIN_EVERY {
            self.written = Instant::now();
            eprintln!("  {} events · {line}", HumanCount(counts.answered));
        }
    }

    fn line(&self, rate: f64, counts: Counts) -> String {
        if self.version.is_empty() {
            return "waiting for the first prediction".into();
        }
        let mut parts = vec![format!("{}/s", HumanCount(rate.round() as u64))];
        if !self.recent.is_empty() {
            let quantile = |q| self.recent.value_at_quantile(q);
            parts.push(format!("p50/p99 {}/{} ms", quantile(0.5), quantile(0.99)));
        }
        parts.push(format!("version {}", self.version));
        parts.push(match counts.dead_letters {
            1 => "1 dead letter".into(),
            letters => format!("{} dead letters", HumanCount(letters)),
        });
        parts.join(" · ")
    }

    /// Runs something that prints, without the line in its way.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}
