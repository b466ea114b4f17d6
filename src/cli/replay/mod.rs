//! `foretell replay`: what would this version say? Scores a range of the events topic outside the
//! group, and tells how that differs from what was recorded.

mod pass;
mod place;
mod recorded;
mod report;
mod sink;
mod slices;

use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use super::{Configured, reading};
use crate::app;
use crate::bus::admin;
use crate::bus::range::{Edge, Span};
use crate::bus::refusal::Operation;
use crate::bus::tail::Tail;
use crate::config::{Config, Topics};
use crate::encode::Encoder;
use crate::model::gate::{self, Expected, Times};
use crate::model::version::Version;
use pass::Pass;
use place::Place;
use recorded::Recorded;
use report::Report;
use sink::Sink;

/// A prediction carries its event's time. Events of a partition that are older than its first one in
/// the range are found too, by so much.
const OUT_OF_ORDER_MAX_MS: i64 = 3_600_000;

/// Score past events with any version, and see how it differs from what was predicted then
#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    configured: Configured,
    /// Folder of the bundle that scores
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    /// The first event: `beginning`, a record's time such as 2013-12-01T05:15:00-05:00, an offset for
    /// all partitions, or PARTITION:OFFSET, which may be repeated and leaves other partitions out
    #[arg(long, value_name = "PLACE")]
    from: Vec<Place>,
    /// Where to end, before this event: `end` (as it is now), or a place as for `--from`
    #[arg(long, value_name = "PLACE")]
    to: Vec<Place>,
    /// Compare with what this topic has of the same events; `predictions` is the configured one
    #[arg(long, value_name = "TOPIC")]
    against: Option<String>,
    /// Write the predictions to a file of JSON lines; `-` is stdout, and then the tables go to stderr
    #[arg(long, value_name = "FILE", conflicts_with = "to_topic")]
    out: Option<PathBuf>,
    /// Write the predictions to a topic, which none of the configured ones can be
    #[arg(long, value_name = "TOPIC")]
    to_topic: Option<String>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub fn run(&self) -> Result<(), Failure> {
        let from = place::edge("--from", &self.from, Edge::Beginning)?;
        let to = place::edge("--to", &self.to, Edge::End)?;
        place::agree(&from, &to)?;
        let config = self.configured.load()?;
        if let Some(topic) = &self.to_topic {
            is_free(topic, &config.topics)?;
        }
        let encoder = Encoder::new(&config.topics.events, &config.output);
        let settings = app::gate_settings(&config, &encoder);
        let expected = Expected::default();
        let version =
            gate::admit(&self.bundle, expected, &settings, &mut Times::default())?.version;
        let against = self.against.as_deref().map(|topic| match topic {
            "predictions" => config.topics.predictions.as_str(),
            other => other,
        });
        are_there(&config, against, self.to_topic.as_deref())?;
        let mut events = Tail::open_range(&config.kafka, &config.topics.events, &from, &to)?;
        let spans: Vec<_> = events.spans().collect();
        tell(&config.topics.events, &from, &spans, &version);
        let sink = self.sink(&config)?;
        let recorded = match against {
            Some(topic) => Some((topic, recall(&config, topic, (&from, &to), &spans, &version)?)),
            None => None,
        };
        let recorded = recorded.as_ref().map(|(topic, recorded)| (*topic, recorded));
        let pass = Pass::new(&config, &version, &encoder, recorded.map(|it| it.1), sink);
        let mut totals = pass.run(&mut events)?;
        self.print(Report {
            version: &version,
            events: &config.topics.events,
            spans: &spans,
            recorded,
            totals: &mut totals,
        });
        Ok(())
    }

    fn sink(&self, config: &Config) -> Result<Sink, Failure> {
        match (&self.out, &self.to_topic) {
            (Some(path), _) => Sink::lines(path),
            (None, Some(topic)) => Sink::topic(&config.kafka, topic),
            (None, None) => Ok(Sink::None),
        }
    }

    fn print(&self, mut report: Report<'_>) {
        let text = if self.json { format!("{:#}", report.json()) } else { report.text() };
        if self.out.as_deref() == Some(Path::new("-")) {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }
}

/// Sees that nobody else reads or writes the topic: what a version would have said is no answer.
fn is_free(topic: &str, topics: &Topics) -> Result<(), Failure> {
    let Topics { events, predictions, dead_letters, shadow, control, reports } = topics;
    let taken = [events, predictions, dead_letters, control, reports];
    if taken.into_iter().chain(shadow).any(|taken| taken == topic) {
        return Err(Failure::usage(format!(
            "`--to-topic {topic}` is a topic of the instances, whose readers would take a replay for the real thing\n\nhint: create a topic of its own"
        )));
    }
    Ok(())
}

/// Sees that brokers and topics are there before anything is waited for.
fn are_there(config: &Config, against: Option<&str>, to: Option<&str>) -> Result<(), Failure> {
    let Config { kafka, topics, .. } = config;
    admin::partitions(
        kafka,
        &topics.events,
        Operation::Read,
        "see `topics.events` in the configuration",
    )?;
    if let Some(topic) = against {
        admin::partitions(
            kafka,
            topic,
            Operation::Read,
            "`--against predictions` is the configured topic; another one is given by its name",
        )?;
    }
    if let Some(topic) = to {
        admin::partitions(
            kafka,
            topic,
            Operation::Write,
            "create it; any number of partitions will do",
        )?;
    }
    Ok(())
}

/// Says what will be replayed, and what of it is gone.
fn tell(topic: &str, from: &Edge, spans: &[(i32, Span)], version: &Version) {
    let offsets: i64 = spans.iter().map(|(_, span)| span.stop - span.first).sum();
    let partitions = match spans.len() {
        1 => "1 partition".to_owned(),
        many => format!("{many} partitions"),
    };
    let Version { model, version, .. } = version;
    eprintln!(
        "replaying {offsets} offsets of `{topic}` on {partitions} with {model} version {version}"
    );
    for (partition, span) in spans {
        let wanted = match from {
            Edge::Offset(offset) => Some(*offset),
            Edge::Offsets(offsets) => offsets.get(partition).copied(),
            _ => None,
        };
        if wanted.is_some_and(|wanted| wanted < span.first) {
            eprintln!("partition {partition} holds nothing before offset {}", span.first);
        }
    }
}

/// Reads what `topic` says of the events in the range, from where it can first say anything to its
/// end: an event may have been answered again, much later.
fn recall(
    config: &Config,
    topic: &str,
    (from, to): (&Edge, &Edge),
    spans: &[(i32, Span)],
    version: &Version,
) -> Result<Recorded, Failure> {
    let Config { kafka, topics, .. } = config;
    let width = version.engine.outputs();
    let mut recorded = Recorded::new(&topics.events, &version.task, width, spans.iter().copied())
        .map_err(Failure::usage)?;
    if spans.iter().all(|(_, span)| span.is_read()) {
        return Ok(recorded);
    }
    let earliest = match from {
        Edge::Beginning => None,
        Edge::Time(time) => Some(*time),
        _ => reading::earliest(kafka, &topics.events, from, to)?,
    };
    let begin = earliest.map_or(Edge::Beginning, |time| Edge::Time(time - OUT_OF_ORDER_MAX_MS));
    let mut tail = Tail::open_range(kafka, topic, &begin, &Edge::End)?;
    reading::to_end(&mut tail, topic, kafka, "recalling", |record, _| {
        recorded.note(record.value);
        Ok(())
    })?;
    Ok(recorded)
}
