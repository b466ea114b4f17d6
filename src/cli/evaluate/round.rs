//! An evaluator's turns: read, and every few seconds measure, decide and show.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::judge::{Deed, Judge, Verdict};
use super::log::Log;
use crate::bus::Fatal;
use crate::bus::joint::{Joint, Side};
use crate::bus::publish::Publisher;
use crate::config::Config;
use crate::control::message::Message;
use crate::control::say::say;
use crate::observe::quality::Asked;
use crate::observe::quality::board::{Board, Outcome};
use crate::observe::reports::rfc3339;
use crate::quality::label::Told;
use crate::quality::measure;
use crate::quality::said::Prediction;
use crate::quality::window::{Dropped, Window};
use crate::record::Record;
use crate::stop::Stop;

/// How often the same trouble is said again: with records, and with what cannot be published.
const SAY_AGAIN: Duration = Duration::from_secs(30);
/// A window that is too small is said more often: what is measured is of fewer events than was wanted.
const SAY_FULL_AGAIN: Duration = Duration::from_secs(5);
/// How long a message that decides something is waited for.
const DELIVERY: Duration = Duration::from_secs(5);
/// Measuring takes at most one part in so many of the thread's time.
const SHARE: u32 = 10;

pub struct Round {
    config: Config,
    joint: Joint,
    judging: Option<(Judge, Log)>,
    publisher: Publisher,
    board: Board,
    stop: Stop,
    window: Window,
    window_ms: i64,
    waited_for: Vec<&'static str>,
    next_measure: Instant,
    /// Nothing can be published before then: it could not be, a moment ago.
    next_word: Instant,
    complaints: Complaints,
}

impl Round {
    /// Looks at brokers and topics, reads the control log if there is something to decide, joins the group.
    ///
    /// # Errors
    /// What would keep it from evaluating and will not mend itself.
    pub fn begin(config: &Config, labels: &str, board: Board, stop: Stop) -> Result<Self, Fatal> {
        let judge = Judge::new(config);
        let judging = judge.map(|judge| Ok::<_, Fatal>((judge, Log::open(config)?))).transpose()?;
        let publisher = Publisher::new(&config.kafka)?;
        let joint = Joint::join(config, labels, &board.report().group)?;
        Ok(Self {
            joint,
            judging,
            publisher,
            board,
            stop,
            window: Window::new(config.evaluate.window_rows),
            window_ms: i64::from(config.evaluate.window_minutes) * 60_000,
            waited_for: Vec::new(),
            next_measure: Instant::now(),
            next_word: Instant::now(),
            complaints: Complaints::default(),
            config: config.clone(),
        })
    }

