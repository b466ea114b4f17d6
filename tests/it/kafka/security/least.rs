//! The smallest set of rights for each thing that one does with the program, as the table in
//! docs/security.md has it: with exactly these it works, and without any one of them it ends with 77
//! and says which.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::recipes::works;
use super::rights::{Operation, Resource, Right};
use super::secured::{Secured, by, of_an_instance};
use crate::kafka::deployment::Deployment;
use crate::kafka::eventually::SOON;
use crate::kafka::probe::Probe;
use crate::kafka::{feeder, model, topics};

/// Something that is done with the program, and what for.
struct Deed<'a> {
    name: &'a str,
    deployment: Deployment,
    rights: Vec<Right>,
    /// Command and arguments.
    line: (&'a str, Vec<String>),
}

impl Deed<'_> {
    /// The same deployment for a new user who has all rights but this one.
    fn without(&self, lacking: Option<usize>) -> Deployment {
        let secured = Secured::shared();
        // Nobody has what another deed has given him.
        static USERS: AtomicUsize = AtomicUsize::new(0);
        let user = format!("least-{}", USERS.fetch_add(1, Ordering::Relaxed));
        let rights = self.rights.iter().enumerate().filter(|(index, _)| Some(*index) != lacking);
        let rights: Vec<_> = rights.map(|(_, right)| right.clone()).collect();
        if !rights.is_empty() {
            secured.give(&user, &rights);
        }
        by(self.deployment.clone(), &secured.mtls, secured.certified(&user))
    }

    fn run(&self, deployment: &Deployment) -> Output {
        let (command, arguments) = &self.line;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        deployment.foretell(command, &arguments)
    }

    /// Without any one right it ends with 77, and names it.
    fn needs_each(&self) {
        thread::scope(|scope| {
            for index in 0..self.rights.len() {
                scope.spawn(move || self.needs(index));
            }
        });
    }

    /// Without this right it ends with 77, and names it.
    fn needs(&self, index: usize) {
        let output = self.run(&self.without(Some(index)));
        let said = String::from_utf8_lossy(&output.stderr);
        let (name, right) = (self.name, &self.rights[index]);
        assert_eq!(output.status.code(), Some(77), "{name} without {right:?}: {said}");
        for words in [&right.wanted(), "hint: the user needs", "docs/security.md"] {
            assert!(said.contains(words), "{name}: expected `{words}` in: {said}");
        }
    }

    /// With exactly these rights it ends well.
    fn has_enough(&self) {
        let output = self.run(&self.without(None));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} with {:?}: {said}", self.name, self.rights);
    }
}

fn deed<'a>(
    name: &'a str,
    deployment: Deployment,
    rights: Vec<Right>,
    command: &'a str,
) -> Deed<'a> {
    Deed { name, deployment, rights, line: (command, Vec::new()) }
}

#[test]
fn an_instance_exactly_once() {
    let deployment = Secured::shared().deployment("least-exactly", 2);
    let deed = deed("run", deployment.clone(), of_an_instance(&deployment), "run");
    works(&deed.without(None));
    deed.needs_each();
}

/// Under KIP-848, where the broker assigns.
#[test]
fn an_instance_of_the_other_protocol() {
    let deployment = Secured::shared().deployment("least-consumer", 2);
    let deployment = deployment
        .with("consumer.protocol", "consumer")
        .without("consumer.session_timeout_ms")
        .without("consumer.heartbeat_interval_ms");
    let deed = deed("run", deployment.clone(), of_an_instance(&deployment), "run");
    works(&deed.without(None));
    deed.needs_each();
}

#[test]
fn an_instance_at_least_once() {
    let deployment = Secured::shared().deployment("least-at-least", 2);
    let deployment = deployment.with("delivery.guarantee", "at-least-once");
    let mut rights = of_an_instance(&deployment);
    rights.retain(|right| right.resource != Resource::TransactionalId);
    let deed = deed("run", deployment, rights, "run");
    let served = deed.without(None);
    feeder::burst(&served, 100);
    let mut probe = Probe::new(&served);
    let mut instance = served.start();
    probe.await_all(SOON);
    probe.verdict().is_at_least_once();
    instance.terminate(SOON);
    deed.needs_each();
}

/// `check` looks at what an instance needs, as far as that can be seen without joining.
#[test]
fn check_and_status_and_list() {
    let secured = Secured::shared();
    let deployment = secured.deployment("least-look", 1);
    let topics = &deployment.topics;
    let seen = [Right::read(&topics.control), Right::read(&topics.reports)];
    // An instance's, but for group and transactional ids, which only joining shows.
    let mut rights = of_an_instance(&deployment);
    rights.retain(|right| right.resource == Resource::Topic);
    let check = deed("check", deployment.clone(), rights, "check");
    check.has_enough();
    check.needs_each();
    let status = deed("status", deployment.clone(), seen.to_vec(), "status");
    // Nobody serves: it has looked, and says so.
    let output = status.run(&status.without(None));
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    status.needs_each();
    let list = deed("model list", deployment.clone(), seen[..1].to_vec(), "model list");
    let output = list.run(&list.without(None));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    list.needs_each();
}

