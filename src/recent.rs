//! What the stream has brought lately: some events of every batch, for judging a new version on
//! this instance's own traffic before it serves.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

/// Most events of one batch that are kept: a large batch is no better sample than several small.
const BATCH_EVENTS_MAX: usize = 64;
/// What the ring may take, whatever the events' sizes.
const BYTES_MAX: usize = 8 << 20;

/// A ring of events, shared by the workers, which fill it, and the loader, which looks.
#[derive(Debug, Clone)]
pub struct Recent(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rows_max: usize,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Recent {
    /// A ring of `rows_max` events; 0: nothing is kept.
    pub fn new(rows_max: usize) -> Self {
        Self(Arc::new(Shared { rows_max, ring: Mutex::default() }))
    }

    /// Keeps some of a batch's events, evenly spread over it, empty ones left out. Never waits: while another thread
    /// has the ring, this batch is left out.
    pub fn keep<'e>(&self, events: impl ExactSizeIterator<Item = &'e [u8]>) {
        if self.0.rows_max == 0 {
            return;
        }
        let mut ring = match self.0.ring.try_lock() {
            Ok(ring) => ring,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let step = events.len().div_ceil(BATCH_EVENTS_MAX).max(1);
        for event in events.step_by(step).filter(|event| !event.is_empty()) {
            ring.push(event, self.0.rows_max);
        }
    }

    /// Keeps as many of these as there is room for, evenly spread, in place of what was there: a batch that is
    /// held back is what the stream has brought lately, and nothing comes after it.
    pub fn keep_most<'e>(&self, events: impl ExactSizeIterator<Item = &'e [u8]>) {
        if self.0.rows_max == 0 {
            return;
        }
        let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let step = events.len().div_ceil(self.0.rows_max).max(1);
        for event in events.step_by(step).filter(|event| !event.is_empty()) {
            ring.push(event, self.0.rows_max);
        }
    }

    /// A copy of all, oldest first.
    pub fn events(&self) -> Vec<Vec<u8>> {
        let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.events.iter().cloned().collect()
    }
}

impl Ring {
    fn push(&mut self, event: &[u8], rows_max: usize) {
        let mut slot = Vec::new();
        while self.events.len() >= rows_max || self.bytes + event.len() > BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.len();
            slot = oldest;
        }
        // The memory of one that left holds the one that came.
        slot.clear();
        slot.extend_from_slice(event);
        self.bytes += slot.len();
        self.events.push_back(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(recent: &Recent, events: &[&str]) {
        recent.keep(events.iter().map(|event| event.as_bytes()));
    }

    #[test]
    fn the_last_events_are_kept() {
        let recent = Recent::new(3);
        keep(&recent, &["a", "b"]);
        keep(&recent, &["c", "dd"]);
        assert_eq!(recent.events(), [b"b".to_vec(), b"c".to_vec(), b"dd".to_vec()]);
        let none = Recent::new(0);
        keep(&none, &["a"]);
        assert!(none.events().is_empty());
    }

    #[test]
    fn a_large_batch_is_sampled_over_its_whole_length() {
        let recent = Recent::new(1000);
        let events: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        recent.keep(events.iter().map(|event| event.as_bytes()));
        let kept = recent.events();
        assert!((32..=BATCH_EVENTS_MAX).contains(&kept.len()), "{}", kept.len());
        assert!(str::from_utf8(&kept[kept.len() - 1]).unwrap().parse::<usize>().unwrap() > 950);
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let recent = Recent::new(1000);
        let large = vec![0; BYTES_MAX / 2 - 1];
        for _ in 0..3 {
            recent.keep([large.as_slice()].into_iter());
        }
        assert_eq!(recent.events().len(), 2);
        recent.keep([vec![0; BYTES_MAX + 1].as_slice()].into_iter());
        assert_eq!(recent.events().len(), 0);
        keep(&recent, &["a"]);
        assert_eq!(recent.events().len(), 1);
    }
}
