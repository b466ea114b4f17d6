//! The control log, as an evaluator follows it: which version shall serve, and when training was last asked for.

use std::time::Duration;

use crate::bus::Fatal;
use crate::bus::tail::{Record, Step, Tail};
use crate::cli::lookout;
use crate::config::Config;
use crate::control::message::Message;
use crate::control::registry::{Configured, Registry};

/// Messages that are taken in one turn.
const TURN: usize = 100;

pub struct Log {
    tail: Tail,
    heard: Heard,
}

/// What the log has said so far.
#[derive(Debug)]
pub struct Heard {
    model: String,
    registry: Registry,
    /// When training was last asked for, by whomever, in milliseconds since the epoch.
    pub asked_ms: Option<i64>,
}

/// The version that shall serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serves {
    pub version: String,
    /// Offset of the message that chose it; `None`: the configuration did.
    pub control_offset: Option<i64>,
    /// There is one that served before it, and it was not itself gone back to.
    pub has_way_back: bool,
}

impl Log {
    /// Reads all that there is now.
    ///
    /// # Errors
    /// The control topic cannot be read.
    pub fn open(config: &Config) -> Result<Self, Fatal> {
        let configured = lookout::configured(config);
        let mut heard = Heard::new(&config.model.name, configured.as_ref());
        let mut tail = Tail::open(&config.kafka, &config.topics.control)?;
        let patience = Duration::from_millis(config.kafka.connect_timeout_ms);
        tail.read_to_end(patience, |record| heard.take(record))?;
        Ok(Self { tail, heard })
    }

    /// What it says by now.
    ///
    /// # Errors
    /// The control topic can no longer be read.
    pub fn follow(&mut self) -> Result<&Heard, Fatal> {
        for _ in 0..TURN {
            match self.tail.next(Duration::ZERO)? {
                Step::Record(record) => self.heard.take(&record),
                Step::End | Step::Nothing => break,
            }
        }
        Ok(&self.heard)
    }
}

impl Heard {
    /// Of `model` before anything was said. `configured`: the version that serves until then.
    pub fn new(model: &str, configured: Option<&Configured>) -> Self {
        Self { model: model.into(), registry: Registry::new(model, configured), asked_ms: None }
    }

    pub fn take(&mut self, record: &Record) {
        let message = Message::parse(record.value.as_deref().unwrap_or_default());
        let Ok(message) = message else { return };
        if matches!(&message, Message::RetrainRequest { model, .. } if *model == self.model) {
            self.asked_ms = record.timestamp_ms.max(self.asked_ms);
        }
        // What contradicts itself changes nothing; instances say so.
        let _ = self.registry.apply(record.offset, &message);
    }

    pub fn serves(&self) -> Option<Serves> {
        let mut wanted = self.registry.wanted();
        let first = wanted.next()?;
        Some(Serves {
            version: first.version.into(),
            control_offset: first.control_offset,
            has_way_back: !first.is_return && wanted.next().is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, value: &str) -> Record {
        Record {
            partition: 0,
            offset,
            timestamp_ms: Some(1_000 + offset),
            key: None,
            value: Some(value.as_bytes().to_vec()),
            headers: Vec::new(),
        }
    }

    #[test]
    fn the_log_says_what_serves_and_whether_there_is_a_way_back() {
        let configured = Configured { version: "1".into(), digest: "sha256:1".into() };
        let mut heard = Heard::new("m", Some(&configured));
        let mut check =
            |value: Option<&str>, version: &str, control_offset: Option<i64>, has_way_back| {
                if let Some(value) = value {
                    heard.take(&record(control_offset.unwrap_or(9), value));
                }
                let version = version.into();
                let expect = Serves { version, control_offset, has_way_back };
                assert_eq!(heard.serves(), Some(expect), "{value:?}");
            };
        check(None, "1", None, false);
        let two = r#"{"type":"retrain-complete","model":"m","version":"2","uri":"/2","digest":"sha256:2"}"#;
        check(Some(two), "2", Some(0), true);
        check(Some("no message"), "2", Some(0), true);
        let back = r#"{"type":"rollback","model":"m","from":"2"}"#;
        check(Some(back), "1", Some(2), false);
    }

    #[test]
    fn it_says_when_training_was_last_asked_for() {
        let mut heard = Heard::new("m", None);
        assert_eq!((heard.serves(), heard.asked_ms), (None, None));
        heard.take(&record(5, r#"{"type":"retrain-request","model":"m"}"#));
        heard.take(&record(7, r#"{"type":"retrain-request","model":"another"}"#));
        assert_eq!(heard.asked_ms, Some(1_005));
    }
}
