//! What the tour says, and how it looks: the story on stdout, beside the live line on stderr.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use comfy_table::{ContentArrangement, LineStyle, Table, presets};
use console::{Term, style};

use super::answer::{DeadLetter, Prediction};
use super::live::Live;

/// So many predictions are shown, of all that come.
const SHOWN_EVERY: Duration = Duration::from_millis(500);
/// Longer lines are hard to read.
const WIDTH_MAX: u16 = 100;

pub struct Screen {
    pub live: Live,
    shown: Option<Instant>,
}

impl Screen {
    pub fn new(live: Live) -> Self {
        Self { live, shown: None }
    }

    pub fn line(&self, text: impl std::fmt::Display) -> io::Result<()> {
        self.live.aside(|| writeln!(io::stdout(), "{text}"))
    }

    /// A chapter begins.
    pub fn heading(&self, text: &str) -> io::Result<()> {
        self.line(format_args!("\n{}", style(text).bold()))
    }

    pub fn table(&self, table: &Table) -> io::Result<()> {
        self.line(table.trim_fmt())
    }

    /// A message, with blanks between its fields where it may be wrapped.
    pub fn json(&self, text: &str) -> io::Result<()> {
        let spaced = text.replace(",\"", ", \"").replace("\":\"", "\": \"");
        let mut table = plain_table();
        table.add_row([spaced]);
        self.line(style(table.trim_fmt()).dim())
    }

    /// The head of the columns that [`Self::prediction`] prints.
    pub fn head(&self) -> io::Result<()> {
        let head = format!(
            "  {:<8} {:<9} {:<15} {:<16} {}",
            "flight", "route", "left", "15 min late?", "version"
        );
        self.line(style(head).dim())
    }

    /// Shows a prediction, unless another one has been shown just now.
    pub fn prediction(&mut self, prediction: &Prediction) -> io::Result<()> {
        if self.shown.is_some_and(|shown| shown.elapsed() < SHOWN_EVERY) {
            return Ok(());
        }
        self.shown = Some(Instant::now());
        let Prediction { probability, label, version, carry: flight, .. } = prediction;
        let left = match flight.delay {
            0 => "on time".to_owned(),
            1.. => format!("{} min late", flight.delay),
            _ => format!("{} min early", -flight.delay),
        };
        let number = format!("{}{}", flight.carrier, flight.number);
        let route = format!("{}→{}", flight.origin, flight.dest);
        let verdict = format!("{:>3.0} % {:<10}", probability * 100.0, label.replace('_', " "));
        let verdict =
            if label == "late" { style(verdict).yellow() } else { style(verdict).green() };
        self.line(format_args!("  {number:<8} {route:<9} {left:<15} {verdict} {version}"))
    }

    pub fn dead_letter(&self, letter: &DeadLetter) -> io::Result<()> {
        let room = usize::from(width()).saturating_sub(6);
        let text = format!("dead letter, {}: {}", letter.reason, letter.message);
        self.line(format_args!("  {}", style(console::truncate_str(&text, room, "…")).red()))
    }
}

/// A table without lines whose text is wrapped to the screen.
pub fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    fit(&mut table);
    table
}

/// A table of figures: lines around its head and under its last row.
pub fn figures(header: impl Into<comfy_table::Row>) -> Table {
    let mut table = Table::new();
    let style = presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());
    table.load_style(style).set_header(header);
    fit(&mut table);
    table
}

fn fit(table: &mut Table) {
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width());
}

fn width() -> u16 {
    Term::stdout().size().1.min(WIDTH_MAX)
}
