//! What the visitor is told before and after: who takes part, and what the reader has counted.

use std::io;
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table};
use hdrhistogram::Histogram;
use indicatif::HumanCount;

use super::ledger::{Partition, Version};
use super::screen;
use super::tour::Tour;
use crate::config::Guarantee;

/// Who takes part.
pub fn introduction(tour: &Tour) -> io::Result<()> {
    let Tour { screen, plan, stage, .. } = tour;
    screen.heading("foretell: a topic of events becomes a topic of predictions")?;
    let mut table = screen::plain_table();
    for (title, text) in stage.introduction() {
        table.add_row([title.to_owned(), text]);
    }
    table.add_row([
        "model".to_owned(),
        "late-arrival version 1, LightGBM, trained on January to June: will this flight arrive 15 or more minutes late?".into(),
    ]);
    table.add_row([
        "events".to_owned(),
        format!(
            "{} real departures from New York in December 2013, {} a second, and {} broken ones among them.",
            HumanCount(plan.flights),
            HumanCount(plan.rate),
            plan.faults(),
        ),
    ]);
    screen.table(&table)?;
    addresses(tour)
}

/// Where to look oneself.
pub fn addresses(tour: &Tour) -> io::Result<()> {
    let config = tour.stage.config();
    let mut table = screen::plain_table();
    let kcat =
        format!("kcat -C -b {} -t {}", config.kafka.bootstrap_servers, config.topics.predictions);
    table.add_row(["look".to_owned(), kcat]);
    for address in tour.stage.addresses() {
        table.add_row([String::new(), format!("http://{address}/")]);
    }
    tour.screen.table(&table)
}

/// What happened.
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
    screen.heading("Next")?;
    screen.line("  Your own model in four commands: README.md.  All commands: foretell --help")
}

fn counts(tour: &Tour) -> Table {
    let Tour { ledger, moments, stage, .. } = tour;
    let counts = ledger.counts();
    let mut table = screen::plain_table();
    let mut row = |title: &str, count: String, more: String| {
        let count = Cell::new(count).set_alignment(CellAlignment::Right);
        table.add_row([Cell::new(title), count, Cell::new(more)]);
    };
    let number = |count: u64| HumanCount(count).to_string();
    row("events", number(counts.events), format!("on {}", stage.config().topics.events));
    for Version { name, predictions, .. } in ledger.versions() {
        row("predictions", number(*predictions), format!("by version {name}"));
    }
    let reasons = ledger.reasons().iter().map(|(reason, count)| format!("{reason} {count}"));
    row("dead letters", number(counts.dead_letters), reasons.collect::<Vec<_>>().join(", "));
    row("lost", number(lost(tour)), "events without an answer".into());
    row("doubled", number(counts.doubled), "events with more than one".into());
    let calm = moments.calm.as_ref().filter(|_| moments.struck.is_some());
    let (latency, when) = match calm {
        Some(calm) => (calm, ", before one was killed"),
        None => (ledger.latency(), ""),
    };
    row(
        "latency",
        format!("{} ms", latency.value_at_quantile(0.5)),
        format!("{}{when}", quantiles(latency)),
    );
    table
}

fn quantiles(latency: &Histogram<u64>) -> String {
    let quantile = |q| latency.value_at_quantile(q);
    format!(
        "half are quicker from event to prediction; 99 % within {} ms, all within {} ms",
        quantile(0.99),
        quantile(1.0)
    )
}

fn turns(tour: &Tour) -> Table {
    let mut table = screen::figures(["partition", "first offset", "last offset", "version"]);
    for (number, Partition { turns, .. }) in tour.ledger.partitions() {
        for turn in turns {
            table.add_row([
                number.to_string(),
                turn.first.to_string(),
                turn.last.to_string(),
                turn.version.clone(),
            ]);
        }
    }
    table
}

fn change(tour: &Tour) -> io::Result<()> {
    let (Some(announced), [old, new, ..]) = (tour.moments.announced, tour.ledger.versions()) else {
        return Ok(());
    };
    tour.screen.line(format_args!(
        "  First prediction of version {} {} after its announcement, last of version {} {} after it.",
        new.name,
        seconds(new.first_at - announced),
        old.name,
        seconds(old.last_at.saturating_duration_since(announced)),
    ))
}

fn silences(tour: &Tour) -> Table {
    let mut table = screen::figures(["partition", "owner killed", "longest wait for a prediction"]);
    let killed = tour.moments.struck.as_ref().map_or(&[][..], |strike| &strike.partitions);
    for (number, partition) in tour.ledger.partitions() {
        let moved = if killed.contains(number) { "yes, moved" } else { "no" };
        table.add_row([number.to_string(), moved.into(), seconds(partition.silence)]);
    }
    table
}

fn quality(tour: &Tour) -> io::Result<()> {
    let judged = tour.ledger.quality().judge();
    if judged.is_empty() {
        return Ok(());
    }
    tour.screen.heading("Were the predictions any good? Today we know which flights came late")?;
    for judgement in judged {
        tour.screen.line(format_args!(
            "  version {}: AUC {:.3} on the {} flights that it scored (0.5 is guessing, 1 is perfect)",
            judgement.version, judgement.auc, HumanCount(judgement.flights as u64)
        ))?;
    }
    Ok(())
}

/// The promise that was broken, if one was.
pub fn broken_promise(tour: &Tour) -> Option<String> {
    let counts = tour.ledger.counts();
    let exactly_once = tour.stage.config().delivery.guarantee == Guarantee::ExactlyOnce;
    let lost = lost(tour);
    if lost > 0 {
        return Some(format!("{lost} events were lost"));
    }
    if counts.doubled > 0 && exactly_once {
        return Some(format!("{} events have more than one answer", counts.doubled));
    }
    if counts.unreadable > 0 {
        return Some(format!("{} answers cannot be read", counts.unreadable));
    }
    if tour.moments.announced.is_some() && tour.ledger.versions().len() < 2 {
        return Some("version 2 was announced and never served".into());
    }
    None
}

/// Published and not on the topic, or on the topic and not answered.
fn lost(tour: &Tour) -> u64 {
    let never_seen = tour.moments.published.saturating_sub(tour.ledger.counts().events);
    tour.ledger.lost() + never_seen
}

fn seconds(time: Duration) -> String {
    match time.as_millis() {
        millis @ ..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
