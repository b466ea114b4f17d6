//! After the tour: what the reader has counted.

use std::io;
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table};
use indicatif::HumanCount;

use super::ledger::{Partition, Version};
use super::quality::{Judgement, Stream};
use super::screen;
use super::tour::Tour;
use super::verdict;
use crate::compare::percent;

const FLIGHTS_TO_JUDGE: u64 = 10_000;

pub fn print(tour: &Tour) -> io::Result<()> {
    let Tour { screen, ledger, .. } = tour;
    screen.heading("What happened, counted from the topics by a reader of its own")?;
    screen.table(&counts(tour))?;
    if ledger.versions().len() > 1 {
        screen.heading("The change of version: each flight was scored by exactly one")?;
        screen.table(&turns(tour))?;
        change(tour)?;
    }
    if tour.moments.struck.is_some() {
        screen.heading("The killed instance")?;
        screen.table(&silences(tour))?;
    }
    quality(tour)?;
    the_loop(tour)?;
    screen.heading("Next")?;
    screen.line("  Your own model in four commands: README.md. All commands: foretell --help")
}

fn counts(tour: &Tour) -> Table {
    let Tour { ledger, stage, .. } = tour;
    let counts = ledger.counts();
    let mut table = screen::plain_table();
    let mut row = |title: &str, count: u64, more: String| {
        let count = Cell::new(HumanCount(count)).set_alignment(CellAlignment::Right);
        table.add_row([Cell::new(title), count, Cell::new(more)]);
    };
    row("events", counts.events, format!("on {}", stage.config().topics.events));
    for Version { name, predictions, .. } in ledger.versions() {
        row("predictions", *predictions, format!("by version {name}"));
    }
    let reasons = ledger.reasons().iter().map(|(reason, count)| format!("{reason} {count}"));
    row("dead letters", counts.dead_letters, reasons.collect::<Vec<_>>().join(", "));
    row("lost", verdict::lost(tour), "events without an answer".into());
    row("doubled", counts.doubled, "answers to an event that had one".into());
    let (latency, when) = match (&tour.moments.calm, &tour.moments.struck) {
        (Some(calm), Some(_)) => (calm, "; before one instance was killed"),
        _ => (ledger.latency(), ""),
    };
    let quantile = |q| latency.value_at_quantile(q);
    let (most, all) = (HumanCount(quantile(0.99)), HumanCount(quantile(1.0)));
    let more =
        format!("ms from event to prediction; 99 % within {most} ms, all within {all} ms{when}");
    row("median", quantile(0.5), more);
    table
}

/// Which offsets of each partition each version scored, from the first to the last.
fn turns(tour: &Tour) -> Table {
    let versions = tour.ledger.versions();
    let titles = versions.iter().map(|version| format!("scored by version {}", version.name));
    let header = std::iter::once("partition".to_owned()).chain(titles);
    let mut table = screen::figures(header.collect::<Vec<_>>());
    for (number, Partition { turns, .. }) in tour.ledger.partitions() {
        let ranges = |version: &Version| {
            let own = turns.iter().filter(|turn| turn.version == version.name);
            let ranges = own.map(|turn| format!("offset {} to {}", turn.first, turn.last));
            ranges.collect::<Vec<_>>().join(", ")
        };
        let cells = versions.iter().map(ranges);
        table.add_row(std::iter::once(number.to_string()).chain(cells).collect::<Vec<_>>());
    }
    table
}

fn change(tour: &Tour) -> io::Result<()> {
    let (Some(announced), [old, new, ..]) = (tour.moments.announced, tour.ledger.versions()) else {
        return Ok(());
    };
    tour.screen.line(format_args!(
        "  First by version {}: {} after the announcement. Last by version {}: {}.",
        new.name,
        short(new.first_at.saturating_duration_since(announced)),
        old.name,
        short(old.last_at.saturating_duration_since(announced)),
    ))
}

fn silences(tour: &Tour) -> Table {
    let mut table = screen::figures(["partition", "its owner", "longest wait for an answer"]);
    let killed = tour.moments.struck.as_ref().map_or(&[][..], |strike| &strike.partitions);
    for (number, partition) in tour.ledger.partitions() {
        let owner =
            if killed.contains(number) { "was killed; another took over" } else { "lived on" };
        table.add_row([number.to_string(), owner.into(), short(partition.silence)]);
    }
    table
}

/// Only if there is enough to judge by: fewer flights are a few days, all of one weather.
fn quality(tour: &Tour) -> io::Result<()> {
    let mut judged = tour.ledger.quality().judge();
    judged.retain(|version| version.stream == Stream::AsLearnt);
    if judged.is_empty() || judged.iter().any(|version| version.flights < FLIGHTS_TO_JUDGE) {
        return Ok(());
    }
    tour.screen.heading("Were the predictions any good? By now it is known who came late")?;
    let mut table = screen::figures([
        "predictions by",
        "flights",
        "their AUC",
        "AUC of the departure delay alone",
    ]);
    for Judgement { version, flights, auc, auc_of_delay, .. } in judged {
        table.add_row([
            format!("version {version}"),
            HumanCount(flights).to_string(),
            format!("{auc:.3}"),
            format!("{auc_of_delay:.3}"),
        ]);
    }
    tour.screen.table(&table)?;
    tour.screen.line("  0.5 is guessing, 1 is perfect. Each version had flights of its own.")
}

/// Before the release, after it, and with what was learnt from it.
fn the_loop(tour: &Tour) -> io::Result<()> {
    let Some(trained) = &tour.moments.course.trained else { return Ok(()) };
    let judged = tour.ledger.quality().judge();
    let before = judged.iter().rfind(|one| one.stream == Stream::AsLearnt);
    let after = judged.iter().filter(|one| one.stream == Stream::AfterRelease);
    tour.screen.heading("The loop has closed: what became of quality")?;
    let mut table = screen::figures(["", "scored by", "flights", "right", "AUC"]);
    for Judgement { stream, version, flights, accuracy, auc, .. } in before.into_iter().chain(after)
    {
        let when = match stream {
            Stream::AsLearnt => "before the release",
            Stream::AfterRelease if version == trained => "after it, retrained",
            Stream::AfterRelease => "after it",
        };
        table.add_row([
            when.to_owned(),
            format!("version {version}"),
            HumanCount(*flights).to_string(),
            percent(*accuracy),
            format!("{auc:.3}"),
        ]);
    }
    tour.screen.table(&table)
}

fn short(time: Duration) -> String {
    match time.as_millis() {
        millis @ ..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