    /// Turns until the wish to stop. Then its report is taken back: nobody is there to bring it up to date.
    ///
    /// # Errors
    /// Those of a turn.
    pub fn run(mut self) -> Result<(), Fatal> {
        let heart = self.board.heart();
        while !self.stop.is_requested() {
            heart.beat();
            self.read()?;
            let waits_for = self.waits_for();
            if self.waited_for != waits_for || Instant::now() >= self.next_measure {
                self.waited_for.clone_from(&waits_for);
                self.measure(waits_for)?;
            }
        }
        let (key, reports) = (self.board.report().evaluator, &self.config.topics.reports);
        let _ = self.publisher.send_with(reports, Some(key.as_bytes()), None, &[]);
        self.joint.close(&self.stop);
        if let Err(error) = self.publisher.flush(self.stop.remaining(Duration::from_secs(1))) {
            tracing::warn!("the last report was not delivered: {error}");
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Fatal> {
        let now_ms = Timestamp::now().as_millisecond();
        let horizon_ms = now_ms - self.window_ms;
        self.window.advance(horizon_ms);
        let change = self.joint.hear(horizon_ms)?;
        for partition in change.into_iter().flat_map(|change| change.revoked) {
            self.window.forget(partition);
            // Until it has been measured again what is shown is of other partitions, too.
            self.next_measure = Instant::now();
        }
        let Self { joint, window, board, complaints, config, .. } = self;
        let model = config.model.name.as_str();
        let mut counts = Vec::new();
        joint.read(|side, record| {
            let outcome = match take(window, model, now_ms, side, record) {
                Ok(outcome) => outcome,
                Err(why) => {
                    complaints.unusable(side, record, &why);
                    Outcome::Unusable
                }
            };
            match counts.iter_mut().find(|(known, _)| *known == (side, outcome)) {
                Some((_, count)) => *count += 1,
                None => counts.push(((side, outcome), 1)),
            }
        })?;
        counts.into_iter().for_each(|((side, outcome), count)| board.read(side, outcome, count));
        Ok(())
    }

    fn waits_for(&self) -> Vec<&'static str> {
        let Self { joint, .. } = self;
        let reasons = [
            (!joint.has_joined(), "the group has not said yet which partitions are ours"),
            (
                joint.has_joined() && !joint.is_level(),
                "the window has not been read to its end yet",
            ),
            (joint.is_cut_off(), "no broker can be reached"),
        ];
        reasons.into_iter().filter(|(is_so, _)| *is_so).map(|(_, why)| why).collect()
    }

    /// Brings up to date what is shown, and decides if it is complete.
    fn measure(&mut self, waits_for: Vec<&'static str>) -> Result<(), Fatal> {
        let began = Instant::now();
        self.window.tidy();
        let versions = measure::measure(&self.window);
        let (held, dropped) = (self.window.held(), self.window.take_dropped());
        self.complaints.evicted(dropped, self.config.evaluate.window_rows);
        self.board.dropped(dropped);
        self.complaints.stray(&self.window);
        let is_ready = waits_for.is_empty();
        let partitions = self.joint.partitions().iter().copied().collect();
        self.board.show(|report| {
            report.at = rfc3339(Timestamp::now());
            report.ready = is_ready;
            report.waits_for = waits_for.into_iter().map(str::to_owned).collect();
            (report.partitions, report.held) = (partitions, held.into());
            report.versions.clone_from(&versions);
        });
        let interval = Duration::from_millis(self.config.reports.interval_ms);
        self.next_measure = Instant::now() + interval.max(SHARE * began.elapsed());
        self.decide(is_ready)?;
        self.publish();
        Ok(())
    }

    /// Half of a window would be judged by whatever was read first.
    fn decide(&mut self, is_ready: bool) -> Result<(), Fatal> {
        let Some((judge, log)) = &mut self.judging else { return Ok(()) };
        let heard = log.follow()?;
        let serves = heard.serves();
        let now_ms = Timestamp::now().as_millisecond();
        let quality = serves.as_ref().filter(|_| is_ready).and_then(|serves| {
            measure::of_choice(&self.window, &serves.version, serves.control_offset)
        });
        let verdict = quality.as_ref().and_then(|quality| judge.verdict(heard, quality, now_ms));
        self.complaints.idle(quality.map(|quality| judge.idle(&quality)).unwrap_or_default());
        self.board.show(|report| {
            report.served = serves.as_ref().map(|serves| serves.version.clone());
            report.fault = verdict.as_ref().map(|verdict| verdict.fault.clone());
        });
        let (Some(Verdict { fault, deed }), Some(serves)) = (verdict, serves) else {
            return Ok(());
        };
        match deed {
            Deed::Nothing => {}
            Deed::Tell(why) => tracing::warn!("{fault}; nothing is published: {why}"),
            Deed::Say(_) if Instant::now() < self.next_word => {}
            Deed::Say(message) => match speak(&self.config, &message) {
                Ok((value, control_offset)) => {
                    judge.said(&serves, now_ms);
                    tracing::warn!(control_offset, "asks by itself: {value}");
                    self.board.asked(message.kind());
                    let (what, at) = (message.kind().into(), rfc3339(Timestamp::now()));
                    let asked = Asked { what, reason: fault, control_offset, at };
                    self.board.show(|report| report.asked = Some(asked));
                }
                Err(error) => {
                    tracing::error!("could not ask: {error}");
                    self.next_word = Instant::now() + SAY_AGAIN;
                }
            },
        }
        Ok(())
    }

    /// Puts the report onto its topic. One that does not arrive is no reason to stop.
    fn publish(&mut self) {
        let report = self.board.report();
        // A report is made of text and numbers: it is JSON.
        let Ok(value) = serde_json::to_vec(&report) else { return };
        let reports = &self.config.topics.reports;
        let sent = self.publisher.send(reports, Some(report.evaluator.as_bytes()), &value);
        if let Some(error) = sent.err().or_else(|| self.publisher.given_up()) {
            self.complaints.reports(&error);
        }
    }
}

/// Takes a record into the window.
fn take(
    window: &mut Window,
    model: &str,
    now_ms: i64,
    side: Side,
    record: Record<'_>,
) -> Result<Outcome, String> {
    let Some(value) = record.value else { return Ok(Outcome::Tombstone) };
    // A producer's clock that is ahead would keep its events in the window for ever.
    let time_ms = record.timestamp_ms.unwrap_or(now_ms).min(now_ms);
    match side {
        Side::Prediction => {
            let prediction = Prediction::parse(value)?;
            if prediction.model != model {
                return Ok(Outcome::OtherModel);
            }
            window.predicted(record.partition, time_ms, prediction)?;
        }
        Side::Label => window.labelled(record.partition, time_ms, Told::parse(value)?),
    }
    Ok(Outcome::Taken)
}

/// Publishes what was decided, by a client of its own, which has nothing else to tell of; says how it reads and
/// where it stands.
fn speak(config: &Config, message: &Message) -> Result<(String, Option<i64>), Fatal> {
    let publisher = Publisher::new(&config.kafka)?;
    let value = say(&publisher, &config.topics.control, message)?;
    Ok((value, publisher.flush(DELIVERY)?))
}

/// What is wrong, and when that was last said.
#[derive(Debug, Default)]
struct Complaints {
    unusable: [Option<Instant>; 2],
    evicted: Option<Instant>,
    stray: Option<Instant>,
    reports: Option<Instant>,
    idle: Vec<&'static str>,
    unsaid: u64,
}

impl Complaints {
    fn unusable(&mut self, side: Side, record: Record<'_>, why: &str) {
        if is_due(&mut self.unusable[side as usize], SAY_AGAIN) {
            let (partition, offset, side) = (record.partition, record.offset, side.as_str());
            tracing::warn!(partition, offset, "a {side} is of no use: {why}");
        }
    }

