//! A process of the tour: an instance, the trainer.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::bus::Fatal;
use crate::cli::failure::Failure;

/// How often a process that was asked to end is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of the log that are shown of one that failed.
const LOG_LINES: usize = 8;

/// A child. Dropped, it ends: asked first, killed after its time.
pub struct Process {
    pub name: &'static str,
    child: Child,
    log: PathBuf,
    drain: Duration,
    is_gone: bool,
}

impl Process {
    /// Starts a command; its log goes to a file in `folder`. It has `drain` to end once it is asked to.
    pub fn start(
        name: &'static str,
        mut command: Command,
        folder: &Path,
        drain: Duration,
    ) -> std::io::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            // Ctrl-C is for the tour, which then ends its children in order.
            .process_group(0)
            .spawn()?;
        Ok(Self { name, child, log, drain, is_gone: false })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has nobody ended it yet?
    pub fn is_alive(&self) -> bool {
        !self.is_gone
    }

    /// Fails if it has ended by itself.
    pub fn check(&mut self) -> Result<(), Failure> {
        let ended = if self.is_gone { None } else { self.child.try_wait()? };
        let Some(status) = ended else { return Ok(()) };
        let (name, words) = (self.name, self.last_words());
        Err(Fatal::Bug(format!("{name} ended by itself ({status}); its last words:\n{words}"))
            .into())
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

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate();
        // There is nobody left to tell.
        let _ = self.join();
    }
}
