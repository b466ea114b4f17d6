//! A client that the brokers refuse, or that refuses them, says so within seconds; where that cannot be
//! told from brokers that are away, when the time for them is over. It never tries for ever.

use std::thread;
use std::time::{Duration, Instant};

use toml::Table;

use super::keys::Authority;
use super::secured::{PASSWORD, Secured, USER, by, properties};
use crate::kafka::deployment::Deployment;
use crate::kafka::model;

/// What a start waits for brokers that are away, in these tests: two minutes, which none of those that
/// are refused takes.
const AWAY_MS: i64 = 120_000;
/// They end within.
const SECONDS: Duration = Duration::from_secs(30);

/// Every command that talks to Kafka, with what it takes besides.
fn commands() -> Vec<(&'static str, Vec<String>)> {
    let bundle = model::bundle(1).display().to_string();
    vec![
        ("run", vec![]),
        ("check", vec![]),
        ("init", vec![]),
        ("status", vec![]),
        ("replay", vec!["--bundle".into(), bundle.clone()]),
        ("model list", vec![]),
        ("model announce", vec![bundle]),
        ("model promote", vec!["2".into()]),
        ("model rollback", vec!["--from".into(), "2".into()]),
    ]
}

/// Runs a command that has to be refused, and says so by these words.
#[track_caller]
fn refused(deployment: &Deployment, (command, arguments): &(&str, Vec<String>), says: &[&str]) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let began = Instant::now();
    let output = deployment.foretell(command, &arguments);
    let (took, said) = (began.elapsed(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(77), "`{command}`, after {took:?}: {said}");
    assert!(took < SECONDS, "`{command}` took {took:?}: {said}");
    for words in says.iter().chain(&["docs/security.md"]) {
        assert!(said.contains(words), "`{command}`: expected `{words}` in: {said}");
    }
}

#[test]
fn whoever_is_refused_is_told_by_whom_and_why() {
    let secured = Secured::shared();
    let stranger = Authority::new("stranger");
    let untrusting =
        properties(&[("security.protocol", "ssl"), ("ssl.ca.location", &stranger.certificate())]);
    let unknown = stranger.certify("unknown");
    let unknown = properties(&[
        ("ssl.certificate.location", &unknown.certificate),
        ("ssl.key.location", &unknown.key),
    ]);
    let unknown: Table = [secured.trust(), unknown].into_iter().flatten().collect();
    let password = |mechanism, user, password| secured.with_password(mechanism, user, password);
    let cases = [
        (
            "wrong-password",
            &secured.sasl,
            password("SCRAM-SHA-512", USER, "wrong"),
            "invalid credentials",
        ),
        (
            "wrong-plain",
            &secured.sasl,
            password("PLAIN", USER, "wrong"),
            "Invalid username or password",
        ),
        (
            "unknown-user",
            &secured.sasl,
            password("SCRAM-SHA-512", "nobody", PASSWORD),
            "invalid credentials",
        ),
        (
            "wrong-mechanism",
            &secured.sasl,
            password("SCRAM-SHA-256", USER, PASSWORD),
            "SCRAM-SHA-512,PLAIN",
        ),
        ("unknown-ca", &secured.tls, untrusting, "certificate verify failed"),
        ("no-certificate", &secured.mtls, secured.trust(), "certificate"),
        ("unknown-certificate", &secured.mtls, unknown, "certificate"),
        ("no-sasl-there", &secured.tls, password("PLAIN", USER, PASSWORD), "SASL"),
    ];
    thread::scope(|scope| {
        for (name, address, properties, why) in cases {
            scope.spawn(move || {
                let deployment = Deployment::unmade(address, name)
                    .with("kafka.connect_timeout_ms", AWAY_MS)
                    .with("kafka.properties", properties);
                refused(&deployment, &commands()[0], &[address, why, "hint: "]);
            });
        }
    });
}

/// One way in for all of them.
#[test]
fn no_command_tries_for_ever() {
    let secured = Secured::shared();
    let wrong = |address: &str, name: &str, properties: Table| {
        by(Deployment::unmade(address, name), address, properties)
            .with("kafka.connect_timeout_ms", AWAY_MS)
    };
    let password = secured.with_password("PLAIN", USER, "wrong");
    let by_password = wrong(&secured.sasl, "all-wrong", password);
    let by_certificate = wrong(&secured.mtls, "all-nameless", secured.trust());
    thread::scope(|scope| {
        for deployment in [&by_password, &by_certificate] {
            scope.spawn(|| {
                for command in commands() {
                    let address = &deployment.kafka.bootstrap_servers;
                    refused(deployment, &command, &[address, "hint: "]);
                }
            });
        }
    });
}

/// TLS where none is spoken, and the reverse: all that can be seen is a connection that is closed.
#[test]
fn the_wrong_protocol_ends_when_the_time_for_the_brokers_is_over() {
    let secured = Secured::shared();
    let plain = &secured.broker.address;
    let cases = [
        ("tls-to-plain", plain, secured.trust(), "SSL_HANDSHAKE"),
        ("plain-to-tls", &secured.tls, Table::new(), "APIVERSION_QUERY"),
        ("plain-to-sasl", &secured.sasl, Table::new(), "APIVERSION_QUERY"),
        ("tls-to-sasl", &secured.sasl, secured.trust(), &secured.sasl),
    ];
    thread::scope(|scope| {
        for (name, address, properties, why) in cases {
            scope.spawn(move || {
                let deployment = Deployment::unmade(address, name)
                    .with("kafka.connect_timeout_ms", 2000)
                    .with("kafka.properties", properties);
                for command in ["run", "status"] {
                    let began = Instant::now();
                    let output = deployment.foretell(command, &[]);
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert_eq!(output.status.code(), Some(69), "{name}: {said}");
                    assert!(began.elapsed() < SECONDS, "{name} took {:?}", began.elapsed());
                    for words in [address, why, "hint: ", "`security.protocol`"] {
                        assert!(said.contains(words), "{name}: expected `{words}` in: {said}");
                    }
                }
            });
        }
    });
}
