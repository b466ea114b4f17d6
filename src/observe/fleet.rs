//! The fleet: the instances of one model by their last reports, and whether all of them do what the
//! control log wants.
//!
//! Pure: reports and the time come from outside. An instance that stops says so in its last report;
//! one that was killed says nothing more, so that a report counts for a while only.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::health::Latch;
use super::reports::{LastRefusal, Report};

/// An instance that misses so many reports in a row is silent.
const REPORTS_MISSED: u64 = 5;
/// No instance is taken for silent sooner: a machine under load, clocks that differ.
const SILENT_AFTER_MIN: SignedDuration = SignedDuration::from_secs(15);
/// A silent instance is named for so long. The topic keeps its last report for ever.
const NAMED_FOR: SignedDuration = SignedDuration::from_hours(1);

/// What every instance shall come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    pub version: String,
    pub stage: Stage,
    /// Offset of the control message that says so; `None`: the configuration does.
    pub control_offset: Option<i64>,
    /// Up to where an instance must have read the control log before it counts.
    pub read_to: Option<i64>,
}

/// How far a version shall have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Serves,
    /// It is known and waits for `promote`.
    Waits,
}

/// The last report of each instance, of all models.
#[derive(Debug)]
pub struct Fleet {
    model: String,
    silent_after: SignedDuration,
    reports: BTreeMap<String, (Timestamp, Report)>,
    unread: BTreeMap<String, Unread>,
}

/// A report that this program cannot read, perhaps a later one's.
#[derive(Debug)]
struct Unread {
    at: Option<Timestamp>,
    why: String,
}

