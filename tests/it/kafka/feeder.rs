//! Publishes events, each with a number of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord};

use super::deployment::Deployment;
use super::topics::{self, Deliveries};

/// The events of a key are numbered in steps of this.
pub const KEYS: u64 = 97;

/// What the event of a number says: goes round through 0 to 999.
pub fn x(number: u64) -> u64 {
    number % 1000
}

/// The event of a number, and its key.
pub fn event(number: u64) -> (String, String) {
    let (x, kind) = (x(number), ["a", "b"][number as usize % 2]);
    (format!("key-{}", number % KEYS), format!(r#"{{"id":"{number}","x":{x},"kind":"{kind}"}}"#))
}

fn publish_next(deployment: &Deployment, producer: &BaseProducer<Deliveries>) {
    let number = deployment.next_event.fetch_add(1, Ordering::Relaxed);
    let (key, value) = event(number);
    let record = BaseRecord::to(&deployment.topics.events).key(&key).payload(&value);
    if let Err((error, _)) = producer.send(record) {
        panic!("expected the queue to have room for event {number}: {error}");
    }
}

/// Publishes `count` events as fast as the broker takes them.
pub fn burst(deployment: &Deployment, count: u64) {
    let producer = topics::producer(deployment, &deployment.fed);
    for _ in 0..count {
        publish_next(deployment, &producer);
    }
    topics::flush(&producer);
}

/// Publishes at a steady rate in the background.
pub struct Feeder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feeder {
    pub fn start(deployment: &Arc<Deployment>, per_second: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (deployment, stopped) = (Arc::clone(deployment), Arc::clone(&stop));
        let thread = Some(thread::spawn(move || feed(&deployment, per_second, &stopped)));
        Self { stop, thread }
    }

    /// Stops, and waits until the broker has everything.
    pub fn stop(mut self) {
        self.end().expect("the broker takes the events");
    }

    fn end(&mut self) -> thread::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn feed(deployment: &Deployment, per_second: u64, stop: &AtomicBool) {
    let producer = topics::producer(deployment, &deployment.fed);
    let (began, mut sent) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * per_second as f64) as u64;
        for _ in sent..due {
            publish_next(deployment, &producer);
        }
        sent = due;
        producer.poll(Duration::ZERO);
        thread::sleep(Duration::from_millis(2));
    }
    topics::flush(&producer);
}
