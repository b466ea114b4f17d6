//! A bound on a call that keeps none of its own.

use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// Makes `call` on a thread of its own and waits for it until then. `None`: it has not come back, and
/// whatever it took along stays with it, for ever if need be.
pub fn until<T: Send + 'static>(
    until: Instant,
    call: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, answer) = mpsc::channel();
    let spawned = thread::Builder::new().name("bounded".into()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = done.send(call());
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread could be started");
        return None;
    }
    answer.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_that_comes_back_is_answered() {
        assert_eq!(until(Instant::now() + Duration::from_secs(60), || 7), Some(7));
    }

    #[test]
    fn a_call_that_does_not_come_back_is_left_behind() {
        let (release, released) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel();
        let answer = until(Instant::now(), move || {
            let _ = released.recv();
            let _ = ended.send(());
        });
        assert_eq!(answer, None);
        drop(release);
        assert_eq!(end.recv(), Ok(()), "it goes on when it can");
    }
}
