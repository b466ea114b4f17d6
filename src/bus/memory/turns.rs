//! Threads that take turns: one runs, and at each step the seed says who runs next.
//!
//! Every worker is a thread of its own, so that its loop is the real one, stopped between any two
//! of its steps while others go on; and yet a run is the same each time, because no two of them
//! ever run at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar};

/// Whoever never entered does not take part, and runs as it likes: a test of one thread needs no
/// turns.
#[derive(Debug, Default)]
pub struct Turns {
    running: usize,
    bells: BTreeMap<usize, Arc<Condvar>>,
    /// They take part, and their turn does not come.
    frozen: BTreeSet<usize>,
}

impl Turns {
    /// From now on `who` runs only in its turn.
    pub fn enter(&mut self, who: usize) {
        if self.bells.is_empty() {
            self.running = who;
        }
        self.bells.insert(who, Arc::default());
    }

    /// `who` is done, and somebody else goes on.
    pub fn leave(&mut self, who: usize, rng: &mut fastrand::Rng) {
        self.bells.remove(&who);
        self.frozen.remove(&who);
        self.pass(who, rng);
    }

    /// Ends the turn of `who`, if it is; the same may be next.
    pub fn pass(&mut self, who: usize, rng: &mut fastrand::Rng) {
        if self.bells.is_empty() || self.running != who {
            return;
        }
        let awake: Vec<_> =
            self.bells.iter().filter(|(who, _)| !self.frozen.contains(who)).collect();
        if let Some((who, bell)) = rng.choice(awake) {
            self.running = *who;
            bell.notify_one();
        }
    }

    /// The turn of `who` does not come until it is thawed. Somebody else has to be awake.
    pub fn freeze(&mut self, who: usize) {
        self.frozen.insert(who);
    }

    pub fn thaw(&mut self, who: usize) {
        self.frozen.remove(&who);
    }

    /// The bell that `who` has to wait for; `None`: it is its turn.
    pub fn bell(&self, who: usize) -> Option<Arc<Condvar>> {
        if self.running == who { None } else { self.bells.get(&who).cloned() }
    }

    /// How many take part.
    pub fn len(&self) -> usize {
        self.bells.len()
    }
}
