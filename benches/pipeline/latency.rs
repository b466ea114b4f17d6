//! Latency at 1,000 events a second, exactly once: from the event's timestamp, taken as it is
//! published, to the moment a read_committed reader has the prediction. The events have no key: each
//! moment's go to one partition together, as most clients send them, and the broker on the same cores
//! is not busy with single records.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use foretell::bus::admin;
use foretell::bus::publish::Publisher;
use foretell::bus::tail::{Step, Tail};
use foretell::config::Config;
use hdrhistogram::Histogram;

use crate::stage::Stage;

const RATE: u64 = 1_000;
/// Events before the measured ones: joins, first connections, caches.
const WARM_UP: u64 = 5_000;
const EVENTS: u64 = 30_000;

/// With `partitions` in and out: librdkafka sends one request for each, one after the other, so that
/// a transaction over many takes longer. `meanwhile` is called about every millisecond.
pub fn measure(
    stage: &Stage,
    partitions: i32,
    what: &str,
    set: &[String],
    meanwhile: impl FnMut(&Config, &Publisher) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("latency-{number}-{}", std::process::id());
    let events = format!("topics.events={name}-events");
    let config = stage.config(&name, &[&events])?;
    admin::create_topics(&config.kafka, &config.topics, partitions, 1)?;
    let mut all = vec![events, "run.workers=1".into()];
    all.extend(set.iter().cloned());
    let mut child = stage.start_foretell(&name, &all)?;
    let measured = run(stage, &config, meanwhile);
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
    let histogram = measured?;
    println!(
        "latency at {RATE} events/s, exactly once, {partitions} partitions, {what}: p50 {} ms, p99 {} ms, max {} ms",
        histogram.value_at_quantile(0.5),
        histogram.value_at_quantile(0.99),
        histogram.max()
    );
    Ok(())
}

fn run(
    stage: &Stage,
    config: &Config,
    mut meanwhile: impl FnMut(&Config, &Publisher) -> anyhow::Result<()>,
) -> anyhow::Result<Histogram<u64>> {
    let publisher = Publisher::new(&config.kafka)?;
    let mut tail = Tail::open(&config.kafka, &config.topics.predictions)?;
    let mut histogram = Histogram::new(3)?;
    let began = Instant::now();
    let (mut sent, mut read) = (0, 0);
    let deadline = began + Duration::from_secs((WARM_UP + EVENTS) / RATE + 60);
    while read < WARM_UP + EVENTS {
        anyhow::ensure!(Instant::now() < deadline, "{read} predictions of {sent} events");
        let due = (began.elapsed().as_micros() as u64 * RATE / 1_000_000).min(WARM_UP + EVENTS);
        while sent < due {
            let flight = &stage.flights[sent as usize % stage.flights.len()];
            publisher.send(&config.topics.events, None, flight.as_bytes())?;
            sent += 1;
        }
        publisher.poll();
        meanwhile(config, &publisher)?;
        while let Step::Record(record) = tail.next(Duration::from_millis(1))? {
            read += 1;
            let published = record.timestamp_ms.unwrap_or_default();
            let latency = (now_ms() - published).max(0) as u64;
            if read > WARM_UP {
                histogram.record(latency)?;
            }
        }
    }
    Ok(histogram)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
