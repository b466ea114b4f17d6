//! Verdicts on fleets of reports made by hand.

use std::collections::BTreeSet;

use serde_json::json;

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
    let at = rfc3339(NOW);
    Some(LastRefusal { version: version.into(), check, message, is_transient: false, at })
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
         \n  loads on here: serves 6; has read the message about 7, and does not serve it yet\
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
fn who_falls_silent_is_lost_unless_another_comes_after_on_its_host() {
    let old = |instance: &str| Report { at: rfc3339(NOW), ..report(instance, "6", 38) };
    let later = NOW + SignedDuration::from_secs(60);
    let new = Report {
        at: rfc3339(later),
        started: rfc3339(later),
        host: "there".into(),
        ..report("d", "7", 41)
    };
    let lived: BTreeSet<String> = ["a", "b"].map(str::to_owned).into();
    let replaced = Report { host: "there".into(), ..old("b") };
    let fleet = fleet(&[old("a"), replaced, old("c"), new]);
    let goal = goal(Stage::Serves);
    let verdict = fleet.verdict(Some(&goal), later);
    assert!(verdict.is_converged());
    assert_eq!(verdict.lost(&lived), ["a"]);
    assert!(fleet.verdict(Some(&goal), NOW).lost(&lived).is_empty());
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

/// An instance of `version` whose window has `low` of a hundred events in the first of two bins; in training there were
/// `rows` in each.
fn drifting(instance: &str, version: &str, low: u64, rows: u64) -> Report {
    let shift = |name: &str| {
        json!({
            "name": name, "psi": 9.0,
            "training": {"counts": [rows, rows], "missing": 7},
            "window": {"counts": [low, 100 - low], "unknown": 1},
        })
    };
    let window = json!({
        "events": 101, "since": rfc3339(NOW), "until": rfc3339(NOW),
        "features": [shift("x"), shift("y")], "outputs": [shift("probability")],
    });
    let drift = serde_json::from_value(json!({"events": 5, "window": window})).unwrap();
    Report { drift: Some(drift), ..report(instance, version, 41) }
}

#[test]
fn the_windows_of_a_version_are_added_up_and_others_are_not() {
    let mut reports = vec![
        drifting("a", "7", 90, 500),
        drifting("b", "7", 10, 500),
        drifting("of another bundle", "7", 10, 501),
        drifting("of another version", "6", 10, 500),
        report("that knows nothing", "7", 41),
    ];
    let mut new = drifting("new", "7", 10, 500);
    new.drift.as_mut().unwrap().window = None;
    reports.push(new);
    let (fleet, goal) = (fleet(&reports), goal(Stage::Serves));
    let drift = fleet.verdict(Some(&goal), NOW).drift().unwrap();
    assert_eq!((drift.version.as_str(), drift.instances, drift.without), ("7", 2, 2));
    assert_eq!((drift.events, drift.since), (202, 20));
    let x = &drift.features[0];
    assert_eq!((x.window.counts.as_slice(), x.window.unknown), (&[100, 100][..], 2));
    // Each of the two is far from training, and both together are not.
    assert!(x.psi < 0.1, "{}", x.psi);
    assert!((x.training.missing_ratio() - 7.0 / 1007.0).abs() < 1e-12);
    assert!((x.window.unknown_ratio() - 2.0 / 202.0).abs() < 1e-12);
    let told = drift.json();
    assert_eq!(told["features"].as_array().map(Vec::len), Some(2));
    assert_eq!(told["outputs"][0]["window"]["counts"], json!([100, 100]));
    assert!(fleet.verdict(None, NOW).drift().is_none());
}

#[test]
fn what_others_report_is_none_of_an_instance() {
    let mut fleet = fleet(&[report("one", "7", 41)]);
    fleet.take("evaluate-1", Some(br#"{"kind":"quality","at":"1970-01-01T00:00:00.000Z"}"#));
    let goal = goal(Stage::Serves);
    let verdict = fleet.verdict(Some(&goal), NOW);
    assert!(verdict.unread.is_empty() && verdict.is_converged(), "{verdict}");
}
