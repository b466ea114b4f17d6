//! The gate's last check: the version on this instance's own recent events, beside the one that
//! serves.

use std::time::{Duration, Instant};

use super::gate::{Check, Refusal};
use super::version::Version;
use crate::compare::Comparison;
use crate::reject::{Reason, Reject};
use crate::score::Scorer;

/// Times that the events are scored by each version in turn; the quickest counts, as the others
/// were interrupted.
const PASSES: usize = 5;
/// Events that are scored at a time.
const TILE_ROWS: usize = 256;

/// How far a version may be from the one that serves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Share of the events scored by what serves that it may refuse, 0 to 1.
    pub lost_max: f64,
    /// Share of the events that may get another class, 0 to 1.
    pub flips_max: f64,
    /// What an event may cost, in what it costs the version that serves.
    pub cost_ratio_max: f64,
}

/// Two versions on the same events.
#[derive(Debug, Default)]
pub struct Replay {
    /// What serves is the first.
    pub comparison: Comparison,
    /// The first event that only the first could score, and why the second could not.
    pub lost: Option<Reject>,
    /// The same, where a result was no number.
    pub non_finite: Option<Reject>,
}

impl Replay {
    /// Scores `events` with both.
    pub fn of(first: &Version, second: &Version, events: &[Vec<u8>]) -> Self {
        let mut replay = Self::default();
        let mut scorers = [Scorer::new(TILE_ROWS), Scorer::new(TILE_ROWS)];
        for tile in events.chunks(TILE_ROWS) {
            let mut quickest = [Duration::MAX; 2];
            for _ in 0..PASSES {
                for (at, version) in [first, second].into_iter().enumerate() {
                    let began = Instant::now();
                    scorers[at].score(version, tile.iter().map(Vec::as_slice));
                    quickest[at] = quickest[at].min(began.elapsed());
                }
            }
            replay.comparison.add_cost(quickest[0], quickest[1]);
            replay.compare(first, second, &mut scorers, tile);
        }
        replay
    }

    fn compare(
        &mut self,
        first: &Version,
        second: &Version,
        scorers: &mut [Scorer; 2],
        tile: &[Vec<u8>],
    ) {
        let [one, other] = scorers;
        let one = one.score(first, tile.iter().map(Vec::as_slice));
        let other = other.score(second, tile.iter().map(Vec::as_slice));
        for event in 0..tile.len() {
            let (one, other) = (one.outputs(event), other.outputs(event));
            self.comparison.add((&first.task, one.ok()), (&second.task, other.ok()));
            if let (Ok(_), Err(reject)) = (one, other) {
                let is_number = reject.reason != Reason::NonFinite;
                let lost = if is_number { &mut self.lost } else { &mut self.non_finite };
                lost.get_or_insert_with(|| reject.clone());
            }
        }
    }

    /// Whether the second may serve.
    ///
    /// # Errors
    /// The first bound that it breaks. Events that it refuses for what they hold or lack are a
    /// contract that this traffic does not fulfil.
    pub fn judge(&self, bounds: Bounds) -> Result<(), Refusal> {
        let Self { comparison, lost, non_finite } = self;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let refuse = |check, what: String| {
            let events = comparison.rows + comparison.lost;
            Err(Refusal::new(check, format!("of the last {events} events of this instance {what}")))
        };
        if let Some(reject) = non_finite {
            return refuse(Check::Traffic, format!("one or more have no finite result: {reject}"));
        }
        if let Some(reject) = lost
            && comparison.lost_share() > bounds.lost_max
        {
            let (share, allowed) = (percent(comparison.lost_share()), percent(bounds.lost_max));
            let what =
                format!("it would refuse {share}, {allowed} are allowed; the first: {reject}");
            return refuse(Check::Contract, what);
        }
        if comparison.flip_share() > bounds.flips_max {
            let (share, allowed) = (percent(comparison.flip_share()), percent(bounds.flips_max));
            return refuse(
                Check::Traffic,
                format!("{share} would get another class, {allowed} are allowed"),
            );
        }
        match comparison.cost_ratio() {
            Some(ratio) if ratio > bounds.cost_ratio_max => {
                let allowed = bounds.cost_ratio_max;
                let what = format!(
                    "each costs {ratio:.1} times what it costs the version that serves, {allowed} are allowed"
                );
                refuse(Check::Traffic, what)
            }
            _ => Ok(()),
        }
    }
}
