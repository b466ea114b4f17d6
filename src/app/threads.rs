//! Threads whose ends are told, and the wishes that end them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::sleep;

use crate::bus::Fatal;
use crate::stop::Stop;

/// How a thread ended: its name and its result.
pub type Ended = (String, Result<(), Fatal>);

/// How often it is looked for threads that are stuck ([`crate::observe::health`] says when they are).
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Runs `work` on a thread of its own; its end is told, even by a panic.
pub fn spawn(
    name: String,
    ended: UnboundedSender<Ended>,
    work: impl FnOnce() -> Result<(), Fatal> + Send + 'static,
) -> Result<(), Fatal> {
    let thread = thread::Builder::new().name(name.clone());
    let run = move || {
        let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let what = what.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Fatal::Bug(format!("{name} panicked: {}", what.unwrap_or_default())))
        });
        // Nobody listens only if the process is past its drain.
        let _ = ended.send((name, outcome));
    };
    thread.spawn(run).map_err(|error| Fatal::Bug(format!("starting a thread: {error}")))?;
    Ok(())
}

/// Waits for the threads that still run, a little longer than they were given.
pub async fn drain_all(
    endings: &mut UnboundedReceiver<Ended>,
    mut running: usize,
    drain: Duration,
    outcome: &mut Result<(), Fatal>,
) {
    let grace = Duration::from_secs(2);
    let until = tokio::time::Instant::now() + drain + grace;
    while running > 0 {
        match tokio::time::timeout_at(until, endings.recv()).await {
            Ok(Some(ending)) => {
                running -= 1;
                note(ending, outcome);
            }
            Ok(None) => return,
            Err(_) => {
                let message = format!(
                    "{running} threads did not end within {drain:?}; what they held goes to the next owner"
                );
                note(("drain".into(), Err(Fatal::Unavailable(message))), outcome);
                return;
            }
        }
    }
}

/// The first failure is the one that counts.
pub fn note((name, ended): Ended, outcome: &mut Result<(), Fatal>) {
    match ended {
        Ok(()) => tracing::debug!(%name, "ended"),
        Err(error) => {
            tracing::error!(%name, "{error}");
            if outcome.is_ok() {
                *outcome = Err(error);
            }
        }
    }
}

/// SIGTERM or SIGINT; a second one ends the process on the spot.
pub async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("signals cannot be caught; only a kill will end this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("asked twice; leaving at once");
        std::process::exit(130);
    });
}

/// Returns, with the reason, when only a restart helps: when `faults` has something to say at two looks in a row. At one
/// it might speak of a process that was frozen as a whole and has just woken up.
pub async fn stuck(look_every: Duration, mut faults: impl FnMut() -> Vec<String>) -> Fatal {
    let mut was_well = true;
    loop {
        sleep(look_every).await;
        let faults = faults();
        if !faults.is_empty() && !was_well {
            return Fatal::Bug(format!(
                "{}; ending, so that this instance can be started again\n\nhint: a supervisor does that by itself; \
                 nothing is lost. If it comes again, see \"A call that does not come back\" in ARCHITECTURE.md",
                faults.join("; ")
            ));
        }
        was_well = faults.is_empty();
    }
}

/// Returns when `stop` is asked for.
pub async fn wished(stop: &Stop) {
    while !stop.is_requested() {
        sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_stuck_at_two_looks_in_a_row_does_not_come_back() {
        let fault = vec!["worker 0 has been stuck".to_owned()];
        let looks = [vec![], fault.clone(), vec![], fault.clone(), fault, vec![]];
        let (mut looks, mut looked) = (looks.into_iter(), 0);
        let fatal = stuck(Duration::ZERO, || {
            looked += 1;
            looks.next().expect("it ends before the looks do")
        });
        let fatal = fatal.await.to_string();
        assert!(fatal.starts_with("worker 0 has been stuck; ending"), "{fatal}");
        assert_eq!(looked, 5);
    }
}
