use std::fs;

use super::*;

const REFERENCE: &str = "config/foretell.toml";

/// Loads `file` (none if empty), the environment and `--set`s; the error as a person reads it.
fn load(file: &str, environment: &[(&str, &str)], set: &[&str]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.toml");
    fs::write(&path, file).unwrap();
    let sources = Sources {
        file: (!file.is_empty()).then_some(path),
        environment: environment
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        set: set.iter().map(ToString::to_string).collect(),
    };
    let folder = format!("{}/", folder.path().display());
    Config::load(&sources).map_err(|error| error.to_string().replace(&folder, ""))
}

const REQUIRED: &str = "kafka.bootstrap_servers = 'b:9092'\nmodel.name = 'm'\n";

/// What is said about the one fault of `line`.
fn one_fault(line: &str) -> String {
    let error = load(&format!("{REQUIRED}{line}"), &[], &[]).unwrap_err();
    let place = "the configuration has a fault\ntest.toml:3: ";
    error.strip_prefix(place).unwrap_or_else(|| panic!("{line}: {error}")).into()
}

/// The reference file with every `#key` line uncommented.
fn reference_in_full() -> String {
    let text = fs::read_to_string(REFERENCE).unwrap();
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{key}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_reference_loads_as_it_is_and_with_every_key_uncommented() {
    let sources = Sources { file: Some(REFERENCE.into()), ..Sources::default() };
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.topics.events, "flights");
    assert_eq!(config.output.id.unwrap().as_str(), "/id");

    let config = load(&reference_in_full(), &[], &[]).unwrap();
    assert_eq!(config.output.carry["carrier"].as_str(), "/carrier");
    assert!(config.kafka.properties.iter().any(|pair| pair == ("sasl.username", "foretell")));
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let reference: Table = reference_in_full().parse().unwrap();
    let mut written: Vec<String> = Vec::new();
    for (section, keys) in &reference {
        written.extend(keys.as_table().unwrap().keys().map(|key| format!("{section}.{key}")));
    }
    written.sort();
    let known: Vec<_> = known_keys().iter().map(|key| key.path().to_owned()).collect();
    assert_eq!(written, known);
}

#[test]
fn what_the_reference_calls_a_default_is_the_default() {
    let full: Table = reference_in_full().parse().unwrap();
    let set: Table = fs::read_to_string(REFERENCE).unwrap().parse().unwrap();
    for key in known_keys() {
        let (section, name) = key.path().split_once('.').unwrap();
        let commented = set[section].get(name).is_none();
        // A default of null is no default: what is commented is an example.
        if commented && !key.default().is_null() {
            let shown = serde_json::to_value(&full[section][name]).unwrap();
            assert_eq!(&shown, key.default(), "{}", key.path());
        }
    }
}

#[test]
fn every_key_says_what_it_is_and_no_two_share_a_variable() {
    let keys = known_keys();
    for (index, key) in keys.iter().enumerate() {
        assert!(key.description().ends_with('.'), "{}", key.path());
        assert!(!key.path().ends_with("_file"), "`_FILE` marks a variable that names a file");
        assert!(keys[..index].iter().all(|other| other.variable() != key.variable()));
    }
}

#[test]
fn set_overrules_the_environment_and_the_environment_overrules_the_file() {
    let file = format!("{REQUIRED}batch.rows_max = 2001\nbatch.tile_rows = 101\nrun.workers = 1");
    let environment = [("FORETELL_BATCH_ROWS_MAX", "2002"), ("FORETELL_BATCH_TILE_ROWS", "102")];
    let config = load(&file, &environment, &["batch.rows_max=2003"]).unwrap();
    assert_eq!((config.batch.rows_max, config.batch.tile_rows, config.run.workers), (2003, 102, 1));
}

