//! Health: whether an instance may be given work (ready), and whether a restart would help (live).

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A worker that has not come round for so long is stuck. A turn takes milliseconds; while the
/// brokers are away it lasts until they are back, and after so long the group has given the
/// worker's partitions to others anyway (`consumer.max_poll_interval_ms`).
pub const WORKER_STUCK_AFTER: Duration = Duration::from_secs(300);
/// The same for the loader, which may be reading a large bundle over a slow network.
pub const LOADER_STUCK_AFTER: Duration = Duration::from_secs(1_800);

/// What holds an instance back from being ready.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Latch {
    /// The control log has been read to its end.
    ControlLogRead,
    /// A version serves.
    VersionServes,
    /// Every worker has joined the group.
    WorkersJoined,
    /// Nobody has asked the instance to stop.
    NotStopping,
}

/// A latch that is still up, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    pub latch: Latch,
    /// For people: lower case, what and where.
    pub why: String,
}

/// The latches that have not dropped yet. When none is left the instance is ready; a latch that
/// dropped stays down, because what serves goes on serving.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Vec<Waiting>);

impl Readiness {
    /// Holds the instance back, or says anew why.
    pub fn hold(&mut self, latch: Latch, why: impl Into<String>) {
        let why = why.into();
        match self.0.iter_mut().find(|waiting| waiting.latch == latch) {
            Some(waiting) => waiting.why = why,
            None => self.0.push(Waiting { latch, why }),
        }
    }

    /// Says anew why a latch is up, if it is.
    pub fn explain(&mut self, latch: Latch, why: impl FnOnce() -> String) {
        if let Some(waiting) = self.0.iter_mut().find(|waiting| waiting.latch == latch) {
            waiting.why = why();
        }
    }

    pub fn release(&mut self, latch: Latch) {
        self.0.retain(|waiting| waiting.latch != latch);
    }

    pub fn waits_for(&self) -> &[Waiting] {
        &self.0
    }
}

/// The heartbeat of one thread.
#[derive(Debug, Clone)]
pub struct Pulse {
    thread: String,
    stuck_after: Duration,
    /// `None`: it has not begun its rounds; until then it may wait as long as it likes.
    last: Option<Instant>,
    ended: bool,
}

impl Pulse {
    pub fn new(thread: impl Into<String>, stuck_after: Duration) -> Self {
        Self { thread: thread.into(), stuck_after, last: None, ended: false }
    }

    pub fn beat(&mut self, now: Instant) {
        self.last = Some(now);
    }

    pub fn end(&mut self) {
        self.ended = true;
    }

    /// What is wrong with the thread.
    pub fn fault(&self, now: Instant) -> Option<String> {
        let thread = &self.thread;
        if self.ended {
            return Some(format!("{thread} has ended"));
        }
        let silent = now.saturating_duration_since(self.last?);
        let stuck = silent > self.stuck_after;
        stuck.then(|| format!("{thread} has not come round for {} s", silent.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_ready_when_every_latch_has_dropped() {
        let mut readiness = Readiness::default();
        readiness.hold(Latch::VersionServes, "nothing was announced");
        readiness.hold(Latch::WorkersJoined, "0 of 1");
        readiness.explain(Latch::VersionServes, || "version `2` was refused".into());
        readiness.release(Latch::WorkersJoined);
        let why = "version `2` was refused".to_owned();
        assert_eq!(readiness.waits_for(), [Waiting { latch: Latch::VersionServes, why }]);
        readiness.release(Latch::VersionServes);
        readiness.explain(Latch::VersionServes, || unreachable!("it has dropped"));
        assert!(readiness.waits_for().is_empty());
    }

    #[test]
    fn a_thread_is_stuck_when_its_rounds_stop_and_not_before_they_begin() {
        let limit = Duration::from_secs(300);
        let mut pulse = Pulse::new("worker 1", limit);
        let begin = Instant::now();
        assert_eq!(pulse.fault(begin + 10 * limit), None);
        pulse.beat(begin);
        assert_eq!(pulse.fault(begin + limit), None);
        let fault = pulse.fault(begin + 2 * limit);
        assert_eq!(fault.as_deref(), Some("worker 1 has not come round for 600 s"));
        pulse.beat(begin + 2 * limit);
        assert_eq!(pulse.fault(begin + 2 * limit), None);
        pulse.end();
        assert_eq!(pulse.fault(begin + 2 * limit).as_deref(), Some("worker 1 has ended"));
    }
}