    fn evicted(&mut self, dropped: Dropped, rows_max: usize) {
        self.unsaid += dropped.evicted;
        if self.unsaid > 0 && is_due(&mut self.evicted, SAY_FULL_AGAIN) {
            let evicted = std::mem::take(&mut self.unsaid);
            tracing::warn!(
                evicted,
                rows_max,
                "the window is full, and its oldest events go before their time: raise `evaluate.window_rows`, or lower `evaluate.window_minutes`"
            );
        }
    }

    fn stray(&mut self, window: &Window) {
        if let Some((id, partition, other)) = window.stray()
            && is_due(&mut self.stray, SAY_AGAIN)
        {
            tracing::warn!(
                id,
                "a label stands on partition {partition}, and its prediction on partition {other}: labels have to be keyed as the events are, and by the same partitioner (`murmur2_random` of librdkafka is that of Java's clients)"
            );
        }
    }

    fn reports(&mut self, error: &Fatal) {
        if is_due(&mut self.reports, SAY_AGAIN) {
            tracing::warn!("reports do not arrive: {error}");
        }
    }

    /// Each is said once.
    fn idle(&mut self, keys: Vec<&'static str>) {
        for key in keys {
            if !self.idle.contains(&key) {
                self.idle.push(key);
                tracing::warn!(
                    "`{key}` bounds nothing that is measured of the version that serves"
                );
            }
        }
    }
}

/// Has it not been said for so long? Then it is said now.
fn is_due(said: &mut Option<Instant>, after: Duration) -> bool {
    let is_due = said.is_none_or(|said| said.elapsed() >= after);
    if is_due {
        *said = Some(Instant::now());
    }
    is_due
}
