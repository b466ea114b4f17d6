//! What is to be done about a version that is not good enough. Pure: the log and the time come from outside.
//!
//! As an instance does, an evaluator only publishes what it found, and the log decides. Each judges by the
//! partitions that it has; `rollback` names the version that it is about to replace, so that many saying one is one,
//! and a `retrain-request` is not said where one was heard not long ago. What a version has scored before it was chosen
//! again is not held against it.

use super::log::{Heard, Serves};
use crate::config::{Config, Evaluate, Then};
use crate::control::message::Message;
use crate::quality::bounds::{self, Bound};
use crate::quality::measure::Quality;

pub struct Judge {
    model: String,
    bounds: Vec<Bound>,
    rows_min: u64,
    then: Then,
    ask_interval_ms: i64,
    /// When this evaluator last asked for a training, in milliseconds since the epoch: the log may not have told yet.
    asked_ms: Option<i64>,
    /// The choice about which everything has been said: a version, by the message that chose it.
    settled: Option<(String, Option<i64>)>,
}

/// What was found about the version that serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The bounds that it breaks, in words.
    pub fault: String,
    pub deed: Deed,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// This has to be published, and [`Judge::said`] called when it was.
    Say(Message),
    /// Why nothing is published, for the log.
    Tell(&'static str),
    /// It has been said before, or somebody else was quicker.
    Nothing,
}

impl Judge {
    /// `None`: there are no bounds to judge by.
    pub fn new(config: &Config) -> Option<Self> {
        let Evaluate { rows_min, then, ask_interval_minutes, .. } = config.evaluate;
        let bounds = bounds::bounds(&config.evaluate);
        (!bounds.is_empty()).then(|| Self {
            model: config.model.name.clone(),
            bounds,
            rows_min,
            then,
            ask_interval_ms: i64::from(ask_interval_minutes) * 60_000,
            asked_ms: None,
            settled: None,
        })
    }

    /// Judges the version that serves by the labelled events that it has scored since it was chosen, if there are
    /// enough of them.
    pub fn verdict(&mut self, heard: &Heard, quality: &Quality, now_ms: i64) -> Option<Verdict> {
        let serves = heard.serves()?;
        if quality.rows < self.rows_min {
            return None;
        }
        let fault = bounds::broken(quality, &self.bounds)?;
        let deed = self.deed(&serves, &fault, heard.asked_ms, now_ms);
        if let Deed::Tell(_) = deed {
            self.settled = Some(choice(&serves));
        }
        Some(Verdict { fault, deed })
    }

    fn deed(&self, serves: &Serves, fault: &str, asked_ms: Option<i64>, now_ms: i64) -> Deed {
        let (model, reason) = (self.model.clone(), Some(fault.to_owned()));
        match self.then {
            _ if self.settled.as_ref() == Some(&choice(serves)) => Deed::Nothing,
            Then::Nothing => Deed::Tell("`evaluate.then` is `nothing`"),
            Then::Rollback if serves.has_way_back => {
                let from = serves.version.clone();
                Deed::Say(Message::Rollback { model, from, to: None, reason })
            }
            Then::Rollback => {
                Deed::Tell("there is no way back: it was gone back to, or nothing served before it")
            }
            Then::RetrainRequest => match asked_ms.max(self.asked_ms) {
                // If it is so still by then, it is asked for again.
                Some(asked) if now_ms.saturating_sub(asked) < self.ask_interval_ms => Deed::Nothing,
                _ => Deed::Say(Message::RetrainRequest { model, reason }),
            },
        }
    }

    /// What was to be said about this version was published.
    pub fn said(&mut self, serves: &Serves, now_ms: i64) {
        match self.then {
            Then::RetrainRequest => self.asked_ms = Some(now_ms),
            Then::Rollback | Then::Nothing => self.settled = Some(choice(serves)),
        }
    }

    /// Bounds of metrics that the version that serves does not have.
    pub fn idle(&self, quality: &Quality) -> Vec<&'static str> {
        let is_enough = quality.rows >= self.rows_min;
        let idle = bounds::idle(quality, &self.bounds).filter(|_| is_enough);
        idle.map(|bound| bound.key).collect()
    }
}

