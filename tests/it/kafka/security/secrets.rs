//! Secrets are never told: not in logs of any level, not in errors, not by HTTP, not on topics.

use std::fs;
use std::process::Output;

use toml::{Table, Value};

use super::http::{address, ask};
use super::secured::{PASSWORD, Secured, USER, by, of_an_instance, properties};
use crate::kafka::deployment::Deployment;
use crate::kafka::eventually::SOON;
use crate::kafka::probe::Probe;
use crate::kafka::reports::await_report;
use crate::kafka::{feeder, model, scratch, topics};
use crate::program;

const TOKEN: &str = "t0ken-zebra-0123456789";
const VARIABLE: &str = "FORETELL_KAFKA_PROPERTIES_SASL_PASSWORD";

/// Fails if any of it holds a secret.
#[track_caller]
fn keeps(what: &str, told: &str) {
    for secret in [PASSWORD, TOKEN, "zebra"] {
        let found = told.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "{what} tells a secret: {found:?}");
    }
}

fn all(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).join("\n")
}

/// A user of SCRAM whose password comes from elsewhere, and everything is logged.
fn talkative(deployment: Deployment) -> Deployment {
    let secured = Secured::shared();
    let mut properties = secured.with_password("SCRAM-SHA-512", USER, "");
    properties.remove("sasl.password");
    properties.insert("debug".into(), Value::from("all"));
    // Of a key that has none; it is a secret all the same.
    properties.insert("ssl.key.password".into(), Value::from(PASSWORD));
    by(deployment, &secured.sasl, properties).with("log.level", "trace")
}

#[test]
fn an_instance_at_work_tells_none() {
    let secured = Secured::shared();
    let deployment = secured.deployment("secrets", 1);
    secured.give(USER, &of_an_instance(&deployment));
    let deployment = talkative(deployment)
        .with("http.listen", "127.0.0.1:0")
        .with_variable(VARIABLE, PASSWORD)
        .with_variable("FORETELL_HTTP_TOKEN", TOKEN);
    feeder::burst(&deployment, 10);
    let mut probe = Probe::new(&deployment);
    let mut instance = deployment.start();
    probe.await_all(SOON);
    let address = address(&instance);
    for path in ["/livez", "/readyz", "/metrics", "/status", "/"] {
        let answer = ask(&address, &format!("GET {path}"), &[], "");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        keeps(path, &answer);
    }
    // It may not write to the control topic: what it says of that is told to the client.
    for token in [TOKEN, "another-zebra-0123456789"] {
        let token = format!("authorization: Bearer {token}");
        let answer =
            ask(&address, "POST /retrain", &[&token, "content-type: application/json"], "{}");
        keeps("/retrain", &answer);
    }
    // A message from somebody who did not know better.
    let uri = format!("https://{USER}:{PASSWORD}@host/7?token={TOKEN}");
    let digest = format!("sha256:{}", "0".repeat(64));
    let message = model::retrain_complete(9, uri.as_ref(), &digest);
    topics::control(&deployment, &message);
    let refused = await_report(&deployment, "a refusal", |report| report.last_refusal.is_some());
    keeps("a report", &format!("{refused:?}"));
    let (end, _) = instance.terminate(SOON);
    assert_eq!(end.code, Some(0), "{}", end.said);
    assert!(end.said.contains("SCRAM"), "expected librdkafka to say a lot: {}", end.said);
    keeps("the log", &end.said);
    for record in topics::read(&deployment, &deployment.topics.reports) {
        keeps("a report", &String::from_utf8_lossy(&record.value.unwrap_or_default()));
    }
    for command in ["check", "status", "model list", "run --help"] {
        keeps(command, &all(&deployment.foretell(command, &[])));
    }
}

#[test]
fn whoever_is_refused_is_told_none() {
    let file = scratch::folder("secrets").join("password");
    fs::write(&file, format!("{PASSWORD}-wrong\n")).expect("the file can be written");
    let file = file.display().to_string();
    let wrong = format!("{PASSWORD}-wrong");
    let unmade = || talkative(Deployment::unmade(&Secured::shared().sasl, "secrets-refused"));
    let in_the_file = || {
        let secured = Secured::shared();
        let properties = secured.with_password("PLAIN", USER, &wrong);
        by(unmade(), &secured.sasl, properties)
    };
    for deployment in [
        unmade().with_variable(VARIABLE, &wrong),
        unmade().with_variable(&format!("{VARIABLE}_FILE"), &file),
        in_the_file(),
    ] {
        for command in ["run", "status"] {
            let output = deployment.foretell(command, &[]);
            assert_eq!(output.status.code(), Some(77), "{}", all(&output));
            keeps(command, &all(&output));
        }
    }
    let set = format!("kafka.properties.sasl.password={wrong}");
    let output = unmade().foretell("run", &["--set", &set]);
    assert_eq!(output.status.code(), Some(77), "{}", all(&output));
    keeps("--set", &all(&output));
}

