//! An instance as a process of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::settings::Settings;

/// How often a process that was asked to end is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of the log that are shown of an instance that failed.
const LOG_LINES: usize = 8;

/// A child. Dropped, it ends: asked first, killed after its time.
pub struct Instance {
    pub name: &'static str,
    pub address: SocketAddr,
    child: Child,
    log: PathBuf,
    drain: Duration,
    is_gone: bool,
}

impl Instance {
    /// Starts `foretell run`; its log goes to a file in `folder`.
    pub fn start(
        name: &'static str,
        settings: Settings,
        address: SocketAddr,
        folder: &Path,
        drain: Duration,
    ) -> std::io::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let settings = settings
            // So that the group's members can be told apart by those who ask the broker.
            .set("kafka.properties.client.id", name)
            .set("http.listen", address);
        let child = Command::new(std::env::current_exe()?)
            .arg("run")
            .args(settings.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            // Ctrl-C is for the tour, which then ends its children in order.
            .process_group(0)
            .spawn()?;
        Ok(Self { name, address, child, log, drain, is_gone: false })
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Has nobody ended it yet?
    pub fn is_alive(&self) -> bool {
        !self.is_gone
    }

    /// How it ended, if it has by itself.
    pub fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        if self.is_gone { Ok(None) } else { self.child.try_wait() }
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.is_gone = true;
        self.child.kill()?;
        self.child.wait().map(|_status| ())
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let process = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(process) = process.filter(|_| !self.is_gone) {
            // It may have ended by itself just now.
            let _ = kill_process(process, Signal::TERM);
        }
    }

    /// Waits for its end, and kills it after the time that it has for its drain.
    pub fn join(&mut self) -> std::io::Result<()> {
        if self.is_gone {
            return Ok(());
        }
        let until = Instant::now() + self.drain + Duration::from_secs(3);
        while Instant::now() < until {
            if self.child.try_wait()?.is_some() {
                self.is_gone = true;
                return Ok(());
            }
            // The standard library has no wait with a time-out.
            thread::sleep(LOOK);
        }
        self.kill()
    }

    /// The last it said.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.terminate();
        // There is nobody left to tell.
        let _ = self.join();
    }
}