/// How the fleet stands at one moment.
#[derive(Debug)]
pub struct Verdict<'a> {
    model: &'a str,
    goal: Option<&'a Goal>,
    pub living: Vec<&'a Report>,
    pub behind: Vec<Behind<'a>>,
    /// They stop and take nothing new.
    leaving: Vec<&'a Report>,
    /// They did not say that they stop, and report no more. With how long that is, in seconds.
    silent: Vec<(&'a Report, i64)>,
    unread: Vec<(&'a str, &'a str)>,
    /// Living instances of other models.
    others: usize,
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

enum Life {
    Living,
    Leaving,
    Silent(i64),
    Gone,
}

impl Fleet {
    /// Of no instances yet, which are expected to report every `interval_ms`.
    pub fn new(model: &str, interval_ms: u64) -> Self {
        let missed = interval_ms.saturating_mul(REPORTS_MISSED);
        let missed = SignedDuration::from_millis(i64::try_from(missed).unwrap_or(i64::MAX));
        Self {
            model: model.into(),
            silent_after: missed.max(SILENT_AFTER_MIN),
            reports: BTreeMap::new(),
            unread: BTreeMap::new(),
        }
    }

    /// Takes in a record of the reports topic; without a value, the instance is forgotten.
    pub fn take(&mut self, instance: &str, value: Option<&[u8]>) {
        self.reports.remove(instance);
        self.unread.remove(instance);
        match value.map(read) {
            None => {}
            Some(Ok(report)) => {
                self.reports.insert(instance.into(), report);
            }
            Some(Err(unread)) => {
                self.unread.insert(instance.into(), unread);
            }
        }
    }

    /// The version that an instance serves because its configuration says so, if one does.
    pub fn configured(&self) -> Option<&str> {
        let served = self.ours().filter_map(|(_, report)| report.served.as_ref());
        let mut configured = served.filter(|serves| serves.control_offset.is_none());
        configured.next().map(|serves| serves.version.as_str())
    }

    /// The last refusal of each instance.
    pub fn refusals(&self) -> BTreeMap<String, LastRefusal> {
        let refusal = |(_, report): &(Timestamp, Report)| {
            Some((report.instance.clone(), report.last_refusal.clone()?))
        };
        self.ours().filter_map(refusal).collect()
    }

    /// Compares the living instances with what is wanted.
    pub fn verdict<'a>(&'a self, goal: Option<&'a Goal>, now: Timestamp) -> Verdict<'a> {
        let alive = |at: Timestamp| now.duration_since(at) <= self.silent_after;
        let others = self.reports.values().filter(|(_, report)| report.model != self.model);
        let others = others.filter(|(at, _)| alive(*at)).count();
        let unread = self.unread.iter().filter(|(_, unread)| unread.at.is_none_or(alive));
        let unread = unread.map(|(instance, unread)| (instance.as_str(), unread.why.as_str()));
        let mut verdict = Verdict {
            model: &self.model,
            goal,
            living: Vec::new(),
            behind: Vec::new(),
            leaving: Vec::new(),
            silent: Vec::new(),
            unread: unread.collect(),
            others,
        };
        for (at, report) in self.ours() {
            match self.life(*at, report, now) {
                Life::Living => {
                    verdict.living.push(report);
                    let lack = lack(report, goal);
                    verdict.behind.extend(lack.map(|lack| Behind { report, lack }));
                }
                Life::Leaving => verdict.leaving.push(report),
                Life::Silent(seconds) => verdict.silent.push((report, seconds)),
                Life::Gone => {}
            }
        }
        verdict
    }

    fn ours(&self) -> impl Iterator<Item = &(Timestamp, Report)> {
        self.reports.values().filter(|(_, report)| report.model == self.model)
    }

    fn life(&self, at: Timestamp, report: &Report, now: Timestamp) -> Life {
        let age = now.duration_since(at);
        let stops = report.waits_for.iter().any(|waiting| waiting.latch == Latch::NotStopping);
        match (stops, age > self.silent_after) {
            (false, false) => Life::Living,
            (true, false) => Life::Leaving,
            (false, true) if age <= NAMED_FOR.max(self.silent_after * 2) => {
                Life::Silent(age.as_secs())
            }
            (_, true) => Life::Gone,
        }
    }
}

fn read(value: &[u8]) -> Result<(Timestamp, Report), Unread> {
    let report: Report = serde_json::from_slice(value).map_err(|error| {
        // When it is from may be readable even so: the old one of a program long gone is no news.
        let value: Option<Value> = serde_json::from_slice(value).ok();
        let at = value.and_then(|value| value["at"].as_str()?.parse().ok());
        Unread { at, why: error.to_string() }
    })?;
    match report.at.parse() {
        Ok(at) => Ok((at, report)),
        Err(error) => Err(Unread { at: None, why: format!("`at` is no time: {error}") }),
    }
}

/// What keeps a living instance from the goal; nothing: it is there.
fn lack<'a>(report: &'a Report, goal: Option<&Goal>) -> Option<Lack<'a>> {
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
            format!("serves {serves}; has read the message about {version} and is loading it")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gate::Check;
    use crate::observe::health::Waiting;
    use crate::observe::reports::{Serves, rfc3339};
    use crate::observe::samples;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// Of an instance that serves `version`, which the message at `control_offset` chose, and has
    /// read no further.
    fn report(instance: &str, version: &str, control_offset: i64) -> Report {
        Report {
            instance: instance.into(),
            control_offset: Some(control_offset),
            served: Some(Serves {
                version: version.into(),
                digest: format!("sha256:{version}"),
                control_offset: Some(control_offset),
                since: rfc3339(NOW),
            }),
            ready: true,
            waits_for: Vec::new(),
            ..samples::starting().report(NOW)
        }
    }

    fn refusal(version: &str) -> Option<LastRefusal> {
        let (check, message) = (Check::Golden, "row 1 gives 2, 1 was recorded".into());
        Some(LastRefusal { version: version.into(), check, message, at: rfc3339(NOW) })
    }

    fn fleet(reports: &[Report]) -> Fleet {
        let mut fleet = Fleet::new("late-arrival", 5_000);
        for report in reports {
            fleet.take(&report.instance, Some(&serde_json::to_vec(report).unwrap()));
        }
        fleet
    }

    /// The log wants 7, by message 41.
    fn goal(stage: Stage) -> Goal {
        Goal { version: "7".into(), stage, control_offset: Some(41), read_to: Some(41) }
    }

    #[track_caller]
    fn check(reports: &[Report], after_s: i64, converged: bool, expect: &str) {
        let now = NOW + SignedDuration::from_secs(after_s);
        let (fleet, goal) = (fleet(reports), goal(Stage::Serves));
        let verdict = fleet.verdict(Some(&goal), now);
        assert_eq!((verdict.to_string().as_str(), verdict.is_converged()), (expect, converged));
    }

    #[test]
    fn a_fleet_has_converged_when_every_living_instance_serves_what_is_wanted() {
        let (a, b) = (report("a", "7", 41), report("b", "7", 41));
        check(&[a.clone(), b.clone()], 0, true, "converged on 7 (2 of 2)");
        let b = Report { control_offset: Some(50), ..b };
        check(&[a, b], 25, true, "converged on 7 (2 of 2)");
        let nobody = "not converged on 7: no instance of model `late-arrival` reports";
        check(&[], 0, false, nobody);
    }

    #[test]
    fn who_is_behind_is_named_with_why() {
        let refused = Report {
            control_offset: Some(41),
            last_refusal: refusal("7"),
            ..report("refused", "6", 38)
        };
        let joins = Report {
            ready: false,
            waits_for: vec![Waiting { latch: Latch::WorkersJoined, why: "0 of 2 workers".into() }],
            ..report("joins", "7", 41)
        };
        let loads = Report { control_offset: Some(41), ..report("loads", "6", 38) };
        let again = Report { control_offset: Some(41), ..report("again", "7", 38) };
        check(
            &[report("d", "7", 41), report("reads", "6", 38), refused, joins, loads, again],
            0,
            false,
            "not converged on 7 (1 of 6)\
             \n  again on here: serves 7, but not yet as the last message about it says\
             \n  joins on here: serves 7; not ready: 0 of 2 workers\
             \n  loads on here: serves 6; has read the message about 7 and is loading it\
             \n  reads on here: serves 6; has read up to message 38 of the control log, not up to 41\
             \n  refused on here: serves 6; refused 7 at 1970-01-01T00:00:00.000Z: golden: row 1 gives 2, 1 was recorded",
        );
    }

    #[test]
    fn a_refusal_of_another_version_is_no_reason() {
        let there = Report { last_refusal: refusal("8"), ..report("a", "7", 41) };
        check(&[there], 0, true, "converged on 7 (1 of 1)");
    }

    #[test]
    fn who_stops_or_is_silent_does_not_count_and_is_forgotten_in_the_end() {
        let stops = Report {
            ready: false,
            waits_for: vec![Waiting { latch: Latch::NotStopping, why: "stops".into() }],
            ..report("stops", "6", 38)
        };
        let killed = report("killed", "6", 38);
        let reports = |at_s| {
            let at = rfc3339(NOW + SignedDuration::from_secs(at_s));
            [stops.clone(), killed.clone(), Report { at, ..report("a", "7", 41) }]
        };
        let stopping = "not converged on 7 (1 of 2)\
             \n  killed on here: serves 6; has read up to message 38 of the control log, not up to 41\
             \n  stops on here: stops, and is not counted";
        check(&reports(1), 1, false, stopping);
        let silent = "converged on 7 (1 of 1)\
             \n  killed on here: silent for 26 s, and is not counted; it served 6";
        check(&reports(26), 26, true, silent);
        check(&reports(3_601), 3_601, true, "converged on 7 (1 of 1)");
    }

    #[test]
    fn the_last_record_of_an_instance_counts_and_an_empty_one_takes_it_back() {
        let mut fleet = fleet(&[report("a", "6", 38), report("b", "6", 38), report("a", "7", 41)]);
        fleet.take("b", None);
        let goal = goal(Stage::Serves);
        assert_eq!(fleet.verdict(Some(&goal), NOW).to_string(), "converged on 7 (1 of 1)");
    }

    #[test]
    fn what_is_not_ours_or_cannot_be_read_is_told_and_not_counted() {
        let other = Report { model: "fares".into(), ..report("b", "1", 2) };
        let mut fleet = fleet(&[report("a", "7", 41), other]);
        fleet.take("c", Some(br#"{"at":"1970-01-01T00:00:00Z"}"#));
        let goal = goal(Stage::Serves);
        let expect = "converged on 7 (1 of 1)\
            \n  c: its report cannot be read, and is not counted: missing field `instance` at line 1 column 29\
            \n  1 instance of another model is not shown";
        assert_eq!(fleet.verdict(Some(&goal), NOW).to_string(), expect);
        let later = NOW + SignedDuration::from_secs(26);
        assert!(!fleet.verdict(Some(&goal), later).to_string().contains("cannot be read"));
    }

    #[test]
    fn a_version_on_hold_is_there_when_all_know_it_as_a_candidate() {
        let knows = |instance| Report {
            control_offset: Some(41),
            candidates: vec!["7".into()],
            ..report(instance, "6", 38)
        };
        let goal = goal(Stage::Waits);
        let both = fleet(&[knows("a"), knows("b")]);
        let verdict = both.verdict(Some(&goal), NOW);
        assert!(verdict.is_converged());
        assert_eq!(verdict.headline(), "7 waits for promote (2 of 2)");
        let one = fleet(&[knows("a"), report("b", "6", 38)]);
        assert_eq!(one.verdict(Some(&goal), NOW).headline(), "7 waits for promote on 1 of 2");
    }

    #[test]
    fn without_anything_wanted_nothing_has_converged() {
        let fleet = fleet(&[Report { served: None, ..report("a", "7", 41) }]);
        let verdict = fleet.verdict(None, NOW);
        assert!(!verdict.is_converged());
        assert_eq!(
            verdict.to_string(),
            "not converged: no version of model `late-arrival` is configured or has been announced"
        );
    }

    #[test]
    fn programs_get_all_of_it() {
        let refused =
            Report { control_offset: Some(41), last_refusal: refusal("7"), ..report("b", "6", 38) };
        let (fleet, goal) = (fleet(&[report("a", "7", 41), refused]), goal(Stage::Serves));
        let value = fleet.verdict(Some(&goal), NOW).json();
        assert_eq!(value["converged"], false);
        assert_eq!(value["wanted"], json!({"version": "7", "control_offset": 41}));
        assert_eq!((value["there"].as_u64(), value["counted"].as_u64()), (Some(1), Some(2)));
        assert_eq!(value["behind"][0]["lack"], "refused");
        let reports: Vec<Report> = serde_json::from_value(value["reports"].clone()).unwrap();
        assert_eq!(reports.len(), 2);
    }
}
