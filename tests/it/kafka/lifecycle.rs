//! The life of a model: what a new version has to show, a shadow beside what serves, and the ways
//! back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use foretell::control::message::Message;
use foretell::model::gate::Check;
use serde_json::{Value, json};

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::feeder::Feeder;
use super::instance::await_shares;
use super::model::{self, Flaw};
use super::probe::{Answer, Probe};
use super::reports::await_report;
use super::scratch;
use super::swap::{Chosen, PARTITIONS, await_served, check};
use super::topics;

/// Waits for a control message, and gives it with its offset.
#[track_caller]
fn await_message(
    deployment: &Deployment,
    what: &str,
    is_it: impl Fn(&Message) -> bool,
) -> (i64, Message) {
    eventually(SOON, &format!("{what} on the control topic"), || {
        let records = topics::read(deployment, &deployment.topics.control);
        let mut messages = records.iter().filter_map(|record| {
            let message = Message::parse(record.value.as_deref()?).ok()?;
            Some((record.offset, message))
        });
        messages.find(|(_, message)| is_it(message))
    })
}

#[track_caller]
fn await_refusal(deployment: &Deployment, version: u32, check: Check, words: &str) {
    let version = version.to_string();
    await_report(deployment, &format!("that version {version} was refused: {words}"), |report| {
        report.last_refusal.as_ref().is_some_and(|refusal| {
            refusal.version == version && refusal.check == check && refusal.message.contains(words)
        })
    });
}

