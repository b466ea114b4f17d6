//! The breaker: says when so many of the last events would become dead letters that it is the stream or
//! the version that is broken, not the events.
//!
//! It is told what each tile came to, before the tile is sent, and answers whether it may be. It has no
//! clock and knows no bus: what a stopped worker does is the worker's matter (`worker/hold.rs`).
//!
//! Events are counted in cells of a tile or more, at least a 64th of the window. The window is made of the newest
//! cells that hold `window_rows` events; of the oldest of them as large a part counts as belongs to it, of
//! the newest always all. Before the window is full nothing is decided. A tile without a dead letter
//! costs an addition.

use std::collections::VecDeque;

use crate::reject::Reason;

/// A cell grows by small tiles until it has this part of the window.
const CELLS: u64 = 64;

/// What became, or would become, of some events: how many there were, and how many of them were
/// refused for which reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdicts {
    pub events: u64,
    rejects: [u64; Reason::ALL.len()],
}

impl Verdicts {
    /// An event that has a prediction.
    pub fn answer(&mut self) {
        self.events += 1;
    }

    /// An event that becomes a dead letter.
    pub fn reject(&mut self, reason: Reason) {
        self.events += 1;
        self.rejects[reason as usize] += 1;
    }

    pub fn add(&mut self, more: &Self) {
        self.events += more.events;
        self.rejects.iter_mut().zip(more.rejects).for_each(|(sum, more)| *sum += more);
    }

    /// What `events` of them came to, if they are all alike.
    fn part(&self, events: u64) -> Self {
        let part = |rejects: u64| {
            (u128::from(rejects) * u128::from(events) / u128::from(self.events)) as u64
        };
        Self { events, rejects: self.rejects.map(part) }
    }

    /// Events refused for whatever reason.
    pub fn rejects(&self) -> u64 {
        self.rejects.iter().sum()
    }

    /// The reasons that occurred, each with its number of events, most of them first.
    pub fn reasons(&self) -> Vec<(Reason, u64)> {
        let all = Reason::ALL.into_iter().zip(self.rejects);
        let mut some: Vec<_> = all.filter(|(_, rejects)| *rejects > 0).collect();
        some.sort_by_key(|(_, rejects)| std::cmp::Reverse(*rejects));
        some
    }
}

/// One worker's breaker.
#[derive(Debug)]
pub struct Breaker {
    window_rows: u64,
    /// `None`: it never stops anything.
    ratio_max: Option<f64>,
    /// What was settled, oldest first: no more cells than the window takes.
    settled: VecDeque<Verdicts>,
    /// The tiles of the batch in hand, as far as they were judged. A batch that is sent again is judged anew.
    attempt: VecDeque<Verdicts>,
    /// It lets everything pass until the share has been within the bound once.
    is_disarmed: bool,
}

impl Breaker {
    /// Stops when more than `ratio_max` (0 to 1) of the last `window_rows` events would be dead
    /// letters; `None`: never.
    pub fn new(window_rows: usize, ratio_max: Option<f64>) -> Self {
        Self {
            window_rows: window_rows.max(1) as u64,
            ratio_max,
            settled: VecDeque::new(),
            attempt: VecDeque::new(),
            is_disarmed: false,
        }
    }

    /// A batch is about to be judged from its first tile on, perhaps once more.
    pub fn begin(&mut self) {
        self.attempt.clear();
    }

    /// Takes in the next tile of the batch. If it must not be sent: what the events of the window come to, this
    /// tile's included.
    pub fn judge(&mut self, tile: &Verdicts) -> Option<Verdicts> {
        self.ratio_max?;
        push(&mut self.attempt, tile, self.window_rows / CELLS);
        if self.is_disarmed || tile.rejects() == 0 {
            return None;
        }
        let window = self.window();
        (window.events >= self.window_rows && self.is_too_much(&window)).then_some(window)
    }

    /// The batch is settled: its tiles belong to the past.
    pub fn settle(&mut self) {
        let Self { settled, attempt, window_rows, .. } = self;
        attempt.drain(..).for_each(|tile| push(settled, &tile, *window_rows / CELLS));
        let mut events: u64 = settled.iter().map(|cell| cell.events).sum();
        while let Some(oldest) = settled.front()
            && events - oldest.events >= *window_rows
        {
            events -= oldest.events;
            settled.pop_front();
        }
        if self.is_disarmed && !self.is_too_much(&self.window()) {
            self.is_disarmed = false;
        }
    }

    /// Lets everything pass until the share of dead letters has been within the bound once: whoever
    /// says that a stopped worker shall go on means the garbage behind the batch in hand, too.
    pub fn disarm(&mut self) {
        self.is_disarmed = true;
    }

    /// Is the share of dead letters among these events above the bound?
    pub fn is_too_much(&self, verdicts: &Verdicts) -> bool {
        let bound = |ratio_max: f64| ratio_max * verdicts.events as f64;
        self.ratio_max.is_some_and(|ratio_max| verdicts.rejects() as f64 > bound(ratio_max))
    }

    /// `window_rows`, in events.
    pub fn window_rows(&self) -> usize {
        self.window_rows as usize
    }

    fn window(&self) -> Verdicts {
        let mut window = Verdicts::default();
        for cell in self.attempt.iter().rev().chain(self.settled.iter().rev()) {
            let left = self.window_rows.saturating_sub(window.events);
            match window.events {
                0 => window.add(cell),
                _ if cell.events <= left => window.add(cell),
                _ => {
                    window.add(&cell.part(left));
                    break;
                }
            }
        }
        window
    }
}

