//! Versions change while events flow, by messages on the control topic.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use foretell::model::gate::Check;

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::feeder::Feeder;
use super::instance::await_shares;
use super::probe::Probe;
use super::reports::await_report;
use super::{model, topics};

pub const PARTITIONS: i32 = 6;

/// Which version each control offset of a test chose.
pub type Chosen = BTreeMap<Option<i64>, u32>;

/// Each row names the message that chose its version; and on a partition no row was scored under an
/// earlier message than the row before it.
#[track_caller]
pub fn check(probe: &mut Probe<'_>, chosen: &Chosen) {
    check_names(probe, chosen);
    let mut last: BTreeMap<i32, Option<i64>> = BTreeMap::new();
    for answer in &probe.answers {
        let at = answer.prediction.as_ref().and_then(|prediction| prediction.control_offset);
        let before = last.insert(answer.input.0, at).flatten();
        assert!(
            before <= at,
            "expected {:?} to be scored under message {before:?} or a later one, not {at:?}",
            answer.input
        );
    }
}

/// Each row names the message that chose its version (that the value is that version's, the verdict
/// checks), and each version has served. Where a partition changes hands, its new owner may be a moment
/// behind in the log.
#[track_caller]
pub fn check_names(probe: &mut Probe<'_>, chosen: &Chosen) {
    probe.verdict().is_exactly_once();
    let mut seen = BTreeMap::new();
    for answer in &probe.answers {
        let prediction = answer.prediction.as_ref().expect("no event of this test is bad");
        let at = prediction.control_offset;
        assert_eq!(
            chosen.get(&at),
            Some(&prediction.version),
            "expected {:?} to be scored by the version that message {at:?} chose",
            answer.input
        );
        *seen.entry(at).or_insert(0) += 1;
    }
    println!("rows by control offset: {seen:?}");
    assert_eq!(
        seen.keys().collect::<Vec<_>>(),
        chosen.keys().collect::<Vec<_>>(),
        "expected rows of each version that served"
    );
}

/// Waits until all partitions are answered under the message at `offset`.
#[track_caller]
pub fn await_served(probe: &mut Probe<'_>, offset: i64) {
    let what = format!("predictions of message {offset} on all partitions");
    eventually(SOON, &what, || {
        probe.read();
        let under = |answer: &&super::probe::Answer| {
            answer.prediction.as_ref().is_some_and(|p| p.control_offset == Some(offset))
        };
        let mut partitions: Vec<_> =
            probe.answers.iter().filter(under).map(|answer| answer.input.0).collect();
        partitions.sort_unstable();
        partitions.dedup();
        (partitions.len() == PARTITIONS as usize).then_some(())
    });
}

#[test]
fn versions_change_under_load_and_each_row_names_its_own() {
    let deployment = Arc::new(Deployment::new("swap", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 1000);
    let (one, two) = (deployment.start(), deployment.start());
    await_shares(SOON, PARTITIONS, &[&one, &two]);
    probe.await_answers(SOON, 1000);
    let mut chosen = Chosen::from([(None, 1)]);
    // The folder is packed before, so that the time is that of the change.
    let (second, third) = (model::bundle(2), model::bundle(3));
    let announced = Instant::now();
    let at = deployment.announce(&second);
    chosen.insert(Some(at), 2);
    await_served(&mut probe, at);
    println!(
        "version 2 serves everywhere {} ms after its announcement began",
        announced.elapsed().as_millis()
    );
    let at = deployment.announce(&third);
    chosen.insert(Some(at), 3);
    await_served(&mut probe, at);
    let at = deployment.say("model rollback", &["--from", "3", "--reason", "worse"]);
    chosen.insert(Some(at), 2);
    await_served(&mut probe, at);
    // Said again, it changes nothing, nor does what nobody understands.
    deployment.say("model rollback", &["--from", "3"]);
    topics::control(&deployment, "not json");
    topics::control(&deployment, r#"{"type":"later-invention","model":"tiny"}"#);
    let at = deployment.say("model rollback", &["--from", "2", "--to", "1"]);
    chosen.insert(Some(at), 1);
    await_served(&mut probe, at);
    feeder.stop();
    probe.await_all(SOON);
    check(&mut probe, &chosen);
}

#[test]
fn a_version_that_is_refused_changes_nothing_and_is_told() {
    let deployment = Arc::new(Deployment::new("refused", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 500);
    let instance = deployment.start();
    probe.await_answers(SOON, 100);
    let (second, third) = (model::bundle(2), model::bundle(3));
    let digest = format!("sha256:{}", "0".repeat(64));
    topics::control(&deployment, &model::retrain_complete(2, &second, &digest));
    instance.await_saying(SOON, &["ERROR", "refused", r#""2""#, &digest]);
    await_report(&deployment, "why version 2 was refused", |report| {
        let refusal = report.last_refusal.as_ref();
        refusal.is_some_and(|refusal| refusal.version == "2" && refusal.check == Check::Digest)
    });
    topics::control(&deployment, &model::retrain_complete(4, Path::new("/nonexistent/4"), &digest));
    instance.await_saying(SOON, &["ERROR", "refused", r#""4""#, "/nonexistent/4"]);
    topics::control(&deployment, &model::retrain_complete(5, Path::new("s3://models/5"), &digest));
    instance.await_saying(SOON, &["ERROR", "refused", r#""5""#, "s3://models/5"]);
    await_report(&deployment, "version 5 as the last that was refused", |report| {
        report.last_refusal.as_ref().is_some_and(|refusal| refusal.version == "5")
    });
    probe.await_all(SOON);
    // A good one afterwards is taken.
    let at = deployment.announce(&third);
    await_served(&mut probe, at);
    feeder.stop();
    probe.await_all(SOON);
    check(&mut probe, &Chosen::from([(None, 1), (Some(at), 3)]));
    let said = instance.said();
    let refusals = said.lines().filter(|line| line.contains("ERROR") && line.contains(&digest));
    assert_eq!(refusals.count(), 1, "expected version 2 to be tried once:\n{said}");
}

#[test]
fn a_version_on_hold_serves_when_it_is_promoted() {
    let deployment = Arc::new(Deployment::new("hold", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 500);
    let _instance = deployment.start();
    let second = model::bundle(2);
    let second = second.to_str().expect("the folder's name is text");
    deployment.say("model announce", &[second, "--rollout", "hold"]);
    await_report(&deployment, "version 2 among those that wait", |report| {
        report.candidates == ["2"]
    });
    probe.await_all(SOON);
    let at = deployment.say("model promote", &["2"]);
    await_served(&mut probe, at);
    feeder.stop();
    probe.await_all(SOON);
    check(&mut probe, &Chosen::from([(None, 1), (Some(at), 2)]));
}