fn choice(serves: &Serves) -> (String, Option<i64>) {
    (serves.version.clone(), serves.control_offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::tail::Record;
    use crate::control::registry::Configured;

    const DAY: i64 = 86_400_000;

    fn quality(version: &str, rows: u64, auc: f64) -> Quality {
        Quality {
            version: version.into(),
            rows,
            unusable: 0,
            metrics: [("auc".to_owned(), auc)].into(),
            calibration: Vec::new(),
        }
    }

    fn judge(then: Then) -> Judge {
        let evaluate = Evaluate { auc_min: Some(0.75), rows_min: 10, then, ..Evaluate::default() };
        let mut config = Config { evaluate, ..Config::default() };
        config.model.name = "m".into();
        Judge::new(&config).unwrap()
    }

    /// A log on which version 1 is configured, and then this was said, at these times.
    fn heard(log: &[(i64, &str)]) -> Heard {
        let configured = Configured { version: "1".into(), digest: "sha256:1".into() };
        let mut heard = Heard::new("m", Some(&configured));
        for (offset, (time, value)) in log.iter().enumerate() {
            heard.take(&Record {
                partition: 0,
                offset: offset as i64,
                timestamp_ms: Some(*time),
                key: None,
                value: Some(value.as_bytes().to_vec()),
                headers: Vec::new(),
            });
        }
        heard
    }

    const TWO: &str =
        r#"{"type":"retrain-complete","model":"m","version":"2","uri":"/2","digest":"sha256:2"}"#;
    const BACK: &str = r#"{"type":"rollback","model":"m","from":"2"}"#;
    const ASK: &str = r#"{"type":"retrain-request","model":"m"}"#;

    fn said(judge: &mut Judge, heard: &Heard, quality: &Quality, now_ms: i64) -> Option<Message> {
        match judge.verdict(heard, quality, now_ms)?.deed {
            Deed::Say(message) => {
                judge.said(&heard.serves().unwrap(), now_ms);
                Some(message)
            }
            Deed::Tell(_) | Deed::Nothing => None,
        }
    }

    #[test]
    fn a_bad_version_is_sent_back_once() {
        let (mut judge, heard) = (judge(Then::Rollback), heard(&[(0, TWO)]));
        let bad = quality("2", 10, 0.5);
        assert_eq!(said(&mut judge, &heard, &quality("2", 9, 0.5), 0), None, "too few");
        assert_eq!(said(&mut judge, &heard, &quality("2", 10, 0.75), 0), None, "good enough");
        let message = said(&mut judge, &heard, &bad, 0).unwrap();
        let reason = "auc 0.5000 is below 0.75 (version 2, 10 labelled events)";
        let expect = Message::Rollback {
            model: "m".into(),
            from: "2".into(),
            to: None,
            reason: Some(reason.into()),
        };
        assert_eq!(message, expect);
        let again = judge.verdict(&heard, &bad, 0).unwrap();
        assert_eq!((again.fault.as_str(), again.deed), (reason, Deed::Nothing));
    }

    #[test]
    fn what_was_gone_back_to_stays() {
        let mut judge = judge(Then::Rollback);
        let heard = heard(&[(0, TWO), (1, BACK)]);
        let verdict = judge.verdict(&heard, &quality("1", 10, 0.5), 0).unwrap();
        assert!(matches!(verdict.deed, Deed::Tell(why) if why.contains("no way back")));
        let verdict = judge.verdict(&heard, &quality("1", 10, 0.5), 0).unwrap();
        assert_eq!(verdict.deed, Deed::Nothing, "it is told once");
    }

    #[test]
    fn training_is_asked_for_again_only_after_a_while_whoever_asked() {
        let mut judge = judge(Then::RetrainRequest);
        let bad = quality("1", 10, 0.5);
        let fresh = heard(&[(5, ASK)]);
        assert_eq!(said(&mut judge, &fresh, &bad, DAY), None, "somebody else asked");
        let message = said(&mut judge, &fresh, &bad, 5 + DAY);
        assert!(matches!(message, Some(Message::RetrainRequest { .. })), "{message:?}");
        // The log has not told of it yet.
        assert_eq!(said(&mut judge, &fresh, &bad, 4 + 2 * DAY), None);
        assert!(said(&mut judge, &fresh, &bad, 5 + 2 * DAY).is_some(), "it is as bad as it was");
    }

    #[test]
    fn without_bounds_there_is_no_judge_and_idle_ones_are_named() {
        assert!(Judge::new(&Config::default()).is_none());
        let judge = judge(Then::Nothing);
        let regression =
            Quality { metrics: [("mae".to_owned(), 1.0)].into(), ..quality("1", 10, 0.0) };
        assert_eq!(judge.idle(&regression), ["evaluate.auc_min"]);
        assert!(judge.idle(&Quality { rows: 9, ..regression }).is_empty(), "too few to tell");
        assert!(judge.idle(&quality("1", 10, 0.9)).is_empty());
    }
}
