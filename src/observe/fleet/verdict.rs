//! The verdict: how a fleet stands at one moment, in words for people and as JSON for programs.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

use super::{Goal, Stage};
use crate::observe::reports::{LastRefusal, Report};

/// How the fleet stands at one moment.
#[derive(Debug)]
pub struct Verdict<'a> {
    pub(super) model: &'a str,
    pub(super) goal: Option<&'a Goal>,
    pub living: Vec<&'a Report>,
    pub behind: Vec<Behind<'a>>,
    /// They stop and take nothing new.
    pub(super) leaving: Vec<&'a Report>,
    /// They did not say that they stop, and report no more. With how long that is, in seconds.
    pub(super) silent: Vec<(&'a Report, i64)>,
    pub(super) unread: Vec<(&'a str, &'a str)>,
    /// Living instances of other models.
    pub(super) others: usize,
}

/// An instance that has not come to the goal.
#[derive(Debug, PartialEq)]
pub struct Behind<'a> {
    pub report: &'a Report,
    pub lack: Lack<'a>,
}

/// What keeps an instance from the goal.
#[derive(Debug, PartialEq)]
pub enum Lack<'a> {
    /// It may be away from the brokers, or busy with a version that was announced before.
    NotRead {
        wanted: i64,
    },
    Refused(&'a LastRefusal),
    /// It would serve, but takes no events yet.
    NotReady,
    /// It has read the message and goes on as before.
    NotLoaded,
    /// Nothing is wanted: no version was configured or announced.
    NoGoal,
}

/// What keeps a living instance from the goal; nothing: it is there.
pub(super) fn lack<'a>(report: &'a Report, goal: Option<&Goal>) -> Option<Lack<'a>> {
    let Some(goal) = goal else { return Some(Lack::NoGoal) };
    if let Some(wanted) = goal.read_to
        && report.control_offset.is_none_or(|read| read < wanted)
    {
        return Some(Lack::NotRead { wanted });
    }
    let is_there = match goal.stage {
        Stage::Serves => report.served.as_ref().is_some_and(|serves| {
            serves.version == goal.version && serves.control_offset == goal.control_offset
        }),
        Stage::Waits => report.candidates.contains(&goal.version),
    };
    match &report.last_refusal {
        _ if is_there && report.ready => None,
        _ if is_there => Some(Lack::NotReady),
        Some(refusal) if refusal.version == goal.version => Some(Lack::Refused(refusal)),
        _ if report.served.is_none() => Some(Lack::NotReady),
        _ => Some(Lack::NotLoaded),
    }
}

