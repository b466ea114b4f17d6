//! Threads whose ends are told, and the wishes that end them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::bus::Fatal;
use crate::stop::Stop;

/// How a thread ended: its name and its result.
pub type Ended = (String, Result<(), Fatal>);

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

/// Returns when `stop` is asked for.
pub async fn wished(stop: &Stop) {
    while !stop.is_requested() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
