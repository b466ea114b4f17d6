//! `--wait`: follows the reports after a control message, until the whole fleet has come to what it
//! says, an instance refuses the version, or the time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::failure::Failure;
use super::history::WAITS;
use super::lookout::Lookout;
use crate::config::Config;
use crate::observe::fleet::{Goal, Stage};
use crate::observe::reports::LastRefusal;

#[derive(Debug, Args)]
pub struct Patience {
    /// Wait for so long, as in `60s` or `5m`, until all instances have followed; fail if one
    /// refuses the version, or not all have followed by then
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
}

/// Opened before the message is published: what was reported until then is no answer to it.
pub struct Wait {
    lookout: Lookout,
    patience: Duration,
    before: BTreeMap<String, LastRefusal>,
    /// The instances that lived then.
    living: BTreeSet<String>,
}

impl Patience {
    /// `None`: nobody waits.
    pub fn begin(&self, config: &Config) -> Result<Option<Wait>, Failure> {
        let Some(patience) = self.wait else { return Ok(None) };
        let lookout = Lookout::open(config)?;
        let before = lookout.fleet.refusals();
        let verdict = lookout.fleet.verdict(None, Timestamp::now());
        let living = verdict.living.iter().map(|report| report.instance.clone()).collect();
        Ok(Some(Wait { lookout, patience, before, living }))
    }
}

impl Wait {
    /// Follows the fleet until it has come to what the message at `offset` says.
    ///
    /// # Errors
    /// It has not, and why.
    pub fn follow(mut self, offset: i64) -> Result<(), Failure> {
        let until = Instant::now() + self.patience;
        let mut told = String::new();
        loop {
            self.lookout.look()?;
            let is_over = Instant::now() >= until;
            let Some(goal) = self.goal(offset)? else {
                if is_over {
                    return Err(self.late(&format!("message {offset} was not seen to arrive")));
                }
                continue;
            };
            self.refusal(&goal, offset)?;
            let verdict = self.lookout.fleet.verdict(Some(&goal), Timestamp::now());
            // What the version may have killed does not count as gone.
            let lost = verdict.lost(&self.living);
            if verdict.is_converged() && lost.is_empty() {
                eprintln!("{verdict}");
                return Ok(());
            }
            if is_over {
                let silent = match &lost[..] {
                    [] => String::new(),
                    lost => format!("\nsilent since the message: {}", lost.join(", ")),
                };
                return Err(self.late(&format!("{verdict}{silent}")));
            }
            if verdict.headline() != told {
                told = verdict.headline();
                eprintln!("{told}");
            }
        }
    }

    /// What all instances shall come to; `None`: the message has not been read back yet.
    ///
    /// # Errors
    /// The message changes nothing, or a later one says otherwise.
    fn goal(&self, offset: i64) -> Result<Option<Goal>, Failure> {
        let history = &self.lookout.history;
        let Some(entry) = history.at(offset) else { return Ok(None) };
        if let Some(fault) = &entry.fault {
            return Err(Failure::data(format!("message {offset} is passed over: {fault}")));
        }
        let version = entry.version.clone().filter(|_| entry.effect == WAITS);
        if let Some(version) = version.filter(|version| history.is_candidate(version)) {
            let (stage, control_offset) = (Stage::Waits, Some(offset));
            return Ok(Some(Goal { version, stage, control_offset, read_to: control_offset }));
        }
        match history.wanted() {
            Some(goal) if goal.control_offset > Some(offset) => Err(Failure::late(format!(
                "a later message says otherwise: version {} shall serve\n\nhint: `foretell model list` shows who said what",
                goal.version
            ))),
            Some(goal) => Ok(Some(Goal { read_to: Some(offset), ..goal })),
            None => Err(Failure::data(format!("after message {offset} no version shall serve"))),
        }
    }

    /// # Errors
    /// An instance that has read the message refuses the version, and did not before.
    fn refusal(&self, goal: &Goal, offset: i64) -> Result<(), Failure> {
        let verdict = self.lookout.fleet.verdict(Some(goal), Timestamp::now());
        let refused = verdict.living.iter().find_map(|report| {
            let refusal = report.last_refusal.as_ref()?;
            let is_new = self.before.get(&report.instance) != Some(refusal);
            let has_read = report.control_offset >= Some(offset);
            let is_it = refusal.version == goal.version && !refusal.is_transient;
            (is_it && is_new && has_read).then_some((report, refusal))
        });
        let Some((report, LastRefusal { version, check, message, .. })) = refused else {
            return Ok(());
        };
        Err(Failure::data(format!(
            "version {version} was refused by {} on {}: {}: {message}\n\n{}\n\nhint: `foretell status` shows all instances",
            report.instance,
            report.host,
            check.as_str(),
            verdict.headline()
        )))
    }

    fn late(&self, what: &str) -> Failure {
        if let Err(outage) = self.lookout.reach() {
            return outage.into();
        }
        let patience = SignedDuration::try_from(self.patience).unwrap_or(SignedDuration::MAX);
        Failure::late(format!("not within {patience:#}: {what}"))
    }
}

/// `60s`, `5m`, `1h 30m` or `PT60S`.
fn duration(text: &str) -> Result<Duration, String> {
    let told = "a duration is a number with a unit, as in `60s` or `5m`";
    let duration: SignedDuration = text.parse().map_err(|_| told.to_owned())?;
    Duration::try_from(duration).map_err(|_| "a duration is not negative".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("60s", 60), ("5m", 300), ("1h 30m", 5_400), ("PT60S", 60)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "60", "soon", "-5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
