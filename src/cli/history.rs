//! The history of a model: each record of the control log about it, and what it changed.
//!
//! Folded by the same registry as an instance's loader does, so that what stands here is what every
//! instance makes of the log.

use jiff::Timestamp;
use serde::Serialize;

use crate::bus::tail::Record;
use crate::control::message::{Message, Unread};
use crate::control::registry::{Configured, Effect, Registry, Source};
use crate::observe::fleet::{Goal, Stage};
use crate::observe::reports::rfc3339;

pub struct History {
    model: String,
    registry: Registry,
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// Records that are about other models.
    pub others: u64,
    /// Offset of the last record, of any model.
    pub read_to: Option<i64>,
}

/// One record, as people and programs are shown it. What does not apply is `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub offset: i64,
    /// When it was said, by the clock of whoever said it.
    pub at: Option<String>,
    pub what: &'static str,
    /// The version that it is about; of a rollback, the one that serves instead.
    pub version: Option<String>,
    pub from: Option<String>,
    pub rollout: Option<String>,
    pub effect: &'static str,
    /// Why it was passed over.
    pub fault: Option<String>,
    pub reason: Option<String>,
}

impl History {
    /// Of `model` before anything was said. `configured`: the version that serves until then.
    pub fn new(model: &str, configured: Option<&Configured>) -> Self {
        Self {
            model: model.into(),
            registry: Registry::new(model, configured),
            entries: Vec::new(),
            others: 0,
            read_to: None,
        }
    }

    /// Takes in the next record of the control log.
    pub fn take(&mut self, record: &Record) {
        self.read_to = Some(record.offset);
        let message = Message::parse(record.value.as_deref().unwrap_or_default());
        // What cannot be read is about the model that its key names.
        let is_ours = match &message {
            Ok(message) => message.model() == self.model,
            Err(_) => record.key.as_deref().is_none_or(|key| key == self.model.as_bytes()),
        };
        if !is_ours {
            self.others += 1;
            return;
        }
        let entry = match message {
            Ok(message) => self.said(record.offset, &message),
            Err(unread) => passed_over(&unread),
        };
        let at = record.timestamp_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        self.entries.push(Entry { offset: record.offset, at: at.map(rfc3339), ..entry });
    }

    fn said(&mut self, offset: i64, message: &Message) -> Entry {
        let effect = self.registry.apply(offset, message);
        let fields = serde_json::to_value(message).unwrap_or_default();
        let field = |name: &str| fields[name].as_str().map(str::to_owned);
        let version = match &effect {
            Ok(Effect::Serves) => self.registry.wanted().next().map(|wanted| wanted.version),
            _ => message.asks_for(),
        };
        Entry {
            offset,
            at: None,
            what: what(message),
            version: version.map(str::to_owned),
            from: field("from"),
            rollout: field("rollout"),
            effect: effect.as_ref().map_or("passed over", |effect| changed(*effect)),
            fault: effect.err().map(|contradiction| contradiction.to_string()),
            reason: field("reason"),
        }
    }

    /// The record at an offset, once it has been read.
    pub fn at(&self, offset: i64) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.offset == offset)
    }

    /// What every instance shall serve by now.
    pub fn wanted(&self) -> Option<Goal> {
        let wanted = self.registry.wanted().next()?;
        Some(Goal {
            version: wanted.version.into(),
            stage: Stage::Serves,
            control_offset: wanted.control_offset,
            read_to: wanted.control_offset,
        })
    }

    /// Where the bundle of an announced version is.
    pub fn source(&self, version: &str) -> Option<&Source> {
        self.registry.source(version)
    }

    /// Does this version wait for `promote` by now?
    pub fn is_candidate(&self, version: &str) -> bool {
        self.registry.candidates().any(|candidate| candidate.version == version)
    }
}

fn passed_over(unread: &Unread) -> Entry {
    Entry {
        offset: 0,
        at: None,
        what: unread.kind(),
        version: None,
        from: None,
        rollout: None,
        effect: "passed over",
        fault: Some(unread.to_string()),
        reason: None,
    }
}

