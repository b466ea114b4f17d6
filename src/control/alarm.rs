//! What an instance asks for when its events have drifted past the bound: a new version to be trained.
//!
//! All instances of a fleet see the same drift, and one request is enough. The log says whether there was one; and so that two do not
//! ask at the same moment, each waits in proportion to a partition that its window has events of, which it shares with
//! nobody. Should two ask all the same, trainers answer the newest only.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::message::Message;
use crate::config;
use crate::drift::{Column, Drift, What, Window};
use crate::serving::Served;

/// An instance waits so long for each partition number.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A request that did not come to stand in the log is said again.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Alarm {
    psi_max: Option<f64>,
    interval: SignedDuration,
    /// When, by the log, a training was asked for last, or a version announced.
    answered: Option<Timestamp>,
    /// The last whole window that was looked at: of which choice, and which of its windows.
    seen: Option<(Option<i64>, u64)>,
    /// What there is to be asked for, and from when on.
    pending: Option<(Instant, String)>,
}

impl Alarm {
    pub fn new(config: &config::Drift) -> Self {
        let minutes = i64::try_from(config.interval_minutes).unwrap_or(i64::MAX);
        Self {
            psi_max: config.psi_max.share(),
            interval: SignedDuration::from_mins(minutes),
            answered: None,
            seen: None,
            pending: None,
        }
    }

    /// Takes in a message about the model, with the time that it was said at.
    pub fn read(&mut self, message: &Message, timestamp_ms: Option<i64>) {
        if matches!(message, Message::RetrainRequest { .. } | Message::RetrainComplete { .. }) {
            let now = Timestamp::now();
            let said = timestamp_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
            // A clock that is ahead must not put off requests for ever.
            let said = said.unwrap_or(now).min(now);
            self.answered = self.answered.max(Some(said));
            self.pending = None;
        }
    }

    /// What has to be published about `served`, which is what the log wants to serve, if anything. `is_waited`: a newer
    /// version waits for `promote`.
    pub fn verdict(&mut self, served: &Served, is_waited: bool) -> Option<Message> {
        let (psi_max, drift) = (self.psi_max?, served.drift.as_ref()?);
        if let Some(window) = drift.window() {
            let this = Some((served.control_offset, window.number));
            if self.seen != this {
                self.seen = this;
                let reason = reason(drift, &window, psi_max);
                // What was to be asked for after the window before stays so if it still holds.
                let due = self.pending.take().map(|(due, _)| due);
                let due = due.unwrap_or_else(|| Instant::now() + pause(window.partition));
                self.pending = reason.map(|reason| (due, reason));
            }
        } else {
            // Another version serves, or the same by another choice.
            (self.seen, self.pending) = (None, None);
        }
        let is_recent = |said: Timestamp| Timestamp::now().duration_since(said) < self.interval;
        if is_waited || self.answered.is_some_and(is_recent) {
            self.pending = None;
        }
        let (due, reason) = self.pending.as_mut().filter(|(due, _)| *due <= Instant::now())?;
        *due = Instant::now() + SAY_AGAIN_AFTER;
        let (model, reason) = (served.version.model.clone(), Some(reason.clone()));
        Some(Message::RetrainRequest { model, reason })
    }
}

fn pause(partition: i32) -> Duration {
    let partition = u32::try_from(partition).unwrap_or(0);
    PAUSE.saturating_mul(partition).min(PAUSE_MAX)
}

