//! The recipes of docs/security.md: configured as they say, an instance does its work.

use super::secured::{PASSWORD, Secured, USER, by, of_an_instance};
use crate::kafka::deployment::Deployment;
use crate::kafka::eventually::SOON;
use crate::kafka::feeder;
use crate::kafka::probe::Probe;

/// It answers every event exactly once, and ends well.
#[track_caller]
pub fn works(deployment: &Deployment) {
    feeder::burst(deployment, 100);
    let mut probe = Probe::new(deployment);
    let mut instance = deployment.start();
    probe.await_all(SOON);
    probe.verdict().is_exactly_once();
    let (end, _) = instance.terminate(SOON);
    assert_eq!(end.code, Some(0), "{}", end.said);
}

#[test]
fn tls() {
    let secured = Secured::shared();
    works(&by(secured.deployment("tls", 2), &secured.tls, secured.trust()));
}

#[test]
fn mutual_tls() {
    let secured = Secured::shared();
    let deployment = secured.deployment("mutual-tls", 2);
    secured.give("worker", &of_an_instance(&deployment));
    works(&by(deployment, &secured.mtls, secured.certified("worker")));
}

#[test]
fn a_password_over_tls() {
    let secured = Secured::shared();
    for mechanism in ["SCRAM-SHA-512", "PLAIN"] {
        let deployment = secured.deployment(mechanism, 2);
        secured.give(USER, &of_an_instance(&deployment));
        let properties = secured.with_password(mechanism, USER, PASSWORD);
        works(&by(deployment, &secured.sasl, properties));
    }
}