#[test]
fn to_say_something_of_a_model() {
    let deployment = Secured::shared().deployment("least-say", 1);
    let control = vec![Right::write(&deployment.topics.control)];
    let bundle = model::bundle(2).display().to_string();
    let back = vec!["--from".into(), "2".into()];
    for (command, arguments) in [
        ("model announce", vec![bundle]),
        ("model promote", vec!["2".into()]),
        ("model rollback", back),
        ("resume", vec![]),
    ] {
        let mut deed = deed(command, deployment.clone(), control.clone(), command);
        deed.line.1 = arguments;
        deed.has_enough();
        deed.needs_each();
    }
}

#[test]
fn a_replay() {
    let secured = Secured::shared();
    let deployment = secured.deployment("least-replay", 2);
    works(&deployment);
    let (events, predictions) =
        (deployment.topics.events.clone(), deployment.topics.predictions.clone());
    let rights = vec![Right::read(&events), Right::read(&predictions)];
    let bundle = model::bundle(2).display().to_string();
    let mut deed = deed("replay", deployment, rights, "replay");
    deed.line.1 = vec!["--bundle".into(), bundle, "--against".into(), predictions];
    deed.has_enough();
    deed.needs_each();
    let own = format!("{events}-replayed");
    topics::make(&deed.deployment, &own, 2, &[]);
    let against = deed.line.1.len() - 2;
    deed.line.1.truncate(against);
    deed.line.1.extend(["--to-topic".into(), own.clone()]);
    deed.rights = vec![Right::read(&events), Right::write(&own)];
    deed.has_enough();
    deed.needs_each();
}

#[test]
fn a_redrive() {
    let deployment = Secured::shared().deployment("least-redrive", 1);
    topics::publish(&deployment, &deployment.topics.events, "key", "garbage");
    let mut instance = deployment.start();
    Probe::new(&deployment).await_answers(SOON, 1);
    instance.terminate(SOON);
    let topics = &deployment.topics;
    let id = format!("foretell-redrive.{}", topics.dead_letters);
    let rights = vec![
        Right::read(&topics.dead_letters),
        Right::write(&topics.dead_letters),
        Right::write(&topics.events),
        Right::new(Operation::Write, Resource::TransactionalId, id),
    ];
    let deed = deed("redrive", deployment.clone(), rights, "redrive");
    // One at a time: a second one takes the transactional id from the first.
    (0..deed.rights.len()).for_each(|index| deed.needs(index));
    deed.has_enough();
}

/// Without a right to report it goes on, as an instance does.
#[test]
fn an_evaluator() {
    let deployment = Secured::shared().deployment("least-evaluate", 2);
    let labels = format!("{}-labels", deployment.name);
    topics::make(&deployment, &labels, 2, &[]);
    let deployment = deployment
        .with("evaluate.labels", labels.as_str())
        .with("evaluate.listen", "off")
        .with("evaluate.mae_max", 1.0);
    let group = format!("{}-evaluate", deployment.name);
    let rights = vec![
        Right::read(&deployment.topics.predictions),
        Right::read(&labels),
        Right::read(&deployment.topics.control),
        Right::new(Operation::Read, Resource::Group, group),
    ];
    let deed = deed("evaluate", deployment, rights, "evaluate");
    deed.needs_each();
    let mut evaluator = deed.without(None).begin("evaluate", &[]);
    evaluator.await_saying(SOON, &["rebalanced"]);
    evaluator.await_saying(SOON, &["reports do not arrive"]);
    let (end, _) = evaluator.terminate(SOON);
    assert_eq!(end.code, Some(0), "{}", end.said);
}

#[test]
fn init() {
    let secured = Secured::shared();
    let deployment = Deployment::unmade(&secured.broker.address, "least-init");
    let create = |topic: &String| Right::new(Operation::Create, Resource::Topic, topic);
    let topics = &deployment.topics;
    let all = [
        &topics.events,
        &topics.predictions,
        &topics.dead_letters,
        &topics.control,
        &topics.reports,
    ];
    let rights = all.into_iter().chain(&topics.shadow).map(create).collect();
    let mut deed = deed("init", deployment.clone(), rights, "init");
    deed.line.1 = vec!["--partitions".into(), "1".into()];
    deed.needs_each();
    deed.has_enough();
}

/// The table in docs/security.md is this one.
#[test]
fn the_document_has_these_rights() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md");
    let text = fs::read_to_string(path).expect("docs/security.md can be read");
    for line in [
        "| `foretell run`, exactly once | Read | topic events · topic control · group `consumer.group_id` |",
        "| | Write | topics predictions, dead letters, reports, shadow if there is one · transactional ids that begin with `foretell-GROUP-` |",
        "| `foretell run`, at least once | Read | topic events · topic control · group `consumer.group_id` |",
        "| | Write | topics predictions, dead letters, reports, shadow if there is one |",
        "| `foretell status`, `--wait` | Read | topics control, reports |",
        "| `foretell model list` | Read | topic control |",
        "| `foretell model announce`, `promote`, `rollback`, `foretell resume` | Write | topic control |",
        "| `foretell replay` | Read | topic events · with `--against`, that topic |",
        "| | Write | with `--to-topic`, that topic |",
        "| `foretell redrive` | Read | topic dead letters · topic events, for letters that had no room for their event |",
        "| | Write | topics events, dead letters · transactional id `foretell-redrive.` and the dead-letters topic's name |",
        "| `foretell evaluate` | Read | topics predictions, `evaluate.labels` · group `evaluate.group_id` · with a bound, topic control |",
        "| | Write | topic reports · to ask by itself, topic control |",
        "| `foretell init` | Create | each topic that it shall make |",
    ] {
        assert!(text.contains(line), "no line: {line}");
    }
}