#[test]
fn a_share_may_be_written_as_an_integer_and_has_bounds() {
    let lost_max = |value: &str| load(REQUIRED, &[("FORETELL_GATE_LOST_MAX", value)], &[]);
    assert_eq!(lost_max("0.25").unwrap().gate.lost_max, 0.25);
    assert_eq!(lost_max("1").unwrap().gate.lost_max, 1.0);
    for wrong in ["1.5", "-1", "nan", "inf", "'0.5'", "true"] {
        assert!(lost_max(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_bound_of_dead_letters_is_a_share_or_off() {
    let ratio_max =
        |value: &str| load(REQUIRED, &[], &[&format!("dead_letters.ratio_max={value}")]);
    for (value, share) in
        [("0.25", Some(0.25)), ("1", Some(1.0)), ("0", Some(0.0)), ("off", None), ("'off'", None)]
    {
        assert_eq!(ratio_max(value).unwrap().dead_letters.ratio_max.share(), share, "{value}");
    }
    for wrong in ["1.5", "-1", "nan", "none", "true"] {
        assert!(ratio_max(wrong).is_err(), "{wrong}");
    }
    let file =
        |value: &str| load(&format!("{REQUIRED}\n[dead_letters]\nratio_max = {value}"), &[], &[]);
    assert_eq!(file("0.1").unwrap().dead_letters.ratio_max.share(), Some(0.1));
    assert_eq!(file("'off'").unwrap().dead_letters.ratio_max.share(), None);
    assert!(file("2").is_err());
    assert_eq!(load(REQUIRED, &[], &[]).unwrap().dead_letters.ratio_max.share(), Some(0.5));
}

#[test]
fn a_configuration_needs_no_file() {
    let environment = [
        ("FORETELL_KAFKA_BOOTSTRAP_SERVERS", "b:9092"),
        ("FORETELL_KAFKA_PROPERTIES_SASL_MECHANISMS", "PLAIN"),
        ("FORETELL_MODEL_NAME", "7"),
        ("FORETELL_OUTPUT_FORWARD_HEADERS", "['a', 'b']"),
        ("FORETELL_HTTP_LISTEN", "'off'"),
        ("PATH", "/bin"),
    ];
    let set = [
        "kafka.properties.socket.keepalive.enable=true",
        "output.carry={a='/b'}",
        "output.carry.c=/d",
    ];
    let config = load("", &environment, &set).unwrap();
    let properties: Vec<_> = config.kafka.properties.iter().collect();
    assert_eq!(properties, [("sasl.mechanisms", "PLAIN"), ("socket.keepalive.enable", "true")]);
    assert_eq!(config.model.name, "7", "text is text, whatever it looks like");
    assert_eq!(config.output.forward_headers, ["a", "b"]);
    assert_eq!(config.http.listen, Listen::Off, "text may be quoted");
    assert_eq!(config.output.carry.len(), 2);
}

#[test]
fn properties_may_be_dotted_or_quoted_and_of_any_scalar_type() {
    let file = "[kafka.properties]\nsasl.username = 'u'\n'client.rack' = 'r'\nbatch.size = 5\ncheck.crcs = true";
    let config = load(&format!("{REQUIRED}{file}"), &[], &[]).unwrap();
    let properties: Vec<_> = config.kafka.properties.iter().collect();
    let expected =
        [("batch.size", "5"), ("check.crcs", "true"), ("client.rack", "r"), ("sasl.username", "u")];
    assert_eq!(properties, expected);
}

#[test]
fn all_faults_are_told_at_once_each_with_its_place_and_a_hint() {
    let file = r#"
[kafka]
sasl.username = "me"
[kafka.properties]
auto.offset.reset = "earliest"
[consumer]
heartbeat_interval_ms = 9000
out_of_range = "latest"
[delivery]
guarantee = "exactly-onc"
[batch]
max_rows = 4096
age_max_ms = "25ms"
json_depth_max = 1000
[bacth]
tile_rows = 10
[output]
id = "id"
carry = { ok = "/ok", bad = "bad" }
forward_headers = ["a", 3]
[log]
level = "debg"
"#;
    let environment = [
        ("FORETELL_BATCH_TILE_ROW", "3"),
        ("FORETELL_RUN_WORKERS", "many"),
        ("FORETELL_KAFKA_PROPERTIES_SASL_PASSWORD_FILE", "/nowhere/hunter2"),
    ];
    let error = load(file, &environment, &["batch.tile_rows=99999", "topics.events"]).unwrap_err();
    insta::assert_snapshot!(error, @r#"
    the configuration has 20 faults
    test.toml: `kafka.bootstrap_servers`: is required and not set
        hint: set it in the file, by FORETELL_KAFKA_BOOTSTRAP_SERVERS or by `--set kafka.bootstrap_servers=…`
    test.toml: `model.name`: is required and not set
        hint: set it in the file, by FORETELL_MODEL_NAME or by `--set model.name=…`
    test.toml:3: `kafka.sasl`: there is no such key
        hint: librdkafka's properties go under `[kafka.properties]`
    test.toml:5: `kafka.properties.auto.offset.reset`: foretell sets it itself: librdkafka forgets committed offsets while a dead member's transaction is open, so the reset is ours
        hint: set `consumer.start_from` instead
    test.toml:7: `consumer.heartbeat_interval_ms`: 9000 is more than 1/3 of `consumer.session_timeout_ms`, which is 10000: one lost heartbeat must not end the session
        hint: lower `consumer.heartbeat_interval_ms` or raise `consumer.session_timeout_ms`
    test.toml:8: `consumer.out_of_range`: "latest" is none of `stop`, `earliest`
    test.toml:10: `delivery.guarantee`: "exactly-onc" is none of `exactly-once`, `at-least-once`
        hint: did you mean `exactly-once`?
    test.toml:12: `batch.max_rows`: there is no such key
        hint: did you mean `batch.rows_max`?
    test.toml:13: `batch.age_max_ms`: expected an integer, found a string
        hint: write milliseconds as a plain number
    test.toml:14: `batch.json_depth_max`: 1000 is above 127, the most there can be
        hint: the default is 64
    test.toml:15: `bacth`: there is no such key
        hint: did you mean `batch`?
    test.toml:18: `output.id`: "id" is no JSON pointer: one starts with `/`, as in `/id`
    test.toml:19: `output.carry.bad`: "bad" is no JSON pointer: one starts with `/`, as in `/id`
    test.toml:20: `output.forward_headers`: invalid type: integer `3`, expected a string
    test.toml:22: `log.level`: "debg" is no level
        hint: did you mean `debug`?
    environment FORETELL_BATCH_TILE_ROW: sets no key
        hint: did you mean FORETELL_BATCH_TILE_ROWS?
    environment FORETELL_KAFKA_PROPERTIES_SASL_PASSWORD_FILE: `kafka.properties.sasl.password`: the file cannot be read: No such file or directory (os error 2)
        hint: `…_FILE` takes the path of a file that holds the value
    environment FORETELL_RUN_WORKERS: `run.workers`: expected an integer, found a string
    --set batch.tile_rows: 99999 is more than `batch.rows_max`, which is 32768: a batch is made of tiles
        hint: lower `batch.tile_rows` or raise `batch.rows_max`
    --set topics.events: has no `=`
        hint: write `--set key=value`, such as `--set batch.rows_max=4096`
    "#);
}

#[test]
fn a_syntax_fault_has_line_and_column_and_hides_no_other() {
    let file = "[batch]\nrows_max = = 3\ntile_rows = 0\n[log\nlevel = 'info'\n";
    insta::assert_snapshot!(load(file, &[], &[]).unwrap_err(), @r#"
    the configuration has 4 faults
    test.toml:2:12: extra `=`, expected nothing
    test.toml:2:14: unexpected key or value, expected newline, `#`
    test.toml:3: `batch.tile_rows`: 0 is below 1, the least there can be
        hint: the default is 1024
    test.toml:4:5: unclosed table, expected `]`
    "#);
}

#[test]
fn what_was_lost_to_a_syntax_fault_is_not_judged() {
    let file = "[batch]\nrows_max = 60_000_\ntile_rows = 50000\n";
    insta::assert_snapshot!(load(file, &[], &[]).unwrap_err(), @r#"
    the configuration has a fault
    test.toml:2:18: `_` may only go between digits, expected nothing
    "#);
}

#[test]
fn a_file_that_cannot_be_read_is_one_fault() {
    let sources = Sources { file: Some("nowhere.toml".into()), ..Sources::default() };
    insta::assert_snapshot!(Config::load(&sources).unwrap_err(), @r#"
    the configuration has a fault
    nowhere.toml: cannot be read: No such file or directory (os error 2)
        hint: `--config FILE` names another file
    "#);
}

#[test]
fn keys_are_compared_with_each_other() {
    let faults = [
        "batch.rows_max = 1000",
        "batch.bytes_max = 2048",
        "batch.age_max_ms = 501",
        "delivery.transaction_timeout_ms = 400000",
        "consumer.heartbeat_interval_ms = 3334",
        "consumer.session_timeout_ms = 300001",
        "consumer = { protocol = 'consumer', session_timeout_ms = 10000 }",
        "topics.control = 'events'",
        "topics.control = 'a b'",
        "kafka.properties.acks = 1",
        "kafka.properties.partitioner = 'random'",
        "log.level = 'info,foretell=loud'",
        "log.level = 'noisy'",
    ];
    insta::assert_snapshot!(faults.map(one_fault).join("\n"), @r#"
    `batch.tile_rows`: the default of 1024 is more than `batch.rows_max`, which is 1000: a batch is made of tiles
        hint: lower `batch.tile_rows` or raise `batch.rows_max`
    `batch.event_bytes_max`: the default of 1048576 is more than `batch.bytes_max`, which is 2048: the longest event must fit into a batch
        hint: lower `batch.event_bytes_max` or raise `batch.bytes_max`
    `batch.age_max_ms`: 501 is more than 1/10 of `delivery.transaction_timeout_ms`, which is 5000: a batch must be collected, scored and sent long before its transaction times out
        hint: lower `batch.age_max_ms` or raise `delivery.transaction_timeout_ms`
    `delivery.transaction_timeout_ms`: 400000 is more than `consumer.max_poll_interval_ms`, which is 300000: a worker asks for no events while its transaction is open
        hint: lower `delivery.transaction_timeout_ms` or raise `consumer.max_poll_interval_ms`
    `consumer.heartbeat_interval_ms`: 3334 is more than 1/3 of `consumer.session_timeout_ms`, which is 10000: one lost heartbeat must not end the session
        hint: lower `consumer.heartbeat_interval_ms` or raise `consumer.session_timeout_ms`
    `consumer.session_timeout_ms`: 300001 is more than `consumer.max_poll_interval_ms`, which is 300000: librdkafka asks for it
        hint: lower `consumer.session_timeout_ms` or raise `consumer.max_poll_interval_ms`
    `consumer.session_timeout_ms`: the broker decides it when `consumer.protocol` is `consumer`
        hint: remove it, and set `group.consumer.session.timeout.ms` on the brokers
    `topics.control`: "events" is the topic of `topics.events` too
        hint: each needs a topic of its own
    `topics.control`: "a b" is no topic name
        hint: letters, digits, `.`, `_` and `-`, at most 249 of them
    `kafka.properties.acks`: foretell sets it itself: a prediction counts as sent when all in-sync replicas have it, once
        hint: remove it
    `kafka.properties.partitioner`: foretell sets it itself: a prediction is partitioned as its event is
        hint: remove it
    `log.level`: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
        hint: write a level, then exceptions: `info,foretell::bus=debug`
    `log.level`: "noisy" is no level
        hint: write a level, then exceptions: `info,foretell::bus=debug`
    "#);
}

#[test]
fn a_value_is_told_what_is_wrong_with_it() {
    let faults = [
        "http.listen = 'localhost:80'",
        "output.id = '/a~2'",
        "delivery.instance_id = ''",
        "batch = 3",
        "batch.rows_max = { a = 3 }",
        "batch.event_bytes_max = '1MiB'",
        "run.workers = 1.5",
        "run.workers = 99999999999999999999",
        "kafka.properties = 'a=b'",
        "output.forward_headers = 'a,b'",
        "consumer.foo = 3",
        "kafka.group_id = 'g'",
    ];
    insta::assert_snapshot!(faults.map(one_fault).join("\n"), @r#"
    `http.listen`: "localhost:80" is neither `off` nor an IP address and port, such as `127.0.0.1:8080`, `0.0.0.0:8080` or `[::]:8080`
    `output.id`: "/a~2" is no JSON pointer: `~` is written `~0`, and `/` `~1`
    `delivery.instance_id`: must not be empty
    `batch`: is a section, not a key
        hint: write `[batch]`, then its keys
    `batch.rows_max`: expected an integer, found a table
    `batch.event_bytes_max`: expected an integer, found a string
        hint: write bytes as a plain number
    `run.workers`: expected an integer, found a float
    `run.workers`: the number is too large
    `kafka.properties`: expected a table, found a string
        hint: write it as `{ name = "value" }`
    `output.forward_headers`: expected an array, found a string
        hint: write it as `["one", "two"]`
    `consumer.foo`: there is no such key
        hint: config/foretell.toml shows every key
    `kafka.group_id`: there is no such key
        hint: did you mean `consumer.group_id`?
    "#);
}

#[test]
fn no_value_whatever_makes_it_panic() {
    let values = [
        "",
        "3",
        "-1",
        "1e9",
        "true",
        "'x'",
        "'/x'",
        "[]",
        "[1]",
        "[['a']]",
        "{}",
        "{a = 1}",
        "{a = {b = '/c'}}",
        "{'a[0]' = 'b'}",
        "{'' = 1}",
        "1979-05-27",
        "{",
        "\n",
        "9999999999999999999",
    ];
    for key in known_keys() {
        let mut paths = vec![key.path().to_owned()];
        if key.is_table() {
            paths.extend([format!("{}.x", key.path()), format!("{}.", key.path())]);
        }
        for (path, value) in paths.iter().flat_map(|path| values.map(|value| (path, value))) {
            let _ = load(REQUIRED, &[(&key.variable(), value)], &[&format!("{path}={value}")]);
            let _ = load(&format!("{path} = {value}"), &[], &[]);
        }
    }
}

#[test]
fn a_default_that_stands_in_for_a_faulty_value_is_not_judged() {
    let fault = one_fault("batch = { rows_max = 0, tile_rows = 100000 }");
    insta::assert_snapshot!(fault, @r#"
    `batch.rows_max`: 0 is below 1, the least there can be
        hint: the default is 32768
    "#);
}

#[test]
fn secrets_are_read_from_files_and_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    fs::write(&path, "'hunter2' \n").unwrap();
    let path = path.to_str().unwrap();

    let file =
        format!("{REQUIRED}[kafka.properties]\nssl.key.password = 'hunter2'\nsasl.username = 'me'");
    let variable = "FORETELL_KAFKA_PROPERTIES_SASL_PASSWORD_FILE";
    let config = load(&file, &[(variable, path)], &[]).unwrap();
    assert!(config.kafka.properties.iter().any(|pair| pair == ("sasl.password", "'hunter2' ")));
    for shown in [format!("{config:?}"), serde_json::to_string(&config).unwrap()] {
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("***") && shown.contains("me"), "{shown}");
    }

    let wrong = [(variable, path), ("FORETELL_KAFKA_PROPERTIES_SASL_PASSWORD", "hunter2")];
    let broken = "[kafka.properties]\nsasl.password = ['hunter2']\nsasl.username = 99999999999999999999\nssl.key.password = 'hunter2";
    let set = ["kafka.properties='hunter2'", "kafka.properties.sasl.password hunter2"];
    let error = load(broken, &wrong, &set).unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
    assert!(error.contains("has 6 faults"), "{error}");
}

#[test]
fn variables_that_are_not_for_us_are_left_alone() {
    let environment = [
        ("FORETELL_CONFIG", "x"),
        ("FORETELL_CACHE", "x"),
        ("FORETELL_TEST_BROKER", "x"),
        // Kubernetes, for services named `foretell` and `foretell-metrics`.
        ("FORETELL_SERVICE_HOST", "10.0.0.1"),
        ("FORETELL_SERVICE_PORT_HTTP", "8080"),
        ("FORETELL_PORT", "tcp://10.0.0.1:8080"),
        ("FORETELL_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("FORETELL_METRICS_PORT", "tcp://10.0.0.1:8080"),
    ];
    load(REQUIRED, &environment, &[]).unwrap();
}
