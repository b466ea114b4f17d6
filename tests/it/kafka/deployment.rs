//! The topics, the group and the configuration of one test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foretell::config::{Kafka, Topics};
use toml::Value;

use super::broker::Broker;
use super::instance::Instance;
use super::{model, scratch};
use crate::program;

/// A clone is the same deployment, to be configured in another way.
#[derive(Clone)]
pub struct Deployment {
    pub name: String,
    pub kafka: Kafka,
    pub topics: Topics,
    folder: PathBuf,
    keys: BTreeMap<&'static str, Value>,
    variables: Vec<(String, String)>,
    /// Number of the next event that anyone feeds: ids are never given twice.
    pub next_event: Arc<AtomicU64>,
    /// Events that the broker took: what it did not take, nobody has to answer.
    pub fed: Arc<AtomicU64>,
    instances: Arc<AtomicU64>,
}

impl Deployment {
    /// A deployment on the shared broker, that serves version 1 and has made its topics.
    pub fn new(name: &str, partitions: i32) -> Self {
        Self::on(Broker::shared(), name, partitions)
    }

    pub fn on(broker: &Broker, name: &str, partitions: i32) -> Self {
        let deployment = Self::unmade(&broker.address, name);
        let told = deployment.foretell("init", &["--partitions", &partitions.to_string()]);
        let talk = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.success(), "expected the topics to be made:\n{talk}");
        deployment
    }

    /// A deployment whose topics nobody has made.
    pub fn unmade(bootstrap_servers: &str, name: &str) -> Self {
        // Another run may have left topics of this name, where the broker is not of this run.
        let name = format!("{name}-{}", std::process::id());
        let topic = |what: &str| format!("{name}-{what}");
        let topics = Topics {
            events: topic("events"),
            predictions: topic("predictions"),
            dead_letters: topic("dead-letters"),
            shadow: Some(topic("shadow")),
            control: topic("control"),
            reports: topic("reports"),
        };
        let kafka = Kafka {
            bootstrap_servers: bootstrap_servers.into(),
            connect_timeout_ms: 60_000,
            ..Kafka::default()
        };
        let folder = scratch::folder(&name);
        let keys = defaults(&name, bootstrap_servers, &topics);
        let (variables, next_event, fed, instances) = Default::default();
        Self { name, kafka, topics, folder, keys, variables, next_event, fed, instances }
    }

    /// The same, with a key of the configuration set.
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.keys.insert(key, value.into());
        self
    }

    /// The same, with a variable of the environment set.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The same, with a key of the configuration left out.
    pub fn without(mut self, key: &'static str) -> Self {
        self.keys.remove(key);
        self
    }

    /// Writes the configuration, with `keys` set besides, to a file of its own.
    fn configuration(&self, keys: &[(&'static str, Value)]) -> (PathBuf, String) {
        let number = self.instances.fetch_add(1, Ordering::Relaxed);
        let mut all = self.keys.clone();
        all.extend(keys.iter().cloned());
        let line = |(key, value): (&&str, &Value)| format!("{key} = {value}\n");
        let text: String = all.iter().map(line).collect();
        let path = self.folder.join(format!("{number}.toml"));
        fs::write(&path, text).expect("a file under target/tmp can be written");
        (path, format!("{}/{number}", self.name))
    }

    /// A file with the configuration, for other programs than `foretell`.
    #[cfg(feature = "train")]
    pub fn configuration_file(&self) -> PathBuf {
        self.configuration(&[]).0
    }

    /// Starts an instance.
    pub fn start(&self) -> Instance {
        self.start_with(&[])
    }

    /// Starts an instance whose configuration differs in some keys.
    pub fn start_with(&self, keys: &[(&'static str, Value)]) -> Instance {
        let (path, name) = self.configuration(keys);
        let mut command = program::command();
        command.arg("run").arg("--config").arg(&path);
        command.envs(self.variables.iter().cloned());
        Instance::spawn(name, command, path.with_extension("log"))
    }

    /// Starts a command of the program that takes its time.
    pub fn begin(&self, command: &str, arguments: &[&str]) -> Instance {
        let (path, name) = self.configuration(&[]);
        let mut process = program::command();
        process.args(command.split(' ')).arg("--config").arg(&path).args(arguments);
        Instance::spawn(name, process, path.with_extension("log"))
    }

    /// Runs a command of the program to its end.
    pub fn foretell(&self, command: &str, arguments: &[&str]) -> Output {
        let (path, _) = self.configuration(&[]);
        let output = program::command()
            .args(command.split(' '))
            .arg("--config")
            .arg(path)
            .args(arguments)
            .envs(self.variables.iter().cloned())
            .output();
        output.expect("foretell can be run")
    }

    /// Says that a bundle is ready; gives the offset at which that stands in the control log.
    pub fn announce(&self, bundle: &Path) -> i64 {
        let bundle = bundle.to_str().expect("the folder's name is text");
        self.say("model announce", &[bundle])
    }

    /// A command that writes one control message; gives its offset.
    pub fn say(&self, command: &str, arguments: &[&str]) -> i64 {
        let output = self.foretell(command, arguments);
        let talk = String::from_utf8_lossy(&output.stderr);
        let offset = talk.split_once("offset ").and_then(|(_, rest)| rest.split(' ').next());
        let offset = offset.and_then(|offset| offset.parse().ok());
        offset.unwrap_or_else(|| panic!("expected `{command}` to say its offset, got:\n{talk}"))
    }
}

/// One worker an instance, the shortest session that a broker takes, and logs for a program.
fn defaults(name: &str, bootstrap_servers: &str, topics: &Topics) -> BTreeMap<&'static str, Value> {
    let bundle = model::bundle(1);
    let siblings = bundle.parent().expect("a bundle stands in a folder").display().to_string();
    let bundle = bundle.display().to_string();
    BTreeMap::from([
        ("kafka.bootstrap_servers", bootstrap_servers.into()),
        ("kafka.connect_timeout_ms", 60_000.into()),
        ("topics.events", topics.events.as_str().into()),
        ("topics.predictions", topics.predictions.as_str().into()),
        ("topics.dead_letters", topics.dead_letters.as_str().into()),
        ("topics.control", topics.control.as_str().into()),
        ("topics.reports", topics.reports.as_str().into()),
        ("topics.shadow", topics.shadow.as_deref().unwrap_or_default().into()),
        ("consumer.group_id", name.into()),
        ("consumer.session_timeout_ms", 6000.into()),
        ("consumer.heartbeat_interval_ms", 1000.into()),
        ("delivery.transaction_timeout_ms", 5000.into()),
        ("model.name", model::NAME.into()),
        ("model.bundle", bundle.into()),
        // Said, for the tests that configure no bundle.
        ("model.allowed_uris", vec![siblings].into()),
        ("output.id", "/id".into()),
        ("run.workers", 1.into()),
        ("http.listen", "off".into()),
        ("reports.interval_ms", 1000.into()),
        ("log.format", "json".into()),
    ])
}
