//! A worker's rounds, and what they tell the status.

use crate::bus::{Bus, Fatal};
use crate::observe::status::WorkerStatus;
use crate::stop::Stop;
use crate::worker::Worker;

/// Rounds until the wish to stop. A batch that is held back then is left to the next owner of its partitions.
///
/// # Errors
/// Those of [`Worker::turn`].
pub fn work<B: Bus>(
    worker: &mut Worker<B>,
    status: &WorkerStatus,
    stop: &Stop,
) -> Result<(), Fatal> {
    while !stop.is_requested() {
        let turn = worker.turn()?;
        status.turned(&turn, worker.stand());
        status.rebalances(worker.rebalances());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::batch::Batch;
    use crate::breaker::Breaker;
    use crate::bus::{Lag, Settled, Stand};
    use crate::config::Output;
    use crate::encode::Encoder;
    use crate::heart::Heart;
    use crate::model::tiny;
    use crate::observe::health::{Latch, WORKER_STUCK_AFTER};
    use crate::observe::status::{Identity, Status};
    use crate::outbox::Outbox;
    use crate::recent::Recent;
    use crate::record::NextOffset;
    use crate::serving::{Served, Serving};

    const PATIENCE: Duration = Duration::from_secs(40);

    /// A bus on which an event waits that never comes, and each call of `collect` lasts until it is let go.
    struct Frozen {
        collects: Sender<()>,
        let_go: Receiver<()>,
        heart: Heart,
        next: i64,
    }

    impl Bus for Frozen {
        fn collect(&mut self, _: &mut Batch) -> Result<(), Fatal> {
            self.heart.beat();
            let _ = self.collects.send(());
            let _ = self.let_go.recv();
            self.next += 1;
            Ok(())
        }

        fn send(&mut self, _: &Batch, _: &Outbox) -> Result<(), Fatal> {
            Ok(())
        }

        fn settle(&mut self, _: &mut Batch) -> Result<Settled, Fatal> {
            Ok(Settled::Done)
        }

        fn hold(&mut self, _: &mut Batch) -> Result<(), Fatal> {
            Ok(())
        }

        fn newest(&mut self, _: &Batch, _: usize, _: &mut Batch) -> Result<(), Fatal> {
            Ok(())
        }

        fn stand(&mut self) -> Stand {
            let lags = vec![Lag { partition: 3, next: NextOffset::at(self.next), events: 1 }];
            Stand { lags, ..Stand::default() }
        }

        fn rebalances(&self) -> u64 {
            0
        }

        fn letter_bytes_max(&self) -> usize {
            1_000
        }

        fn wants_shadow(&self) -> bool {
            false
        }

        fn close(&mut self) {}
    }

    /// The thread is stuck within a call, as in a client that does not come back: its heart beats no more, and
    /// the partition that it has is named.
    #[test]
    fn a_frozen_worker_is_neither_ready_nor_alive_until_it_thaws() {
        let stop = Stop::default();
        let identity = Identity {
            instance: "one".into(),
            host: "here".into(),
            model: "tiny".into(),
            configured: None,
        };
        let status = Status::new(identity, 1, PATIENCE, stop.clone());
        let serving = Serving::default();
        let served = Served::alone(tiny::version("1", &["x"], 4.5, [0.1, 0.9]), None);
        status.swapped(&served);
        status.control_log_read();
        serving.swap(served.into());
        let (collects, collecting) = channel();
        let (go, let_go) = channel();
        let (told, wish) = (status.worker(0), stop.clone());
        let thread = thread::spawn(move || {
            told.joined();
            let encoder = Encoder::new("events", &Output::default());
            let bus = Frozen { collects, let_go, heart: told.heart(), next: 0 };
            let breaker = Breaker::new(1, None);
            let (recent, outbox) = (Recent::new(0), Outbox::default());
            work(&mut Worker::new(bus, serving, recent, encoder, outbox, breaker, 1), &told, &wish)
        });
        let round = || {
            collecting.recv().expect("a round begins");
            go.send(()).expect("the worker waits for it");
        };
        // It comes round; then it hangs in the second call.
        round();
        collecting.recv().expect("a round begins");
        let now = Instant::now();
        assert!(status.waits_for(now).is_empty() && status.faults(now).is_empty());
        let soon = now + PATIENCE + Duration::from_secs(1);
        let waits_for = status.waits_for(soon);
        assert_eq!(
            waits_for.iter().map(|it| it.latch).collect::<Vec<_>>(),
            [Latch::PartitionsMove]
        );
        let why = &waits_for[0].why;
        assert!(why.starts_with("partition 3 stands still at worker 0 for 4"), "{why}");
        assert!(why.contains("it does not come round"), "{why}");
        assert!(status.faults(soon).is_empty(), "it may come back yet");
        let late = now + WORKER_STUCK_AFTER + Duration::from_secs(1);
        let faults = status.faults(late);
        assert!(
            faults.len() == 1 && faults[0].starts_with("worker 0 has been stuck"),
            "{faults:?}"
        );
        // Thawed, its partition moves.
        go.send(()).expect("the worker waits for it");
        round();
        collecting.recv().expect("a round begins");
        let now = Instant::now();
        assert!(status.waits_for(now).is_empty() && status.faults(now).is_empty());
        stop.request(Duration::ZERO);
        drop(go);
        assert_eq!(thread.join().expect("it does not panic"), Ok(()));
    }
}