/// Whatever is wrong with a configuration, a secret in it is not what is shown.
#[test]
fn a_fault_of_the_configuration_tells_none() {
    let unmade = || Deployment::unmade("127.0.0.1:1", "secrets-faults");
    let property = |key: &str, value: Value| {
        unmade().with("kafka.properties", Table::from_iter([(key.to_owned(), value)]))
    };
    let garbage = scratch::folder("secrets").join("garbage.pem");
    fs::write(&garbage, PASSWORD).expect("the file can be written");
    let garbage = garbage.display().to_string();
    let of_a_key = [
        ("security.protocol", "ssl"),
        ("ssl.key.location", garbage.as_str()),
        ("ssl.key.password", PASSWORD),
    ];
    let key_in_place = [("security.protocol", "ssl"), ("ssl.key.pem", PASSWORD)];
    for (what, deployment) in [
        ("a list", property("sasl.password", vec![PASSWORD].into())),
        ("a misspelt property", property("sasl.pasword", PASSWORD.into())),
        (
            "a misspelt variable",
            unmade().with_variable("FORETELL_KAFKA_PROPERTIES_SASL_PASWORD", PASSWORD),
        ),
        ("a variable that is none", unmade().with_variable("FORETELL_SASL_PASSWORD", PASSWORD)),
        (
            "given twice",
            unmade()
                .with_variable(VARIABLE, PASSWORD)
                .with_variable(&format!("{VARIABLE}_FILE"), PASSWORD),
        ),
        ("a secret for a path", unmade().with_variable(&format!("{VARIABLE}_FILE"), PASSWORD)),
        ("a key that is none", unmade().with("kafka.properties", properties(&of_a_key))),
        (
            "a key in place that is none",
            unmade().with("kafka.properties", properties(&key_in_place)),
        ),
        ("a short token", unmade().with_variable("FORETELL_HTTP_TOKEN", "zebra")),
        (
            "a token of two words",
            unmade().with_variable("FORETELL_HTTP_TOKEN", "a zebra that has two words"),
        ),
        (
            "an allowed place",
            unmade().with("model.allowed_uris", vec![format!("https://a:{PASSWORD}@host/m")]),
        ),
        (
            "an allowed query",
            unmade().with("model.allowed_uris", vec![format!("https://host/m?sig={PASSWORD}")]),
        ),
    ] {
        for command in ["run", "check"] {
            let output = deployment.foretell(command, &[]);
            assert_eq!(output.status.code(), Some(78), "{what}: {}", all(&output));
            keeps(what, &all(&output));
        }
    }
    for set in ["kafka.properties.sasl.password zebra", "kafka.properties.sasl.password:zebra"] {
        let output = unmade().foretell("run", &["--set", set]);
        assert_eq!(output.status.code(), Some(78), "{set}: {}", all(&output));
        keeps(set, &all(&output));
    }
}

/// A line that the parser gives up on is shown by its place alone.
#[test]
fn a_file_that_is_no_toml_tells_none() {
    let path = scratch::folder("secrets").join("broken.toml");
    for line in [
        "\"sasl.password\" = \"zebra",
        "\"sasl.password\" = zebra",
        "sasl.password zebra",
        "= zebra",
    ] {
        fs::write(&path, format!("[kafka.properties]\n{line}\n")).expect("the file can be written");
        let mut command = program::command();
        let output = command.arg("run").arg("--config").arg(&path).output().expect("it can be run");
        assert_eq!(output.status.code(), Some(78), "{}", all(&output));
        keeps(line, &all(&output));
    }
}

/// What would put a secret onto the control topic is not published.
#[test]
fn a_uri_with_a_secret_is_not_announced() {
    let deployment = Deployment::unmade("127.0.0.1:1", "secrets-uri");
    let bundle = model::bundle(2).display().to_string();
    for uri in [format!("https://a:{PASSWORD}@host/2"), format!("https://host/2?sig={PASSWORD}")] {
        let output = deployment.foretell("model announce", &[&bundle, "--uri", &uri]);
        assert_eq!(output.status.code(), Some(64), "{}", all(&output));
        keeps(&uri.replace(PASSWORD, "…"), &all(&output));
    }
}
