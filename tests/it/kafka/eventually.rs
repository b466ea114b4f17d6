//! Waiting for something to become true: the only place of these tests that waits by the clock.

use std::thread;
use std::time::{Duration, Instant};

/// For what takes seconds at most on a machine at rest: a death is noticed after a session of 6 s,
/// its transaction given up after 5 s and up to 10 s more. A test that fails waits for so long; one
/// that succeeds does not.
pub const SOON: Duration = Duration::from_secs(90);

const STEP: Duration = Duration::from_millis(20);

/// Looks until there is something to see, and gives it; fails, saying `what` was awaited, once
/// `within` is over.
#[track_caller]
pub fn eventually<T>(within: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + within;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "expected within {within:?}: {what}");
        thread::sleep(STEP);
    }
}

/// Whether something becomes true within a while, for whoever can say better than this what is wrong if not.
pub fn becomes(within: Duration, mut look: impl FnMut() -> bool) -> bool {
    !stays(within, || !look())
}

/// Whether something is true now and stays so for a while.
pub fn stays(while_: Duration, mut look: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + while_;
    while look() {
        if Instant::now() >= until {
            return true;
        }
        thread::sleep(STEP);
    }
    false
}
