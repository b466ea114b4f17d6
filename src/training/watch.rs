//! Trains when somebody asks for it: `retrain-request` on the control topic.

use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::settings::Settings;
use crate::bus::Fatal;
use crate::bus::tail::{Record, Step, Tail};
use crate::cli::configuration;
use crate::cli::failure::Failure;
use crate::control::message::Message;

/// How long one look at the topic waits.
const LOOK: Duration = Duration::from_millis(500);

/// A request that nobody has answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    offset: i64,
    reason: String,
}

/// Follows the control topic and calls `train` for requests, on a thread of its own, one at a time and not more
/// often than `watch.interval_minutes` allow. Of several requests the newest counts. One that was made
/// while nobody watched is answered, unless a version was announced since.
///
/// # Errors
/// The topic cannot be read. A training that fails is told, and the next request is waited for.
pub fn watch(
    settings: &Settings,
    train: impl Fn() -> Result<(), Failure> + Clone + Send + 'static,
) -> Result<(), Failure> {
    let Some(instances) = settings.instances().map(Path::to_owned) else {
        return Err(Failure::configuration(
            "there is no `announce` in the configuration\n\nhint: `announce.config` says where the control topic is",
        ));
    };
    let config = configuration(&instances)?;
    let (model, interval) = (&settings.model.name, settings.watch.interval());
    let mut tail = Tail::open(&config.kafka, &config.topics.control)?;
    let mut watch = Watch::new(interval);
    let patience = Duration::from_millis(config.kafka.connect_timeout_ms);
    tail.read_to_end(patience, |record| watch.read(model, record))?;
    eprintln!("watch: waiting for requests on `{}`", config.topics.control);
    let mut training: Option<JoinHandle<Result<(), Failure>>> = None;
    loop {
        if let Step::Record(record) = tail.next(LOOK)? {
            watch.read(model, &record);
        }
        if let Some(ended) = training.take_if(|training| training.is_finished()) {
            match ended.join() {
                Ok(Ok(())) => eprintln!("watch: trained"),
                Ok(Err(failure)) => eprintln!("watch: not announced: {failure}"),
                Err(_) => return Err(Fatal::Bug("the training panicked".into()).into()),
            }
        }
        if training.is_none()
            && let Some(request) = watch.due(Instant::now())
        {
            eprintln!("watch: request {}: {}", request.offset, request.reason);
            training = Some(thread::spawn(train.clone()));
        }
    }
}

/// What was asked for, and when it was last done.
#[derive(Debug)]
struct Watch {
    interval: Duration,
    pending: Option<Request>,
    began: Option<Instant>,
}

impl Watch {
    fn new(interval: Duration) -> Self {
        Self { interval, pending: None, began: None }
    }

    /// Takes in a record of the control topic.
    fn read(&mut self, model: &str, record: &Record) {
        match Message::parse(record.value.as_deref().unwrap_or_default()) {
            Ok(Message::RetrainRequest { model: of, reason, .. }) if of == model => {
                let reason = reason.unwrap_or_else(|| "no reason given".into());
                self.pending = Some(Request { offset: record.offset, reason });
            }
            // It answers all that was asked before.
            Ok(Message::RetrainComplete { model: of, .. }) if of == model => self.pending = None,
            _ => {}
        }
    }

    /// The request to answer now, which is answered then.
    fn due(&mut self, now: Instant) -> Option<Request> {
        if self.began.is_some_and(|began| now.saturating_duration_since(began) < self.interval) {
            return None;
        }
        let request = self.pending.take()?;
        self.began = Some(now);
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, value: &str) -> Record {
        Record {
            partition: 0,
            offset,
            timestamp_ms: None,
            key: None,
            value: Some(value.as_bytes().to_vec()),
            headers: Vec::new(),
        }
    }

    fn request(offset: i64, model: &str) -> Record {
        record(
            offset,
            &format!(r#"{{"type":"retrain-request","model":"{model}","reason":"drift"}}"#),
        )
    }

    #[test]
    fn the_newest_request_counts_and_not_too_often() {
        let minute = Duration::from_secs(60);
        let (mut watch, begin) = (Watch::new(minute), Instant::now());
        assert_eq!(watch.due(begin), None);
        watch.read("m", &request(0, "m"));
        watch.read("m", &request(1, "m"));
        watch.read("m", &request(2, "another"));
        watch.read("m", &record(3, "no message"));
        assert_eq!(watch.due(begin).map(|request| request.offset), Some(1));
        assert_eq!(watch.due(begin), None, "it is answered");
        watch.read("m", &request(4, "m"));
        assert_eq!(watch.due(begin + minute / 2), None, "too soon");
        assert_eq!(watch.due(begin + minute).map(|request| request.offset), Some(4));
    }

    #[test]
    fn what_was_announced_since_answers_a_request() {
        let mut watch = Watch::new(Duration::ZERO);
        watch.read("m", &request(0, "m"));
        let complete = format!(
            r#"{{"type":"retrain-complete","model":"m","version":"2","uri":"/b/2","digest":"sha256:{}"}}"#,
            "0".repeat(64)
        );
        watch.read("m", &record(1, &complete));
        assert_eq!(watch.due(Instant::now()), None);
    }
}
