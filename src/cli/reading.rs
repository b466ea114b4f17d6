//! Reads a range to its end, with a bar that shows how far it is.

use std::fmt;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressFinish, ProgressState, ProgressStyle};

use crate::bus::Fatal;
use crate::bus::range::{Edge, Span};
use crate::bus::tail::{Step, Tail};
use crate::cli::failure::Failure;
use crate::config::Kafka;
use crate::record::{Header, Record};

/// How long one look waits.
const TICK: Duration = Duration::from_millis(100);
/// The bar is moved each time that so many records were read.
const RECORDS_A_MOVE: u64 = 4096;

/// Gives every record of the range to `take`, those of a partition in their order. `what` stands
/// beside the bar, on a terminal.
///
/// # Errors
/// What `take` says; the topic may not be read; or nothing came for `kafka.connect_timeout_ms`.
pub fn to_end(
    tail: &mut Tail,
    topic: &str,
    kafka: &Kafka,
    what: &str,
    mut take: impl for<'m> FnMut(
        Record<'m>,
        &mut dyn Iterator<Item = Header<'m>>,
    ) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let patience = Duration::from_millis(kafka.connect_timeout_ms);
    let offsets = |count: fn(&Span) -> i64, tail: &Tail| -> u64 {
        tail.spans().map(|(_, span)| count(&span).unsigned_abs()).sum()
    };
    let bar = bar(offsets(|span| span.stop - span.first, tail), what);
    let (mut idle_since, mut moved) = (None, Instant::now());
    for records in 1_u64.. {
        match tail.visit(TICK, &mut take)? {
            Step::Record(taken) => {
                taken?;
                idle_since = None;
            }
            Step::End => break,
            Step::Nothing => {
                let since = *idle_since.get_or_insert_with(Instant::now);
                if since.elapsed() > patience {
                    return Err(stuck(tail, topic, patience).into());
                }
            }
        }
        if records.is_multiple_of(RECORDS_A_MOVE) || moved.elapsed() > TICK {
            moved = Instant::now();
            bar.set_position(offsets(|span| span.next - span.first, tail));
        }
    }
    Ok(())
}

/// Shown on a terminal only, until it is dropped.
fn bar(offsets: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(offsets)
        .with_message(what.to_owned())
        .with_finish(ProgressFinish::AndClear);
    let template = "{msg} {bar:30} {human_pos} of {human_len} · {rate}/s · {eta} left";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // A screen that cannot be written on shows no bar either.
        let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
    };
    bar.set_style(style.with_key("rate", rate));
    bar
}

fn stuck(tail: &Tail, topic: &str, patience: Duration) -> Fatal {
    let unread = tail.spans().filter(|(_, span)| !span.is_read());
    let places = unread.map(|(partition, span)| format!("{partition} from offset {}", span.next));
    Fatal::Unavailable(format!(
        "nothing more came of `{topic}` for {} ms; unread are partitions {}\n\nhint: see that the brokers which lead them are up, and start again",
        patience.as_millis(),
        places.collect::<Vec<_>>().join(", ")
    ))
}

/// The time of the earliest of the partitions' first records in the range, in milliseconds since the
/// epoch. `None`: it has none, or they carry no time.
///
/// # Errors
/// As [`to_end`].
pub fn earliest(
    kafka: &Kafka,
    topic: &str,
    from: &Edge,
    to: &Edge,
) -> Result<Option<i64>, Failure> {
    let mut tail = Tail::open_range(kafka, topic, from, to)?;
    let firsts = tail.spans().filter(|(_, span)| !span.is_read());
    let mut waiting: Vec<i32> = firsts.map(|(partition, _)| partition).collect();
    let mut earliest = None;
    let until = Instant::now() + Duration::from_millis(kafka.connect_timeout_ms);
    while !waiting.is_empty() {
        match tail.visit(TICK, |record, _| (record.partition, record.timestamp_ms))? {
            Step::Record((partition, time)) => {
                let before = waiting.len();
                waiting.retain(|other| *other != partition);
                if waiting.len() < before {
                    let Some(time) = time else { return Ok(None) };
                    earliest = Some(earliest.map_or(time, |earliest: i64| earliest.min(time)));
                }
            }
            Step::End => break,
            // It would only have saved time to know.
            Step::Nothing if Instant::now() > until => return Ok(None),
            Step::Nothing => {}
        }
    }
    Ok(earliest)
}
