//! One process of the program. It dies with its test, and its log is shown if the test fails.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::eventually::eventually;

pub struct Instance {
    name: String,
    child: Child,
    log: PathBuf,
    started: Instant,
}

/// How a process ended.
pub struct End {
    pub code: Option<i32>,
    /// What it said, on stderr.
    pub said: String,
    /// From its start.
    pub after: Duration,
}

impl Instance {
    pub fn spawn(name: String, mut command: Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("a file under target/tmp can be written");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("foretell can be run");
        Self { name, child, log, started: Instant::now() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: it ends on the spot.
    pub fn kill(mut self) {
        self.signal("KILL");
        self.child.wait().expect("it is our child");
    }

    /// SIGTERM: it is asked to end. Gives how it did, and how long that took.
    pub fn terminate(&mut self, within: Duration) -> (End, Duration) {
        let asked = Instant::now();
        self.ask_to_end();
        (self.end(within), asked.elapsed())
    }

    /// SIGTERM alone.
    pub fn ask_to_end(&self) {
        self.signal("TERM");
    }

    /// SIGSTOP: it does nothing until it is thawed, and does not know.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name} failed");
    }

    /// Waits for its end.
    pub fn end(&mut self, within: Duration) -> End {
        let what = format!("{} to end", self.name);
        let status = eventually(within, &what, || self.status());
        End { code: status.code(), said: self.said(), after: self.started.elapsed() }
    }

    pub fn has_ended(&mut self) -> bool {
        self.status().is_some()
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Everything it has said so far.
    pub fn said(&self) -> String {
        fs::read(&self.log)
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Waits until its log holds all of `words` in one line.
    pub fn await_saying(&self, within: Duration, words: &[&str]) {
        let what = format!("{} to say {words:?}", self.name);
        eventually(within, &what, || {
            let said = self.said();
            said.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
        });
    }

    /// The partitions that it has, by its own account. For instances of one worker.
    pub fn partitions(&self) -> Vec<i32> {
        let said = self.said();
        let lines = said.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut rebalances = lines.filter(|line| line["message"] == "rebalanced");
        let last = rebalances.next().and_then(|line| line["now"].as_str().map(str::to_owned));
        last.and_then(|list| serde_json::from_str(&list).ok()).unwrap_or_default()
    }
}

/// Waits until the instances share all of `partitions`, and each has some.
pub fn await_shares(within: Duration, partitions: i32, instances: &[&Instance]) {
    let what = format!("{} instances to share {partitions} partitions", instances.len());
    eventually(within, &what, || do_share(partitions, instances).then_some(()));
}

/// Whether the instances share all of `partitions`, and each has some.
pub fn do_share(partitions: i32, instances: &[&Instance]) -> bool {
    let shares: Vec<_> = instances.iter().map(|instance| instance.partitions()).collect();
    let mut all = shares.concat();
    all.sort_unstable();
    let has_some = shares.iter().all(|share| !share.is_empty());
    has_some && all.iter().copied().eq(0..partitions)
}

impl Drop for Instance {
    fn drop(&mut self) {
        // A frozen process dies of this, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let from = said.lines().count().saturating_sub(LINES_SHOWN);
            let last: Vec<_> = said.lines().skip(from).collect();
            eprintln!("── {} ({}) said last:\n{}", self.name, self.log.display(), last.join("\n"));
        }
    }
}

/// Of a log, when its test fails.
const LINES_SHOWN: usize = 40;
