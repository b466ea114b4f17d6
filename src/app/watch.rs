//! Finds a worker whose thread hangs in the client library.
//!
//! librdkafka 2.12.1 can wait without bound where it was given one ("What no client can mend" in
//! ARCHITECTURE.md). Its heartbeats go on meanwhile, so the group keeps the worker's partitions for it, and
//! nobody reads them. A process that ends gives them back.

use std::time::Duration;

use crate::bus::Fatal;
use crate::heart::Heart;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// So many looks without a beat, and the worker hangs: each step of a bus takes half of that at most.
const LOOKS_MAX: u32 = 30;

/// Looks are counted, not time: a process that was frozen, or starved of its cores, has looked no oftener
/// than its workers have worked.
struct Watch {
    heart: Heart,
    beats: u64,
    /// Looks since the last beat.
    looks: u32,
}

impl Watch {
    fn new(heart: Heart) -> Self {
        Self { heart, beats: 0, looks: 0 }
    }

    /// Says whether the worker hangs. One that has not begun does not: it may wait for a version.
    fn look(&mut self) -> bool {
        let before = std::mem::replace(&mut self.beats, self.heart.beats());
        self.looks = if self.beats == before && before > 0 { self.looks + 1 } else { 0 };
        self.looks >= LOOKS_MAX
    }
}

/// Returns when a worker hangs: its number, and the error to end with.
pub async fn hangs(hearts: Vec<Heart>) -> (usize, Fatal) {
    let mut watches: Vec<_> = hearts.into_iter().map(Watch::new).collect();
    loop {
        tokio::time::sleep(LOOK).await;
        if let Some(worker) = watches.iter_mut().position(Watch::look) {
            let seconds = LOOK.as_secs() * u64::from(LOOKS_MAX);
            let error = Fatal::Unavailable(format!(
                "worker {worker} hangs in the Kafka client: it has not come back from a call for {seconds} s, which librdkafka is known for when a coordinator moves\n\nhint: start this instance again; nothing is lost, and others take its partitions over"
            ));
            return (worker, error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_hangs_that_has_begun_and_does_not_go_on() {
        let heart = Heart::default();
        let mut watch = Watch::new(heart.clone());
        let mut looks = |count: u32| (0..count).any(|_| watch.look());
        assert!(!looks(10 * LOOKS_MAX), "it waits for a version");
        heart.beat();
        assert!(!looks(LOOKS_MAX));
        heart.beat();
        assert!(!looks(LOOKS_MAX), "it was slow");
        assert!(looks(1), "it hangs");
    }
}