#[test]
fn a_version_that_cannot_score_this_traffic_is_refused_before_it_serves() {
    let deployment = Arc::new(Deployment::new("traffic", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 500);
    let _instance = deployment.start();
    probe.await_answers(SOON, 500);
    for (version, flaw, check, words) in [
        (2, Flaw::AsksForMore, Check::Contract, "`x` at `/more`: required, but absent or null"),
        (3, Flaw::Overflows, Check::Traffic, "no finite result"),
    ] {
        let bundle = model::flawed_bundle(version, flaw);
        for rollout in ["immediate", "hold"] {
            let more = json!({"rollout": rollout});
            topics::control(&deployment, &model::retrain_complete_with(version, &bundle, more));
            await_refusal(&deployment, version, check, words);
        }
    }
    let report = await_report(&deployment, "no candidate", |report| report.candidates.is_empty());
    let gate = report.last_gate.expect("a version went through the gate");
    assert!(!gate.passed && gate.checks.iter().any(|made| made.check == Check::Traffic));
    feeder.stop();
    probe.await_all(SOON);
    // The versions 2 and 3 were never served: nothing became a dead letter for them.
    check_alone(&mut probe);
}

/// All was scored by version 1.
#[track_caller]
fn check_alone(probe: &mut Probe<'_>) {
    check(probe, &Chosen::from([(None, 1)]));
}

#[test]
fn a_shadow_says_what_it_would_have_said_and_is_promoted_for_what_it_shows() {
    let deployment = Arc::new(Deployment::new("shadow", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 1000);
    let (one, two) = (deployment.start(), deployment.start());
    await_shares(SOON, PARTITIONS, &[&one, &two]);
    probe.await_answers(SOON, 1000);
    let more = json!({"rollout": "shadow", "promote_when": {"rows": 2000}});
    topics::control(&deployment, &model::retrain_complete_with(2, &model::bundle(2), more));
    let (announced, _) = await_message(&deployment, "the announcement", |message| {
        matches!(message, Message::RetrainComplete { .. })
    });
    // Of its values the difference is told: 10 of 10, and of 11.
    await_report(&deployment, "version 2 as the shadow", |report| {
        report.shadow.as_ref().is_some_and(|shadow| {
            let agreement = &shadow.agreement;
            shadow.version == "2"
                && shadow.control_offset == announced
                && agreement.rows > 0
                && (0.9..=1.01).contains(&agreement.difference.max)
                && (agreement.flips, agreement.lost, agreement.gained) == (0, 0, 0)
                && agreement.cost_ratio.is_some()
        })
    });
    // Both instances may say so; the first to say it decides.
    let (promoted, message) = await_message(&deployment, "a promotion", |message| {
        matches!(message, Message::Promote { .. })
    });
    let Message::Promote { from, reason, .. } = message else { unreachable!("looked for") };
    assert_eq!(from.as_deref(), Some("1"));
    assert!(reason.is_some_and(|reason| reason.contains("events")));
    await_served(&mut probe, promoted);
    feeder.stop();
    probe.await_all(SOON);
    check(&mut probe, &Chosen::from([(None, 1), (Some(promoted), 2)]));
    await_report(&deployment, "no shadow", |report| report.shadow.is_none());
    check_shadow(&deployment, &probe, announced);
}

/// What the shadow said is version 2's, once for an event, and of events that version 1 served.
#[track_caller]
fn check_shadow(deployment: &Deployment, probe: &Probe<'_>, announced: i64) {
    let topic = deployment.topics.shadow.as_deref().expect("there is a topic for shadows");
    let events = topics::read(deployment, &deployment.topics.events);
    let events: BTreeMap<_, _> =
        events.into_iter().map(|event| ((event.partition, event.offset), event)).collect();
    let served = |answer: &Answer| {
        answer.prediction.as_ref().map(|prediction| (answer.input, prediction.version))
    };
    let served: BTreeMap<_, _> = probe.answers.iter().filter_map(served).collect();
    let mut said = BTreeMap::new();
    for record in topics::read(deployment, topic) {
        let text = record.value.as_deref().expect("a shadow says something");
        let value: Value = serde_json::from_slice(text).expect("a prediction is JSON");
        let place = |name: &str| value["input"][name].as_i64().expect("a place");
        let input = (place("partition") as i32, place("offset"));
        let event = events[&input].value.as_deref().expect("an event has a value");
        let event: Value = serde_json::from_slice(event).expect("the event is JSON");
        let x = event["x"].as_f64().expect("a number");
        let expected = (json!(model::says(2, x)), json!("2"), json!(announced));
        let found = ["prediction", "version", "control_offset"].map(|name| value[name].clone());
        assert_eq!(found, [expected.0, expected.1, expected.2], "{value}");
        assert_eq!(record.key, events[&input].key);
        assert_eq!(said.insert(input, served[&input]), None, "twice: {value}");
    }
    assert!(said.len() >= 2000, "expected what it was promoted for, found {}", said.len());
    assert!(said.values().all(|version| *version == 1), "it spoke beside itself");
}

#[test]
fn a_version_that_does_harm_is_sent_back_by_the_instances_themselves() {
    // Without recent events the gate cannot know.
    let deployment = Deployment::new("harm", PARTITIONS).with("gate.replay_rows", 0);
    let deployment = Arc::new(deployment);
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 1000);
    let (one, two) = (deployment.start(), deployment.start());
    await_shares(SOON, PARTITIONS, &[&one, &two]);
    probe.await_answers(SOON, 1000);
    let bundle = model::flawed_bundle(2, Flaw::Overflows);
    topics::control(&deployment, &model::retrain_complete_with(2, &bundle, json!({})));
    let (at, message) = await_message(&deployment, "a rollback", |message| {
        matches!(message, Message::Rollback { .. })
    });
    let Message::Rollback { from, to, reason, .. } = message else { unreachable!("looked for") };
    assert_eq!((from.as_str(), to), ("2", None));
    assert!(reason.is_some_and(|reason| reason.ends_with("of results are no numbers")));
    await_served(&mut probe, at);
    // It is not served again until it is announced again.
    topics::control(&deployment, r#"{"type":"promote","model":"tiny","version":"2"}"#);
    await_report(&deployment, "that the promotion was passed over", |report| {
        let skipped = report.last_skipped.as_ref();
        skipped.is_some_and(|skipped| skipped.why.contains("was rolled back"))
    });
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
    let last = probe.answers.iter().rev().find_map(|answer| answer.prediction.as_ref());
    assert_eq!(last.map(|prediction| prediction.version), Some(1));
}

#[test]
fn a_rollback_below_a_shadow_leaves_the_shadow_and_one_of_the_shadow_takes_it_away() {
    let deployment = Arc::new(Deployment::new("below", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 500);
    let _instance = deployment.start();
    probe.await_answers(SOON, 100);
    let second = deployment.announce(&model::bundle(2));
    await_served(&mut probe, second);
    let third = model::bundle(3);
    let third = third.to_str().expect("the folder's name is text");
    deployment.say("model announce", &[third, "--rollout", "shadow"]);
    let shows = |served: &'static str, shadow: Option<&'static str>| {
        await_report(&deployment, &format!("{served} and beside it {shadow:?}"), |report| {
            let rows = report.shadow.as_ref().map_or(1, |shadow| shadow.agreement.rows);
            report.served.as_ref().is_some_and(|serves| serves.version == served)
                && report.shadow.as_ref().map(|shadow| shadow.version.as_str()) == shadow
                && rows > 0
        })
    };
    shows("2", Some("3"));
    let back = deployment.say("model rollback", &["--from", "2"]);
    let report = shows("1", Some("3"));
    // It compares with version 1 now: 20 of 10 and of 11 are 2 times the larger.
    let difference = report.shadow.expect("looked for").agreement.difference;
    assert!((1.8..=2.02).contains(&difference.p50), "{difference:?}");
    deployment.say("model rollback", &["--from", "3"]);
    shows("1", None);
    feeder.stop();
    probe.await_all(SOON);
    check(&mut probe, &Chosen::from([(None, 1), (Some(second), 2), (Some(back), 1)]));
}

#[test]
fn the_way_back_is_open_to_an_instance_that_has_just_started() {
    // Such an instance has not loaded what served before, and lets nothing new through.
    let deployment = Deployment::new("way-back", PARTITIONS).with("gate.cost_ratio_max", 0.0);
    let deployment = Arc::new(deployment);
    let mut probe = Probe::new(&deployment);
    deployment.announce(&model::bundle(2));
    let third = deployment.announce(&model::bundle(3));
    let feeder = Feeder::start(&deployment, 1000);
    let _instance = deployment.start();
    await_served(&mut probe, third);
    probe.await_answers(SOON, 2000);
    let back = deployment.say("model rollback", &["--from", "3"]);
    await_served(&mut probe, back);
    // What is new has to pass as before.
    deployment.announce(&model::bundle(4));
    await_refusal(&deployment, 4, Check::Traffic, "times what it costs");
    feeder.stop();
    probe.await_all(SOON);
    check(&mut probe, &Chosen::from([(Some(third), 3), (Some(back), 2)]));
}

#[test]
fn of_a_storm_of_messages_only_what_stands_at_its_end_is_loaded() {
    let deployment = Arc::new(Deployment::new("storm", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 500);
    let instance = deployment.start();
    probe.await_answers(SOON, 100);
    let bundles = [2, 3].map(|version| (version, model::bundle(version)));
    let messages = (0..1000).map(|number| {
        let (version, bundle) = &bundles[number % 2];
        match number % 4 {
            0 | 1 => model::retrain_complete_with(*version, bundle, json!({})),
            2 => json!({"type": "rollback", "model": model::NAME, "from": "3"}).to_string(),
            _ => json!({"type": "retrain-request", "model": "another"}).to_string(),
        }
    });
    let mut messages: Vec<_> = messages.collect();
    messages.push(model::retrain_complete_with(3, &bundles[1].1, json!({})));
    topics::publish_all(&deployment, &deployment.topics.control, model::NAME, &messages);
    await_served(&mut probe, 1000);
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
    let said = instance.said();
    let swaps = said.lines().filter(|line| line.contains("\"serves\"")).count();
    let gates = said.lines().filter(|line| line.contains("passes the gate")).count();
    println!("{swaps} swaps and {gates} gates for 1001 messages");
    assert!(swaps < 50, "expected a storm to be folded before it is obeyed, saw {swaps} swaps");
    assert!(gates <= 2, "expected each version to be loaded once, saw {gates}");
}

#[test]
fn a_bundle_that_comes_late_or_changes_under_its_name_is_taken_as_announced_or_not_at_all() {
    let deployment = Arc::new(Deployment::new("late", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 500);
    let _instance = deployment.start();
    probe.await_answers(SOON, 100);
    let (second, third) = (model::bundle(2), model::bundle(3));
    // Beside the configured bundle, where announced ones may be.
    let place = scratch::folder("bundles").join("late-bundle");
    let digest = model::digest(&second);
    topics::control(&deployment, &model::retrain_complete(2, &place, &digest));
    await_refusal(&deployment, 2, Check::Fetch, "late-bundle");
    // Another bundle under that name is not what was announced.
    put(&third, &place);
    await_refusal(&deployment, 2, Check::Digest, &digest);
    probe.await_all(SOON);
    // Announced again, it is looked for again, and found when it comes.
    fs::remove_dir_all(&place).expect("the folder is ours");
    topics::control(&deployment, &model::retrain_complete(2, &place, &digest));
    await_refusal(&deployment, 2, Check::Fetch, "late-bundle");
    put(&second, &place);
    let served = await_report(&deployment, "version 2 as what serves", |report| {
        report.served.as_ref().is_some_and(|served| served.version == "2")
    });
    let at = served.served.and_then(|served| served.control_offset).expect("it was announced");
    await_served(&mut probe, at);
    feeder.stop();
    probe.await_all(SOON);
    check(&mut probe, &Chosen::from([(None, 1), (Some(at), 2)]));
}

/// Copies a bundle's files; the manifest last, as it is what is looked for.
fn put(bundle: &Path, place: &Path) {
    fs::create_dir_all(place).expect("a folder under target/tmp");
    for name in ["model.txt", "golden.jsonl", "manifest.json"] {
        fs::copy(bundle.join(name), place.join(name)).expect("a bundle has this file");
    }
}

#[test]
fn a_version_that_one_instance_cannot_load_serves_on_the_others() {
    let deployment = Arc::new(Deployment::new("one-only", PARTITIONS));
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 500);
    let able = deployment.start();
    // Nothing is as cheap as that one wants it.
    let unable = deployment.start_with(&[("gate.cost_ratio_max", 0.0.into())]);
    await_shares(SOON, PARTITIONS, &[&able, &unable]);
    let partitions = unable.partitions();
    let from = probe.answered() as usize;
    eventually(SOON, "answers by the instance that will refuse", || {
        probe.read();
        let is_its = |answer: &&Answer| partitions.contains(&answer.input.0);
        (probe.answers.iter().skip(from).filter(is_its).count() >= 200).then_some(())
    });
    deployment.announce(&model::bundle(2));
    able.await_saying(SOON, &["\"serves\"", "\"2\""]);
    unable.await_saying(SOON, &["ERROR", "refused", "times what it costs"]);
    for version in ["1", "2"] {
        await_report(&deployment, &format!("version {version} as what serves"), |report| {
            report.served.as_ref().is_some_and(|served| served.version == version)
        });
    }
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}