/// What is past the bound, the farthest first, if anything is.
fn reason(drift: &Drift, window: &Window, psi_max: f64) -> Option<String> {
    let columns = drift.columns(window).filter(|column| column.what != What::Expected);
    let far = columns.map(|column| (column, column.psi())).filter(|(_, psi)| *psi > psi_max);
    let mut far: Vec<(Column<'_>, f64)> = far.collect();
    far.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let (Column { reference, what, .. }, psi) = far.first()?;
    let what = if *what == What::Output { "the prediction's " } else { "" };
    let more = match far.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more above {psi_max}"),
    };
    let (name, events) = (&reference.name, window.events);
    Some(format!("drift: {what}`{name}` PSI {psi:.2} in {events} events{more}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::RatioMax;
    use crate::drift::Live;
    use crate::features::contract::{Kind, Part};
    use crate::model::tiny;
    use crate::score::Scorer;

    const MINUTE_MS: i64 = 60_000;

    /// Version 1, trained on as many `x` below 4.5 as above, which says 0.1 and 0.9 of them.
    fn served() -> Served {
        let mut version =
            Arc::into_inner(tiny::version("1", &["x", "hour"], 4.5, [0.1, 0.9])).unwrap();
        version.contract[1].kind = Kind::Timestamp { part: Part::Hour };
        version.reference = serde_json::from_value(serde_json::json!({
            "rows": 1000,
            "features": [
                {"name": "x", "edges": [4.5], "counts": [500, 500]},
                {"name": "hour", "edges": [12.0], "counts": [500, 500]},
            ],
            "outputs": [{"name": "probability", "edges": [0.5], "counts": [500, 500]}],
        }))
        .unwrap();
        Served::alone(Arc::new(version), Some(7)).watched(1_000, &[])
    }

    /// A window of which a share has an `x` above 4.5; the hour is always the same.
    fn sees(served: &Served, high: f64, partition: i32) {
        let drift = served.drift.as_ref().unwrap();
        let mut live = Live::default();
        live.begin(drift, partition);
        let mut scorer = Scorer::new(1_000);
        let event = |n: usize| {
            format!(r#"{{"x":{},"hour":1}}"#, if (n as f64) < high * 1e3 { 9 } else { 1 })
        };
        let events: Vec<String> = (0..1_000).map(event).collect();
        live.count(drift, &scorer.score(&served.version, events.iter().map(String::as_bytes)));
        live.settled(drift);
    }

    fn alarm(psi_max: RatioMax) -> Alarm {
        Alarm::new(&config::Drift { psi_max, ..config::Drift::default() })
    }

    fn request(reason: &str) -> Option<Message> {
        Some(Message::RetrainRequest { model: "tiny".into(), reason: Some(reason.into()) })
    }

    fn someone_asked() -> Message {
        Message::RetrainRequest { model: "tiny".into(), reason: None }
    }

    fn now_ms() -> i64 {
        Timestamp::now().as_millisecond()
    }

    #[test]
    fn past_the_bound_it_asks_once_and_says_what_has_moved_and_how_far() {
        let (served, mut alarm) = (served(), alarm(RatioMax::Share(0.25)));
        assert_eq!(alarm.verdict(&served, false), None, "there is no window");
        sees(&served, 0.5, 0);
        assert_eq!(alarm.verdict(&served, false), None, "the hour moves by itself");
        sees(&served, 0.9, 0);
        // 0.4 · ln(0.9 / 0.5) − 0.4 · ln(0.1 / 0.5), about; of `x` and of what is said of it.
        let asked = alarm.verdict(&served, false);
        let wanted = request("drift: `x` PSI 0.88 in 1000 events, and 1 more above 0.25");
        assert_eq!(asked, wanted);
        assert_eq!(alarm.verdict(&served, false), None, "it waits for the log");
        // The log has it.
        alarm.read(&asked.unwrap(), Some(now_ms()));
        sees(&served, 0.9, 0);
        assert_eq!(alarm.verdict(&served, false), None, "not again within the hour");
        // An hour later it asks again, if it is so still.
        alarm.answered = alarm.answered.map(|said| said - SignedDuration::from_mins(61));
        assert_eq!(alarm.verdict(&served, false), None, "that window was before");
        sees(&served, 0.9, 0);
        assert_eq!(alarm.verdict(&served, false), wanted);
    }

    #[test]
    fn it_does_not_ask_where_nobody_told_it_to_nor_below_the_bound() {
        let served = served();
        sees(&served, 0.9, 0);
        assert_eq!(alarm(RatioMax::Off).verdict(&served, false), None);
        assert_eq!(alarm(RatioMax::Share(0.9)).verdict(&served, false), None);
        assert!(alarm(RatioMax::Share(0.8)).verdict(&served, false).is_some());
        let plain =
            Served::alone(tiny::version("1", &["x"], 4.5, [0.1, 0.9]), Some(7)).watched(1_000, &[]);
        assert_eq!(alarm(RatioMax::Share(0.0)).verdict(&plain, false), None);
    }

    #[test]
    fn a_feature_that_is_expected_to_move_is_no_reason_but_what_is_said_of_it_is() {
        let expected = ["x", "probability"].map(str::to_owned);
        let served = served().watched(1_000, &expected);
        sees(&served, 0.9, 0);
        let wanted = request("drift: the prediction's `probability` PSI 0.88 in 1000 events");
        assert_eq!(alarm(RatioMax::Share(0.25)).verdict(&served, false), wanted);
    }

    #[test]
    fn what_others_have_said_is_enough() {
        let complete = serde_json::json!({
            "type": "retrain-complete", "model": "tiny", "version": "2", "uri": "/2", "digest": "sha256:2",
        });
        let complete = Message::parse(complete.to_string().as_bytes()).unwrap();
        let promote =
            Message::parse(br#"{"type":"promote","model":"tiny","version":"2"}"#).unwrap();
        let now = now_ms();
        for (message, at, asks) in [
            (&someone_asked(), Some(now), false),
            (&someone_asked(), None, false),
            (&someone_asked(), Some(now - 59 * MINUTE_MS), false),
            (&someone_asked(), Some(now - 61 * MINUTE_MS), true),
            (&complete, Some(now - 59 * MINUTE_MS), false),
            (&promote, Some(now), true),
        ] {
            let (served, mut alarm) = (served(), alarm(RatioMax::Share(0.25)));
            alarm.read(message, at);
            sees(&served, 0.9, 0);
            assert_eq!(alarm.verdict(&served, false).is_some(), asks, "{message:?} at {at:?}");
        }
        // A version that waits was trained already.
        let (served, mut alarm) = (served(), alarm(RatioMax::Share(0.25)));
        sees(&served, 0.9, 0);
        assert_eq!(alarm.verdict(&served, true), None);
        // A clock far ahead is taken for now.
        alarm.read(&someone_asked(), Some(now + 600 * MINUTE_MS));
        assert!(alarm.answered.unwrap() <= Timestamp::now());
    }

    #[test]
    fn instances_of_other_partitions_wait_for_the_one_of_the_first() {
        assert_eq!(pause(0), Duration::ZERO);
        assert_eq!(pause(1) + pause(2), pause(3));
        assert_eq!(pause(1_000_000), PAUSE_MAX);
        let (served, mut alarm) = (served(), alarm(RatioMax::Share(0.25)));
        sees(&served, 0.9, 3);
        assert_eq!(alarm.verdict(&served, false), None);
        let (due, _) = alarm.pending.clone().unwrap();
        // The next window does not put it off.
        sees(&served, 0.9, 3);
        assert_eq!(alarm.verdict(&served, false), None);
        assert_eq!(alarm.pending.clone().unwrap().0, due);
        alarm.read(&someone_asked(), Some(now_ms()));
        assert_eq!(alarm.pending, None, "another was first");
        // What has gone by is not asked for.
        let mut late = self::alarm(RatioMax::Share(0.25));
        assert_eq!(late.verdict(&served, false), None);
        sees(&served, 0.5, 3);
        assert_eq!(late.verdict(&served, false), None);
        assert_eq!(late.pending, None);
    }
}