impl Verdict<'_> {
    /// There are instances, and all of them are where they shall be.
    pub fn is_converged(&self) -> bool {
        self.goal.is_some() && !self.living.is_empty() && self.behind.is_empty()
    }

    /// Those of `instances` that have fallen silent without a word, and that no instance has come
    /// after on the same host.
    pub fn lost(&self, instances: &BTreeSet<String>) -> Vec<&str> {
        let silent = self.silent.iter().map(|(report, _)| *report);
        let is_replaced = |lost: &Report| {
            self.living.iter().any(|report| report.host == lost.host && report.started > lost.at)
        };
        silent
            .filter(|report| instances.contains(&report.instance) && !is_replaced(report))
            .map(|report| report.instance.as_str())
            .collect()
    }

    /// In one line.
    pub fn headline(&self) -> String {
        let Some(goal) = self.goal else {
            let Self { model, .. } = self;
            return format!(
                "not converged: no version of model `{model}` is configured or has been announced"
            );
        };
        let version = &goal.version;
        let (there, all) = (self.living.len() - self.behind.len(), self.living.len());
        match (self.is_converged(), goal.stage) {
            (true, Stage::Serves) => format!("converged on {version} ({there} of {all})"),
            (true, Stage::Waits) => format!("{version} waits for promote ({there} of {all})"),
            (false, _) if all == 0 => {
                let Self { model, .. } = self;
                format!("not converged on {version}: no instance of model `{model}` reports")
            }
            (false, Stage::Serves) => format!("not converged on {version} ({there} of {all})"),
            (false, Stage::Waits) => format!("{version} waits for promote on {there} of {all}"),
        }
    }

    /// Who does not count and why: a line each.
    pub fn details(&self) -> Vec<String> {
        let behind = self.behind.iter().filter(|behind| behind.lack != Lack::NoGoal);
        let behind = behind.map(|Behind { report, lack }| {
            format!("{} on {}: {}", report.instance, report.host, told(lack, report, self.goal))
        });
        let leaving = self.leaving.iter().map(|report| {
            format!("{} on {}: stops, and is not counted", report.instance, report.host)
        });
        let silent = self.silent.iter().map(|(report, seconds)| {
            format!(
                "{} on {}: silent for {}, and is not counted; it served {}",
                report.instance,
                report.host,
                span(*seconds),
                serves(report)
            )
        });
        let unread = self.unread.iter().map(|(instance, why)| {
            format!("{instance}: its report cannot be read, and is not counted: {why}")
        });
        let others = match self.others {
            0 => None,
            1 => Some("1 instance of another model is not shown".into()),
            others => Some(format!("{others} instances of other models are not shown")),
        };
        behind.chain(leaving).chain(silent).chain(unread).chain(others).collect()
    }

    /// The same for programs, with all reports.
    pub fn json(&self) -> Value {
        let names = |reports: &[&Report]| -> Vec<String> {
            reports.iter().map(|report| report.instance.clone()).collect()
        };
        let silent: Vec<_> = self.silent.iter().map(|(report, _)| *report).collect();
        let behind = self.behind.iter().map(|Behind { report, lack }| {
            json!({
                "instance": report.instance, "host": report.host, "lack": lack.name(),
                "message": told(lack, report, self.goal),
            })
        });
        let unread =
            self.unread.iter().map(|(name, why)| json!({"instance": name, "message": why}));
        let reports: Vec<_> = self.living.iter().chain(&self.leaving).chain(&silent).collect();
        json!({
            "model": self.model,
            "converged": self.is_converged(),
            "wanted": self.goal.map(|goal| json!({
                "version": goal.version, "control_offset": goal.control_offset,
            })),
            "counted": self.living.len(),
            "there": self.living.len() - self.behind.len(),
            "behind": behind.collect::<Vec<_>>(),
            "leaving": names(&self.leaving),
            "silent": names(&silent),
            "unread": unread.collect::<Vec<_>>(),
            "reports": reports,
        })
    }
}

/// The headline, and a line for each that does not count.
impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        self.details().iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl Lack<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::NotRead { .. } => "not_read",
            Self::Refused(_) => "refused",
            Self::NotReady => "not_ready",
            Self::NotLoaded => "not_loaded",
            Self::NoGoal => "nothing_wanted",
        }
    }
}

/// A lack in words.
fn told(lack: &Lack<'_>, report: &Report, goal: Option<&Goal>) -> String {
    let version = goal.map_or("", |goal| goal.version.as_str());
    let serves = serves(report);
    match lack {
        Lack::NotRead { wanted } => {
            let read = report.control_offset;
            let read = read.map_or("nothing".into(), |offset| format!("up to message {offset}"));
            format!("serves {serves}; has read {read} of the control log, not up to {wanted}")
        }
        Lack::Refused(LastRefusal { check, message, at, .. }) => {
            let check = check.as_str();
            format!("serves {serves}; refused {version} at {at}: {check}: {message}")
        }
        Lack::NotReady => {
            let whys: Vec<_> = report.waits_for.iter().map(|waits| waits.why.as_str()).collect();
            format!("serves {serves}; not ready: {}", whys.join(", "))
        }
        Lack::NotLoaded if report.served.as_ref().is_some_and(|s| s.version == version) => {
            format!("serves {serves}, but not yet as the last message about it says")
        }
        Lack::NotLoaded => {
            format!(
                "serves {serves}; has read the message about {version}, and does not serve it yet"
            )
        }
        Lack::NoGoal => format!("serves {serves}"),
    }
}

fn serves(report: &Report) -> &str {
    report.served.as_ref().map_or("no version", |serves| &serves.version)
}

/// So many seconds, as people say it.
fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        _ => format!("{} min", seconds / 60),
    }
}
