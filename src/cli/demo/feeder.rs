//! Publishes flights at a steady rate, and a broken event from time to time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::flights::{self, Flights};
use crate::bus::Fatal;
use crate::bus::publish::Publisher;

/// Flights are published in bursts of what is due: few, large batches are what the embedded Kafka
/// can keep (it slows down with their number).
const BURST: Duration = Duration::from_millis(20);
const FLUSH: Duration = Duration::from_secs(10);

/// What to publish.
pub struct Feed {
    pub topic: String,
    pub flights: Arc<Flights>,
    /// Number of the first flight, and the one after the last; `None`: there is no last.
    pub from: u64,
    pub to: Option<u64>,
    /// Flights a second.
    pub rate: u64,
    /// A broken event comes after so many flights.
    pub fault_every: u64,
    /// After the producer's new release.
    pub arrivals: Option<Arrivals>,
}

/// Where it is told what became of each flight; at once, as the days of a tour are short.
#[derive(Clone)]
pub struct Arrivals {
    pub topic: String,
    pub known: Arc<flights::Arrivals>,
}

/// A thread that publishes. Dropped, it publishes no more.
pub struct Feeder {
    progress: Arc<Progress>,
    wish_to_stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<(), Fatal>>>,
}

#[derive(Default)]
struct Progress {
    flights: AtomicU64,
    records: AtomicU64,
}

impl Feeder {
    pub fn start(feed: Feed, publisher: Arc<Publisher>) -> io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let (wish_to_stop, stop) = channel();
        let shown = Arc::clone(&progress);
        let work = move || feed.publish(&publisher, &stop, &shown);
        let thread = thread::Builder::new().name("feeder".into()).spawn(work)?;
        Ok(Self { progress, wish_to_stop: Some(wish_to_stop), thread: Some(thread) })
    }

    /// Flights published so far.
    pub fn flights(&self) -> u64 {
        self.progress.flights.load(Ordering::Relaxed)
    }

    /// The last flight is published and acknowledged, or publishing has failed.
    pub fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Publishes no more; says how many records there were, broken ones included.
    ///
    /// # Errors
    /// Some of them could not be published.
    pub fn stop(&mut self) -> Result<u64, Fatal> {
        self.wish_to_stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|_| Err(Fatal::Bug("the feeder panicked".into())))?;
        }
        Ok(self.progress.records.load(Ordering::Relaxed))
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        // Whoever wants to know how it ended has asked before.
        let _ = self.stop();
    }
}

impl Feed {
    fn publish(
        &self,
        publisher: &Publisher,
        stop: &Receiver<()>,
        progress: &Progress,
    ) -> Result<(), Fatal> {
        let began = Instant::now();
        let mut next = self.from;
        for burst in 1.. {
            let until = BURST * burst;
            let due = self.from + (until.as_secs_f64() * self.rate as f64) as u64;
            let due = self.to.map_or(due, |to| due.min(to));
            while next < due {
                self.publish_one(publisher, next, progress)?;
                next += 1;
            }
            let left = until.saturating_sub(began.elapsed());
            let is_last = self.to == Some(next);
            if is_last || !matches!(stop.recv_timeout(left), Err(RecvTimeoutError::Timeout)) {
                break;
            }
            publisher.poll();
        }
        publisher.flush(FLUSH)?;
        Ok(())
    }

    fn publish_one(
        &self,
        publisher: &Publisher,
        number: u64,
        progress: &Progress,
    ) -> Result<(), Fatal> {
        let mut event = self.flights.event(number);
        if let Some(Arrivals { topic, known }) = &self.arrivals {
            event.delay_in_seconds();
            if let Some(was_late) = known.was_late(&event.id) {
                let label = format!(r#"{{"id":"{}","label":{}}}"#, event.id, u8::from(was_late));
                publisher.send(topic, Some(event.id.as_bytes()), label.as_bytes())?;
            }
        }
        publisher.send(&self.topic, Some(event.id.as_bytes()), event.json.as_bytes())?;
        progress.records.fetch_add(1, Ordering::Relaxed);
        if (number + 1).is_multiple_of(self.fault_every) {
            let spoiled = Fault::number(number / self.fault_every).spoil(&event.json);
            publisher.send(&self.topic, Some(event.id.as_bytes()), &spoiled)?;
            progress.records.fetch_add(1, Ordering::Relaxed);
        }
        progress.flights.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
