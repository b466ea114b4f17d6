//! A start that cannot succeed says why, exits with the code for it, and leaves no trace.

use std::net::TcpListener;
use std::time::Duration;

use super::deployment::Deployment;
use super::eventually::SOON;
use super::instance::End;
use super::topics;

/// Starts an instance that has to end by itself.
fn end(deployment: &Deployment) -> End {
    deployment.start().end(SOON)
}

#[track_caller]
fn check(end: &End, code: i32, says: &[&str]) {
    assert_eq!(end.code, Some(code), "expected exit code {code}, with: {}", end.said);
    for words in says {
        assert!(end.said.contains(words), "expected to be told `{words}`, got: {}", end.said);
    }
}

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it has an address").to_string()
}

#[test]
fn without_a_broker_it_ends_in_time_and_says_whom_it_asked_and_what_happened() {
    let address = nobody();
    let deployment =
        Deployment::unmade(&address, "no-broker").with("kafka.connect_timeout_ms", 1500);
    let end = end(&deployment);
    check(&end, 69, &[&address, "Connection refused", "hint: "]);
    let (least, most) = (Duration::from_millis(1500), Duration::from_millis(4000));
    assert!(
        (least..most).contains(&end.after),
        "expected an end after 1500 ms and not much later, not after {:?}",
        end.after
    );
}

#[test]
fn a_name_that_nobody_knows_is_told() {
    let deployment =
        Deployment::unmade("broker.invalid:9092", "no-name").with("kafka.connect_timeout_ms", 1500);
    check(&end(&deployment), 69, &["broker.invalid:9092", "resolve"]);
}

#[test]
fn a_missing_topic_is_named_with_the_command_that_makes_it() {
    let deployment = Deployment::new("no-topic", 1).with("topics.predictions", "nobody-made-this");
    check(&end(&deployment), 78, &["`nobody-made-this` does not exist", "hint: `foretell init`"]);
    // Brokers, as they come, make what a client asks for: with the wrong settings.
    let made = topics::names(&deployment);
    assert!(!made.iter().any(|name| name == "nobody-made-this"), "expected no topic to be made");
}

#[test]
fn a_control_topic_of_two_partitions_is_refused() {
    let deployment = Deployment::new("two-logs", 1);
    let control = format!("{}-of-two", deployment.topics.control);
    topics::make(&deployment, &control, 2, &[]);
    let deployment = deployment.with("topics.control", control);
    check(&end(&deployment), 78, &["must have one partition", "hint: "]);
}

#[test]
fn all_faults_of_a_configuration_are_told_at_once_and_before_anything_is_opened() {
    // A broker that is not there: asking it would take ten seconds, and be told.
    let deployment = Deployment::unmade(&nobody(), "faults")
        .with("batch.rows_maxx", 5)
        .with("delivery.linger_ms", "soon")
        .with("consumer.start_from", "middle")
        .without("model.name");
    let end = end(&deployment);
    let keys = ["`batch.rows_max`", "delivery.linger_ms", "consumer.start_from", "model.name"];
    check(&end, 78, &keys);
    assert!(
        end.after < Duration::from_secs(5) && !end.said.contains("Connection refused"),
        "expected nothing to be opened, but after {:?}: {}",
        end.after,
        end.said
    );
}

#[test]
fn a_port_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let deployment = Deployment::new("port", 1).with("http.listen", address.as_str());
    check(&end(&deployment), 78, &[&format!("cannot listen on {address}"), "hint: "]);
}

#[test]
fn a_configured_bundle_that_does_not_pass_the_gate_is_told() {
    let deployment = Deployment::new("no-bundle", 1).with("model.bundle", "/nonexistent");
    check(&end(&deployment), 78, &["`model.bundle`", "/nonexistent", "hint: "]);
}

/// Where `init` finds its topics it leaves them as they are.
#[test]
fn init_can_be_run_twice() {
    let deployment = Deployment::new("twice", 2);
    let again = deployment.foretell("init", &["--partitions", "9"]);
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "expected a second init to succeed: {said}");
    assert_eq!(said.matches("was there").count(), 6, "expected all six to be there: {said}");
}