/// Adds to the last cell as long as both together stay small, else begins a new one.
fn push(cells: &mut VecDeque<Verdicts>, tile: &Verdicts, small: u64) {
    match cells.back_mut() {
        Some(last) if last.events + tile.events <= small => last.add(tile),
        _ if tile.events == 0 => {}
        _ => cells.push_back(*tile),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(answers: u64, rejects: u64) -> Verdicts {
        let mut tile = Verdicts { events: answers, ..Verdicts::default() };
        (0..rejects).for_each(|_| tile.reject(Reason::NotJson));
        tile
    }

    /// A batch of tiles, each (answers, rejects): settled, unless it is stopped.
    fn batch(breaker: &mut Breaker, tiles: &[(u64, u64)]) -> Option<(u64, u64)> {
        breaker.begin();
        for &(answers, rejects) in tiles {
            if let Some(window) = breaker.judge(&tile(answers, rejects)) {
                return Some((window.rejects(), window.events));
            }
        }
        breaker.settle();
        None
    }

    #[test]
    fn more_than_the_bound_is_stopped_and_the_bound_itself_is_not() {
        let mut breaker = Breaker::new(100, Some(0.5));
        assert_eq!(batch(&mut breaker, &[(50, 50), (50, 50)]), None);
        assert_eq!(batch(&mut breaker, &[(49, 51)]), Some((51, 100)));
        // It was not settled: as if it had never been.
        assert_eq!(batch(&mut breaker, &[(50, 50)]), None);
        assert_eq!(batch(&mut breaker, &[(0, 100)]), Some((100, 100)));
    }

    #[test]
    fn nothing_is_decided_before_the_window_is_full() {
        let mut breaker = Breaker::new(1000, Some(0.1));
        for _ in 0..99 {
            assert_eq!(batch(&mut breaker, &[(0, 10)]), None);
        }
        assert_eq!(batch(&mut breaker, &[(0, 9)]), None);
        assert_eq!(batch(&mut breaker, &[(0, 1)]), Some((1000, 1000)));
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut breaker = Breaker::new(100, Some(0.5));
        for _ in 0..1000 {
            assert_eq!(batch(&mut breaker, &[(7, 0)]), None);
        }
        assert!(breaker.settled.len() <= 100, "{} cells", breaker.settled.len());
        // 14 tiles of 7 and two events of another.
        for _ in 0..7 {
            assert_eq!(batch(&mut breaker, &[(0, 7)]), None);
        }
        assert_eq!(batch(&mut breaker, &[(0, 7)]), Some((56, 100)));
    }

    #[test]
    fn a_large_tile_before_small_ones_counts_as_far_as_it_belongs_to_the_window() {
        let mut breaker = Breaker::new(100, Some(0.5));
        assert_eq!(batch(&mut breaker, &[(1000, 0)]), None);
        for _ in 0..5 {
            assert_eq!(batch(&mut breaker, &[(0, 10)]), None);
        }
        assert_eq!(batch(&mut breaker, &[(0, 1)]), Some((51, 100)));
        // Half of it is bad: of the part that counts as well.
        let mut breaker = Breaker::new(100, Some(0.6));
        assert_eq!(batch(&mut breaker, &[(500, 500)]), None);
        assert_eq!(batch(&mut breaker, &[(0, 20)]), None);
        assert_eq!(batch(&mut breaker, &[(0, 2)]), Some((61, 100)));
    }

    #[test]
    fn small_tiles_share_a_cell() {
        let mut breaker = Breaker::new(64_000, Some(0.5));
        for _ in 0..200_000 {
            assert_eq!(batch(&mut breaker, &[(1, 0)]), None);
        }
        assert!(breaker.settled.len() <= 2 * CELLS as usize, "{} cells", breaker.settled.len());
        assert!(breaker.window().events >= 64_000);
    }

    #[test]
    fn a_batch_that_is_sent_again_counts_once() {
        let mut breaker = Breaker::new(10, Some(0.5));
        assert_eq!(batch(&mut breaker, &[(10, 0)]), None);
        for _ in 0..9 {
            breaker.begin();
            assert_eq!(breaker.judge(&tile(0, 1)), None);
        }
        breaker.settle();
        assert_eq!(breaker.window().rejects(), 1);
    }

    #[test]
    fn disarmed_it_lets_pass_until_the_share_has_fallen_once() {
        let mut breaker = Breaker::new(10, Some(0.5));
        assert_eq!(batch(&mut breaker, &[(0, 10)]), Some((10, 10)));
        breaker.disarm();
        for _ in 0..5 {
            assert_eq!(batch(&mut breaker, &[(0, 10)]), None);
        }
        assert_eq!(batch(&mut breaker, &[(10, 0)]), None);
        assert_eq!(batch(&mut breaker, &[(0, 10)]), Some((10, 10)));
    }

    #[test]
    fn off_is_off_and_one_stops_nothing_either() {
        for ratio_max in [None, Some(1.0)] {
            let mut breaker = Breaker::new(10, ratio_max);
            assert_eq!(batch(&mut breaker, &[(0, 100), (0, 100)]), None);
        }
        let mut breaker = Breaker::new(10, Some(0.0));
        assert_eq!(batch(&mut breaker, &[(99, 1)]), Some((1, 100)));
    }

    #[test]
    fn reasons_are_told_by_how_many_there_were() {
        let mut verdicts = Verdicts::default();
        verdicts.answer();
        verdicts.reject(Reason::WrongKind);
        (0..2).for_each(|_| verdicts.reject(Reason::PredictionTooLarge));
        let reasons = [(Reason::PredictionTooLarge, 2), (Reason::WrongKind, 1)];
        assert_eq!((verdicts.events, verdicts.reasons()), (4, reasons.to_vec()));
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
