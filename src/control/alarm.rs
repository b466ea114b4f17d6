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
    /// Features that are no reason to ask.
    ignored: Vec<String>,
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
            ignored: config.ignore.clone(),
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
                let reason = reason(drift, &window, psi_max, &self.ignored);
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
fn reason(drift: &Drift, window: &Window, psi_max: f64, ignored: &[String]) -> Option<String> {
    let columns = drift.columns(window).filter(|column| match column.what {
        What::Clock => false,
        What::Feature => !ignored.contains(&column.reference.name),
        What::Output => true,
    });
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
mod tests;
