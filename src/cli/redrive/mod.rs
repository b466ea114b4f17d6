//! `foretell redrive`: puts dead letters back on the events topic, each once, however often it is run,
//! stopped or killed.
//!
//! What was put back is said on the dead-letters topic itself: a transaction that puts letters back also
//! writes a [note](taken) of their offsets behind them, on their partition. A run reads all notes first.

mod letter;
mod original;
mod pace;
mod pass;
mod report;
mod taken;

use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use jiff::Timestamp;

use super::failure::Failure;
use super::{Configured, reading};
use crate::app;
use crate::bus::range::Edge;
use crate::bus::refusal::Operation;
use crate::bus::tail::Tail;
use crate::bus::writer::Writer;
use crate::bus::{Fatal, admin, stable};
use crate::config::Config;
use crate::reject::Reason;
use crate::stop::Stop;
use pass::{Limits, Pass};
use report::Report;
use taken::{Taken, Unread};

/// So long after its time-out a broker may take to end a transaction that was left open.
const TRANSACTION_GRACE: Duration = Duration::from_secs(20);
/// The longest record that a topic takes which may not be asked, in bytes.
const RECORD_BYTES_MAX: usize = 1_000_000;
/// Who was asked to stop finishes the transaction in hand within this.
const DRAIN: Duration = Duration::from_secs(10);

/// Put dead letters back on the events topic, each once, to be scored again
#[derive(Debug, Args)]
pub struct Redrive {
    #[command(flatten)]
    configured: Configured,
    #[command(flatten)]
    filter: Filter,
    /// Put back at most so many events a second
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Tell what would be put back, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Which letters are wanted. What is passed over can be put back by a later run.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only letters of this reason, as in `foretell.reason`; may be repeated
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    reason: Vec<Reason>,
    /// Only events of this partition of the events topic; may be repeated
    #[arg(long, value_name = "N")]
    partition: Vec<i32>,
    /// Only events of this time or later, such as 2013-12-01T05:15:00-05:00
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only events from before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Leave events that were refused so often already: `foretell.attempt` counts it
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    attempts_max: u64,
}

fn reasons() -> impl clap::builder::TypedValueParser<Value = Reason> {
    let names = PossibleValuesParser::new(Reason::ALL.map(Reason::as_str));
    names.try_map(|name| letter::reason(&name).ok_or("no reason of that name"))
}

impl Redrive {
    pub fn run(&self) -> Result<(), Failure> {
        let config = self.configured.load()?;
        let topics = &config.topics;
        let there = |topic, hint| admin::partitions(&config.kafka, topic, Operation::Write, hint);
        let partitions = there(&topics.events, "see `topics.events`")?;
        there(&topics.dead_letters, "see `topics.dead_letters`")?;
        let stop = stop_on_signal()?;
        let record_bytes_max = admin::message_bytes_max(&config.kafka, &[&topics.events]);
        let record_bytes_max = record_bytes_max.unwrap_or(RECORD_BYTES_MAX);
        // Before the notes are read: from here on nobody else writes any.
        let writer = match self.dry_run {
            true => None,
            false => Some(writer(&config, record_bytes_max, &stop)?),
        };
        let (taken, begin, end) = notes(&config, &stop)?;
        let mut letters = Tail::open_range(&config.kafka, &topics.dead_letters, &begin, &end)?;
        let limits = Limits { partitions, record_bytes_max };
        let mut pass = Pass::new(&config, &self.filter, &taken, limits, &stop);
        if let Some(writer) = writer {
            pass = pass.writing(writer, self.rate);
        }
        let (totals, outcome) = pass.run(&mut letters);
        let report = Report { config: &config, totals: &totals, is_dry: self.dry_run };
        println!("{}", if self.json { format!("{:#}", report.json()) } else { report.text() });
        outcome
    }
}

/// One writer at a time for the topic that the notes stand on, whatever the group.
fn writer(config: &Config, record_bytes_max: usize, stop: &Stop) -> Result<Writer, Fatal> {
    let id = format!("foretell-redrive.{}", config.topics.dead_letters);
    Writer::open(config, &id, record_bytes_max, stop)
}

/// What was put back, and from where to where there are letters that may not have been.
fn notes(config: &Config, stop: &Stop) -> Result<(Taken, Edge, Edge), Failure> {
    let (kafka, topic) = (&config.kafka, &config.topics.dead_letters);
    let timeout = Duration::from_millis(config.delivery.transaction_timeout_ms);
    stable::await_all(kafka, topic, timeout + TRANSACTION_GRACE, stop)?;
    let mut tail = Tail::open_range(kafka, topic, &Edge::Beginning, &Edge::End)?;
    let mut taken = Taken::default();
    reading::to_end(&mut tail, topic, kafka, "reading notes", |record, headers| {
        if stop.is_requested() {
            return Err(stopped());
        }
        taken.read(&record, headers).map_err(|Unread(why)| {
            Failure::data(format!(
                "`{topic}`, partition {}, offset {}: {why}\n\nhint: what was put back cannot be told without it",
                record.partition, record.offset
            ))
        })
    })?;
    let spans: Vec<_> = tail.spans().collect();
    let begin = spans.iter().map(|(it, span)| (*it, taken.first_open(*it, span.first))).collect();
    let end = spans.iter().map(|(it, span)| (*it, span.stop)).collect();
    Ok((taken, Edge::Offsets(begin), Edge::Offsets(end)))
}

fn stopped() -> Failure {
    Failure::late("stopped; run it again to go on: nothing is put back twice")
}

/// SIGTERM and SIGINT ask for an end; a second one ends the process on the spot.
fn stop_on_signal() -> Result<Stop, Failure> {
    let stop = Stop::default();
    let asked = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        runtime.block_on(async {
            app::signal().await;
            asked.request(DRAIN);
            // The second one is awaited by a task of this runtime.
            std::future::pending::<()>().await;
        });
    });
    Ok(stop)
}
