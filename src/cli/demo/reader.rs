//! The independent reader: reads events, predictions, dead letters and control messages from their topics, as any
//! application would, and knows nothing of the instances.

use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::fact::{Fact, Read, Topic};
use crate::bus::Fatal;
use crate::bus::tail::{Step, Tail};
use crate::config::Config;
use crate::stop::Stop;

/// How long one look waits: a wish to stop is seen within it.
const TICK: Duration = Duration::from_millis(100);

/// One thread a topic. Dropped, they end.
pub struct Reader {
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Reader {
    /// Opens all topics at their beginning, and tells each record to `facts`.
    pub fn start(config: &Config, facts: &SyncSender<Fact>) -> Result<Self, Fatal> {
        let mut reader = Self { stop: Stop::default(), threads: Vec::new() };
        let topics = [
            (Topic::Events, &config.topics.events),
            (Topic::Predictions, &config.topics.predictions),
            (Topic::DeadLetters, &config.topics.dead_letters),
            (Topic::Control, &config.topics.control),
        ];
        for (topic, name) in topics {
            let tail = Tail::open(&config.kafka, name)?;
            let (stop, facts) = (reader.stop.clone(), facts.clone());
            let thread = thread::Builder::new()
                .name(format!("reader of {name}"))
                .spawn(move || follow(topic, tail, &stop, &facts))
                .map_err(|error| Fatal::Bug(format!("starting a thread: {error}")))?;
            reader.threads.push(thread);
        }
        Ok(reader)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.request(Duration::ZERO);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn follow(topic: Topic, mut tail: Tail, stop: &Stop, facts: &SyncSender<Fact>) {
    while !stop.is_requested() {
        let fact = match tail.next(TICK) {
            Ok(Step::Record(record)) => {
                let at_ms = jiff::Timestamp::now().as_millisecond();
                Fact::Read(Read { topic, record, at: Instant::now(), at_ms })
            }
            Ok(Step::End | Step::Nothing) => continue,
            Err(fatal) => Fact::Failed(fatal),
        };
        let is_end = matches!(fact, Fact::Failed(_));
        if facts.send(fact).is_err() || is_end {
            return;
        }
    }
}
