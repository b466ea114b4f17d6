//! Threads of an instance that stop for good, as in a lock that is never let go: others take over, nothing is lost, and
//! the instance ends by itself, so that it can be started again.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::feeder::Feeder;
use super::instance::{Instance, await_shares};
use super::probe::Probe;

const PARTITIONS: i32 = 6;
/// The thread that keeps a client of librdkafka going; an instance has several clients.
const LIBRDKAFKA: &str = "rdk:main";
/// A minute until it is taken for stuck, another until that has been seen twice, then the drain and clients that do not
/// end: two minutes and a half at most, on a machine at rest.
const GIVEN_UP: Duration = Duration::from_secs(300);
const DRAIN_MS: i64 = 2_000;

/// As librdkafka's issue 5476 does it: the group hears no more of the member, and gives its partitions to others at once.
#[test]
fn an_instance_whose_clients_are_stuck_is_relieved_and_ends() {
    under_load("stuck", |stays, sticks| {
        stop_threads(sticks, LIBRDKAFKA);
        await_shares(SOON, PARTITIONS, &[stays]);
        ends_by_itself(sticks, "librdkafka's own thread is stuck");
    });
}

/// Its client goes on telling the group that all is well: only its end makes others take over.
#[test]
fn an_instance_whose_worker_is_stuck_ends_and_is_relieved() {
    under_load("stuck-worker", |stays, sticks| {
        stop_threads(sticks, "worker-0");
        ends_by_itself(sticks, "worker 0 has been stuck in one step for ");
        await_shares(SOON, PARTITIONS, &[stays]);
    });
}

/// Two instances at work, `harm` to the second, and in the end each event is answered once.
fn under_load(name: &str, harm: impl FnOnce(&Instance, &mut Instance)) {
    let deployment = Deployment::new(name, PARTITIONS).with("run.drain_timeout_ms", DRAIN_MS);
    let deployment = Arc::new(deployment);
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 1000);
    let (stays, mut sticks) = (deployment.start(), deployment.start());
    await_shares(SOON, PARTITIONS, &[&stays, &sticks]);
    probe.await_answers(SOON, 1000);
    harm(&stays, &mut sticks);
    feeder.stop();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
}

/// Nobody asks it to, so that a supervisor can start it again.
fn ends_by_itself(instance: &mut Instance, why: &str) {
    let end = instance.end(GIVEN_UP);
    assert_eq!(end.code, Some(70), "expected the code of a bug: {}", end.said);
    assert!(end.said.contains(why), "expected it to say {why:?}: {}", end.said);
}

/// Stops all threads of this name, for as long as the process lives.
fn stop_threads(instance: &Instance, name: &str) {
    let tasks = fs::read_dir(format!("/proc/{}/task", instance.pid())).expect("it runs");
    let is_called = |folder: &Path| {
        fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let paths = tasks.map(|task| task.expect("it runs").path());
    let threads: Vec<Pid> = paths
        .filter(|path| is_called(path))
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok().map(Pid::from_raw))
        .collect();
    assert!(!threads.is_empty(), "{} has no thread `{name}`", instance.name());
    let (stopped, all_stopped) = mpsc::channel();
    // Who traces a thread has to wait for it, until it ends: only then the process can.
    thread::spawn(move || {
        // Asleep it holds no lock that others need.
        let is_awake = |stat: &String| !stat.contains(") S ");
        let stop = |&task: &Pid| {
            eventually(SOON, "a thread to sleep, or to end", || {
                let stat = fs::read_to_string(format!("/proc/{task}/stat"));
                stat.ok().filter(is_awake).is_none().then_some(())
            });
            ptrace::seize(task, ptrace::Options::empty())?;
            ptrace::interrupt(task)
        };
        // One that has ended meanwhile does no more, either.
        let outcomes = threads.iter().map(stop).filter(|it| *it != Err(Errno::ESRCH));
        let outcome: nix::Result<()> = outcomes.collect();
        stopped.send(outcome).expect("it is waited for");
        // Those of this thread alone, not the children of other tests.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        while waitpid(None, Some(flags)).is_ok() {}
    });
    let outcome = all_stopped.recv().expect("it tells");
    outcome.expect("the threads of a child can be stopped");
}
