//! A client of librdkafka that nobody waits for when it is dropped.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::time::{Duration, Instant};

use super::bounded;

/// For the end of a client. It takes milliseconds, or for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends with the client's own destructor, on a thread of its own. If librdkafka does not come back from that in
/// time, the client is left behind until the process ends ("A call that does not come back" in
/// ARCHITECTURE.md).
pub struct Parting<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Parting<T> {
    pub fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Send + 'static> Deref for Parting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap_or_else(|| unreachable!("it is taken when it is dropped"))
    }
}

impl<T: Send + 'static> Drop for Parting<T> {
    fn drop(&mut self) {
        // Where no thread can be started it is left behind, too, and not ended on this one.
        let client = ManuallyDrop::new(self.0.take());
        let end = move || drop(ManuallyDrop::into_inner(client));
        if bounded::until(Instant::now() + PATIENCE, end).is_none() {
            tracing::warn!("librdkafka does not end a client; it is left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Its destructor waits until it is let go.
    struct Slow(Receiver<()>, Sender<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.recv();
            let _ = self.1.send(());
        }
    }

    #[test]
    fn who_drops_a_client_that_does_not_end_goes_on_without_it() {
        let (let_go, waits) = channel();
        let (ends, ended) = channel();
        let client = Parting::new(Slow(waits, ends));
        drop(client);
        assert!(ended.try_recv().is_err(), "it has not ended yet");
        let_go.send(()).expect("it still waits");
        ended.recv().expect("it ends when it can");
    }
}
