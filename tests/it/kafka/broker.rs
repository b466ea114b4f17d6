//! A Kafka broker, run by `tests/broker/broker.sh`. It dies with this process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::scratch;

pub struct Broker {
    pub address: String,
    dir: PathBuf,
}

impl Broker {
    /// The broker that all tests share; nobody may stop it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("FORETELL_TEST_BOOTSTRAP") {
            Ok(address) => Self { address, dir: PathBuf::new() },
            Err(_) => Self::start("shared"),
        })
    }

    /// A broker for one test.
    pub fn start(name: &str) -> Self {
        Self::start_nodes(name, "1", &[])
    }

    fn start_nodes(name: &str, nodes: &str, settings: &[&str]) -> Self {
        let dir = scratch::folder("brokers").join(name);
        let owner = std::process::id().to_string();
        let mut arguments = vec!["start", "--owner", &owner, "--nodes", nodes];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let address = script(&arguments, &dir);
        Self { address, dir }
    }

    /// One with more listeners, of which those that ask who comes allow nothing without an ACL. `keys` is
    /// the folder that the script asks for. Its address is the plain one; those of the others are TLS's,
    /// mutual TLS's, SASL's.
    pub fn start_secure(name: &str, keys: &Path) -> (Self, [String; 3]) {
        let dir = scratch::folder("brokers").join(name);
        let owner = std::process::id().to_string();
        let keys = keys.to_str().expect("the folder's name is text");
        let told = script(&["start", "--owner", &owner, "--secure", keys], &dir);
        let mut addresses = told.split(' ').map(str::to_owned);
        let mut next = || addresses.next().expect("the script tells four addresses");
        (Self { address: next(), dir }, [next(), next(), next()])
    }

    /// One broker of a cluster of two, in which each holds a copy of everything and the other goes
    /// on when this one is gone. Its address is that of both.
    pub fn start_beside_another(name: &str) -> Self {
        Self::start_beside_another_with(name, &[])
    }

    /// The same, with settings of both brokers, each `key=value`.
    pub fn start_beside_another_with(name: &str, settings: &[&str]) -> Self {
        let first = Self::start_nodes(name, "2", settings);
        Self { dir: first.dir.join("second"), ..first }
    }

    /// Ends it with SIGKILL; its data stays.
    pub fn kill(&self) {
        script(&["kill"], &self.dir);
    }

    /// Ends it in good order; its data stays.
    pub fn stop(&self) {
        script(&["stop"], &self.dir);
    }

    /// Copies the data and logs of a cluster of two to where they outlast it and the runs to come; says where.
    pub fn keep(&self) -> Option<PathBuf> {
        let kept = scratch::kept("brokers");
        let copied = Command::new("cp").arg("-r").arg(self.dir.parent()?).arg(&kept).status();
        copied.is_ok_and(|status| status.success()).then_some(kept)
    }

    /// Brings it back, with its data, on its port.
    pub fn restart(&self) {
        script(&["restart"], &self.dir);
    }
}

/// What the script prints.
fn script(arguments: &[&str], dir: &Path) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/broker/broker.sh");
    let output = Command::new(script)
        .args(arguments)
        .arg("--dir")
        .arg(dir)
        .output()
        .expect("broker.sh can be run");
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "broker.sh {arguments:?} failed:\n{talk}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
