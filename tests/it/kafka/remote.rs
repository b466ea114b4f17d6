//! Versions that come from a server, and those that may not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::feeder::{self, Feeder};
use super::model;
use super::probe::Probe;
use super::reports::await_report;
use super::scratch;
use super::swap::{Chosen, PARTITIONS, await_served, check};
use crate::store::server::{Server, whole};

/// After a restart with the server gone, the same version serves from the first event on.
#[test]
fn a_version_from_a_server_outlives_it() {
    let is_gone = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&is_gone);
    let server = Server::of(model::bundle(2), move |_, _, stream| {
        let is_gone = gone.load(Ordering::Relaxed);
        if is_gone {
            whole(stream, "410 Gone", b"");
        }
        is_gone
    });
    let cache = scratch::folder("remote-cache").display().to_string();
    let deployment = Deployment::new("remote", 3)
        .with("model.allowed_uris", vec![server.url("/models")])
        .with("model.cache_dir", cache)
        .with("model.fetch_jitter_ms", 100);
    let folder = model::bundle(2);
    let folder = folder.to_str().expect("the folder's name is text");
    let at = deployment.say("model announce", &[folder, "--uri", &server.url("/models/1")]);
    for _ in 0..2 {
        feeder::burst(&deployment, 200);
        let mut probe = Probe::new(&deployment);
        let _instance = deployment.start();
        probe.await_all(SOON);
        probe.verdict().is_exactly_once();
        let answer = probe.answers.last().expect("there were events");
        let prediction = answer.prediction.as_ref().expect("no event of this test is bad");
        assert_eq!((prediction.version, prediction.control_offset), (2, Some(at)));
        is_gone.store(true, Ordering::Relaxed);
    }
    assert_eq!(server.requests(), 3, "expected the second start to ask nobody");
}

/// A message chooses among what the configuration allows.
#[test]
fn a_message_cannot_make_an_instance_read_elsewhere() {
    let server = Server::of(model::bundle(2), |_, _, _| false);
    let deployment = Deployment::new("elsewhere", 1);
    let instance = deployment.start();
    let digest = model::digest(&model::bundle(2));
    let message = model::retrain_complete(2, Path::new(&server.url("/models/1")), &digest);
    super::topics::publish(&deployment, &deployment.topics.control, model::NAME, &message);
    instance.await_saying(SOON, &["ERROR", "refused", "`model.allowed_uris`"]);
    await_report(&deployment, "why version 2 was refused", |report| {
        report.last_refusal.as_ref().is_some_and(|refusal| refusal.version == "2")
    });
    assert_eq!(server.requests(), 0);
}

/// The fetch would end after ten minutes, and the test does not wait for that.
#[test]
fn a_store_that_hangs_delays_neither_what_serves_nor_the_way_back() {
    let server = Server::start(|_, _, _| {
        loop {
            thread::park();
        }
    });
    let bundles = model::bundle(2);
    let bundles = bundles.parent().expect("bundles stand in a folder").display().to_string();
    let deployment = Deployment::new("hangs", PARTITIONS)
        .with("model.allowed_uris", vec![server.url("/models"), bundles])
        .with("model.fetch_jitter_ms", 0)
        .with("model.fetch_timeout_ms", 600_000);
    let deployment = Arc::new(deployment);
    let mut probe = Probe::new(&deployment);
    let feeder = Feeder::start(&deployment, 500);
    let mut instance = deployment.start();
    probe.await_answers(SOON, 100);
    let second = deployment.announce(&model::bundle(2));
    await_served(&mut probe, second);
    let third = model::bundle(3);
    let third = third.to_str().expect("the folder's name is text");
    deployment.say("model announce", &[third, "--uri", &server.url("/models/3")]);
    eventually(SOON, "the server to be asked", || (server.requests() > 0).then_some(()));
    let back = deployment.say("model rollback", &["--from", "3"]);
    await_served(&mut probe, back);
    feeder.stop();
    probe.await_all(SOON);
    check(&mut probe, &Chosen::from([(None, 1), (Some(second), 2), (Some(back), 2)]));
    // Nor is a stop delayed.
    let (end, _) = instance.terminate(SOON);
    assert_eq!(end.code, Some(0), "{}", end.said);
}