fn what(message: &Message) -> &'static str {
    match message {
        Message::RetrainComplete { .. } => "announced",
        Message::Promote { .. } => "promoted",
        Message::Rollback { .. } => "rolled back",
        Message::Resume { .. } => "resumed",
        Message::RetrainRequest { .. } => "retrain requested",
    }
}

/// The effect of a version that waits: `model announce --wait` tells by it what to wait for.
pub const WAITS: &str = "waits";

fn changed(effect: Effect) -> &'static str {
    match effect {
        Effect::Serves => "serves",
        Effect::Waits => WAITS,
        Effect::Withdrawn => "withdrawn",
        Effect::Nothing => "nothing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the history shows of a log, and what shall serve then.
    #[track_caller]
    fn check(log: &[&str], expect: &[&str], wanted: Option<(&str, Option<i64>)>) {
        let mut history =
            History::new("m", Some(&Configured { version: "1".into(), digest: "sha256:1".into() }));
        for (offset, value) in log.iter().enumerate() {
            history.take(&record(offset as i64, Some("m"), value));
        }
        let shown = |entry: &Entry| {
            let version = entry.version.as_deref().unwrap_or("-");
            let fault = entry.fault.as_deref().unwrap_or_default();
            let text =
                format!("{} {} {version}: {} {fault}", entry.offset, entry.what, entry.effect);
            text.trim_end().to_owned()
        };
        assert_eq!(history.entries.iter().map(shown).collect::<Vec<_>>(), expect);
        let found = history.wanted().map(|goal| (goal.version, goal.control_offset));
        assert_eq!(found, wanted.map(|(version, offset)| (version.to_owned(), offset)));
    }

    fn record(offset: i64, key: Option<&str>, value: &str) -> Record {
        Record {
            partition: 0,
            offset,
            timestamp_ms: Some(1_000),
            key: key.map(|key| key.as_bytes().to_vec()),
            value: Some(value.as_bytes().to_vec()),
            headers: Vec::new(),
        }
    }

    const TWO: &str =
        r#"{"type":"retrain-complete","model":"m","version":"2","uri":"/2","digest":"sha256:2"}"#;
    const THREE_HOLDS: &str = r#"{"type":"retrain-complete","model":"m","version":"3","uri":"/3","digest":"sha256:3","rollout":"hold"}"#;
    const PROMOTE_THREE: &str = r#"{"type":"promote","model":"m","version":"3"}"#;
    const BACK: &str = r#"{"type":"rollback","model":"m","from":"3","reason":"late"}"#;

    #[test]
    fn each_message_is_shown_with_what_it_changed() {
        check(
            &[TWO, THREE_HOLDS, PROMOTE_THREE, BACK, BACK, PROMOTE_THREE],
            &[
                "0 announced 2: serves",
                "1 announced 3: waits",
                "2 promoted 3: serves",
                "3 rolled back 2: serves",
                "4 rolled back -: nothing",
                "5 promoted 3: passed over version `3` was rolled back; it has to be announced again to serve",
            ],
            Some(("2", Some(3))),
        );
    }

    #[test]
    fn what_cannot_be_understood_is_shown_too() {
        check(
            &[r#"{"type":"canary"}"#, r#"{"type":"retrain-request","model":"m"}"#, "[]"],
            &[
                "0 unknown -: passed over unknown type `canary`",
                "1 retrain requested -: nothing",
                "2 malformed -: passed over invalid length 0, expected struct Typed with 1 element at line 1 column 2",
            ],
            Some(("1", None)),
        );
    }

    #[test]
    fn other_models_are_counted_and_left_out() {
        let mut history = History::new("m", None);
        history.take(&record(0, Some("n"), "not JSON"));
        history.take(&record(1, None, r#"{"type":"promote","model":"n","version":"1"}"#));
        history.take(&record(2, Some("m"), BACK));
        assert_eq!((history.others, history.entries.len(), history.read_to), (2, 1, Some(2)));
        let entry = history.at(2).unwrap();
        assert_eq!(entry.at.as_deref(), Some("1970-01-01T00:00:01.000Z"));
        assert_eq!((entry.from.as_deref(), entry.reason.as_deref()), (Some("3"), Some("late")));
    }
}
