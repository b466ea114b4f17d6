//! A right is taken away from an instance at work. It ends within seconds, with 77 and the right by its
//! name; once it is given back and the instance starts again, no event is lost or answered twice.
//! Reports alone are not worth the predictions: without them it goes on, and says so.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::rights::{Operation, Resource, Right};
use super::secured::{Secured, by, of_an_instance};
use crate::kafka::deployment::Deployment;
use crate::kafka::eventually::SOON;
use crate::kafka::feeder::Feeder;
use crate::kafka::instance::Instance;
use crate::kafka::model;
use crate::kafka::probe::Probe;
use crate::kafka::reports::await_report;
use crate::kafka::topics;

const SECONDS: Duration = Duration::from_secs(40);

/// An instance that the user of its own name runs, in a steady stream, and has all its rights.
fn deploy(name: &str) -> Arc<Deployment> {
    let secured = Secured::shared();
    let deployment = secured.deployment(name, 2).with("delivery.instance_id", "one");
    let mut rights = of_an_instance(&deployment);
    rights.retain(|right| right.resource != Resource::TransactionalId);
    rights.push(transactional_id(&deployment));
    secured.give(&deployment.name, &rights);
    let user = secured.certified(&deployment.name);
    Arc::new(by(deployment, &secured.mtls, user))
}

fn transactional_id(deployment: &Deployment) -> Right {
    let id = format!("foretell-{}-one-0", deployment.name);
    Right::new(Operation::Write, Resource::TransactionalId, id)
}

fn at_work(deployment: &Arc<Deployment>) -> (Feeder, Instance, Probe<'_>) {
    let feeder = Feeder::start(deployment, 200);
    let instance = deployment.start();
    let mut probe = Probe::new(deployment);
    probe.await_answers(SOON, 200);
    (feeder, instance, probe)
}

/// The life of one right. `then`: what has to happen for the lack to show, if it is not the stream.
fn outlive(name: &str, right: impl Fn(&Deployment) -> Right, then: impl Fn(&Deployment)) {
    let secured = Secured::shared();
    let deployment = deploy(name);
    let right = right(&deployment);
    let (feeder, mut instance, mut probe) = at_work(&deployment);
    secured.take(&deployment.name, &right);
    then(&deployment);
    let end = instance.end(SECONDS);
    assert_eq!(end.code, Some(77), "without {right:?}: {}", end.said);
    for words in [&right.wanted(), "hint: the user needs", "docs/security.md"] {
        assert!(end.said.contains(words), "expected `{words}` in: {}", end.said);
    }
    secured.give(&deployment.name, &[right]);
    let _instance = deployment.start();
    probe.await_answers(SOON, 400);
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}

#[test]
fn what_it_may_no_longer_do_ends_it_and_nothing_is_lost_or_doubled() {
    let nothing = |_: &Deployment| ();
    thread::scope(|scope| {
        scope.spawn(|| outlive("no-events", |it| Right::read(&it.topics.events), nothing));
        scope.spawn(|| outlive("no-answers", |it| Right::write(&it.topics.predictions), nothing));
        let group = |it: &Deployment| Right::new(Operation::Read, Resource::Group, &it.name);
        scope.spawn(move || outlive("no-group", group, nothing));
        scope.spawn(|| outlive("no-id", transactional_id, nothing));
        scope.spawn(|| outlive("no-control", |it| Right::read(&it.topics.control), nothing));
        let bad = |it: &Deployment| topics::publish_all(it, &it.topics.events, "k", &["{".into()]);
        scope.spawn(move || outlive("no-dead", |it| Right::write(&it.topics.dead_letters), bad));
    });
}

#[test]
fn without_reports_it_goes_on_and_says_so() {
    let secured = Secured::shared();
    let deployment = deploy("no-reports");
    let right = Right::write(&deployment.topics.reports);
    let (feeder, mut instance, mut probe) = at_work(&deployment);
    secured.take(&deployment.name, &right);
    instance.await_saying(SECONDS, &["WARN", "reports do not arrive", &right.wanted()]);
    let before = probe.answered();
    probe.await_answers(SOON, before + 200);
    secured.give(&deployment.name, &[right]);
    // By its reports it has come further than it was without them.
    await_report(&deployment, "more than before", |report| report.totals.events > before + 200);
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
    let (end, _) = instance.terminate(SOON);
    assert_eq!(end.code, Some(0), "{}", end.said);
}

/// A right that an instance may lack: what it finds out by itself is then for somebody else to say.
#[test]
fn without_write_on_control_it_serves_and_tells_what_it_could_not_ask_for() {
    let secured = Secured::shared();
    let deployment = deploy("no-asking");
    let (feeder, instance, mut probe) = at_work(&deployment);
    let more = serde_json::json!({"rollout": "shadow", "promote_when": {"rows": 100}});
    let message = model::retrain_complete_with(2, &model::bundle(2), more);
    topics::control(&deployment, &message);
    instance.await_saying(
        SOON,
        &["ERROR", "could not ask", "Write on topic", &deployment.topics.control],
    );
    let write = Right::write(&deployment.topics.control);
    secured.give(&deployment.name, &[write]);
    // It asks for as long as there is reason to.
    instance.await_saying(SOON, &["\"serves\"", "\"2\""]);
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}
