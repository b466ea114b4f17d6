//! The gate's last check: the version on this instance's own recent events, beside the one that
//! serves.

use std::time::{Duration, Instant};

use super::gate::{Check, Refusal};
use super::manifest::Task;
use super::version::Version;
use crate::compare::Comparison;
use crate::reject::{Reason, Reject};
use crate::score::{Scorer, Scores};

/// Times that the events are scored by each version in turn; the quickest counts, as the others
/// were interrupted.
const PASSES: usize = 5;
/// Of a tile that takes so long for both, two of them do: a core that a large model keeps busy is missed
/// by the brokers and clients beside it, while the quickest of two is hardly ever interrupted long.
const SLOW: Duration = Duration::from_millis(2);
const SLOW_PASSES: usize = 2;
/// Events that are scored at a time.
const TILE_ROWS: usize = 128;
/// After so long, what was compared by then has to do.
const BUDGET: Duration = Duration::from_secs(2);

/// How far a version may be from the one that serves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Share of the events scored by what serves that it may refuse, 0 to 1.
    pub lost_max: f64,
    /// Share of them for which it may have no finite result, 0 to 1.
    pub non_finite_max: f64,
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
    /// The same, where a result was no number, and how many there were of those.
    pub non_finite: Option<Reject>,
    pub non_finite_rows: u64,
}

impl Replay {
    /// Scores `events` with both, within two seconds: a version that takes longer for them has shown
    /// what it costs by then.
    pub fn of(first: &Version, second: &Version, events: &[Vec<u8>]) -> Self {
        let mut replay = Self::default();
        let [mut one, mut other] = [Scorer::new(TILE_ROWS), Scorer::new(TILE_ROWS)];
        let began = Instant::now();
        let is_over = || began.elapsed() >= BUDGET;
        for tile in events.chunks(TILE_ROWS).take_while(|_| !is_over()) {
            let mut quickest = [Duration::MAX; 2];
            for pass in 0..PASSES {
                let is_enough = pass >= SLOW_PASSES && quickest[0] + quickest[1] > SLOW;
                if is_enough || pass > 0 && is_over() {
                    break;
                }
                let (scores, took) = timed(|| one.score(first, tile.iter().map(Vec::as_slice)));
                let (others, takes) = timed(|| other.score(second, tile.iter().map(Vec::as_slice)));
                quickest = [quickest[0].min(took), quickest[1].min(takes)];
                if pass == 0 {
                    replay.compare((&first.task, &scores), (&second.task, &others));
                }
            }
            replay.comparison.add_cost(quickest[0], quickest[1]);
        }
        replay
    }

    fn compare(&mut self, first: (&Task, &Scores<'_>), second: (&Task, &Scores<'_>)) {
        for event in 0..first.1.len() {
            let (one, other) = (first.1.outputs(event), second.1.outputs(event));
            self.comparison.add((first.0, one.ok()), (second.0, other.ok()));
            if let (Ok(_), Err(reject)) = (one, other) {
                let is_number = reject.reason != Reason::NonFinite;
                self.non_finite_rows += u64::from(!is_number);
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
        let Self { comparison, lost, non_finite, non_finite_rows } = self;
        let scored = (comparison.rows + comparison.lost).max(1) as f64;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let refuse = |check, what: String| {
            let events = comparison.rows + comparison.lost;
            Err(Refusal::new(check, format!("of the last {events} events of this instance {what}")))
        };
        if let Some(reject) = non_finite
            && *non_finite_rows as f64 > bounds.non_finite_max * scored
        {
            let what = format!("{non_finite_rows} have no finite result: {reject}");
            return refuse(Check::Traffic, what);
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

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = work();
    (done, began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::super::tiny;
    use super::*;

    const BOUNDS: Bounds =
        Bounds { lost_max: 0.1, non_finite_max: 0.0, flips_max: 0.3, cost_ratio_max: 1e6 };

    /// `x` is 0 to 9.
    fn events() -> Vec<Vec<u8>> {
        (0..1000).map(|number| format!(r#"{{"x":{}}}"#, number % 10).into_bytes()).collect()
    }

    #[track_caller]
    fn check(second: &Version, events: &[Vec<u8>], expect: Result<(), (Check, &str)>) {
        let first = tiny::version("1", &["x"], 4.5, [0.1, 0.9]);
        let judged = Replay::of(&first, second, events).judge(BOUNDS);
        let judged = judged.map_err(|refusal| (refusal.check, refusal.message));
        assert_eq!(judged, expect.map_err(|(check, message)| (check, message.to_owned())));
    }

    #[test]
    fn a_version_that_agrees_passes_and_one_that_flips_too_much_does_not() {
        check(&tiny::version("2", &["x"], 5.5, [0.2, 0.8]), &events(), Ok(()));
        check(
            &tiny::version("2", &["x"], 8.5, [0.2, 0.8]),
            &events(),
            Err((
                Check::Traffic,
                "of the last 1000 events of this instance 40.0 % would get another class, 30.0 % are allowed",
            )),
        );
    }

    #[test]
    fn a_required_feature_that_the_traffic_lacks_is_named() {
        let second = tiny::version("2", &["x", "y"], 4.5, [0.1, 0.9]);
        check(
            &second,
            &events(),
            Err((
                Check::Contract,
                "of the last 1000 events of this instance it would refuse 100.0 %, 10.0 % are allowed; the first: `y` at `/y`: required, but absent or null",
            )),
        );
        // What few events lack may be lacking.
        let mut most: Vec<_> = events().iter().map(|event| with_y(event)).collect();
        most[7] = events()[7].clone();
        check(&second, &most, Ok(()));
    }

    fn with_y(event: &[u8]) -> Vec<u8> {
        [&event[..event.len() - 1], br#","y":1}"#].concat()
    }

    #[test]
    fn a_result_that_is_no_number_is_one_too_many() {
        let mut events = events();
        let second = tiny::version("2", &["x"], 4.5, [0.1, 1e308]);
        // Three trees of the second come to infinity where one of the first does not.
        events[3] = br#"{"x":2000000}"#.to_vec();
        check(&second, &events, Ok(())); // the first gives none either
        let first = tiny::version("1", &["x"], 4.5, [0.1, -1e308]);
        let refusal = Replay::of(&first, &second, &events).judge(BOUNDS).unwrap_err();
        assert_eq!(refusal.check, Check::Traffic);
        assert!(refusal.message.ends_with("1 have no finite result: the model's result is inf"));
        let bounds = Bounds { non_finite_max: 0.01, flips_max: 1.0, ..BOUNDS };
        assert!(Replay::of(&first, &second, &events).judge(bounds).is_ok());
    }

    #[test]
    fn what_costs_too_much_is_refused_and_nothing_is_said_of_no_events() {
        let version = tiny::version("1", &["x"], 4.5, [0.1, 0.9]);
        let bounds = Bounds { cost_ratio_max: 0.0, ..BOUNDS };
        let refusal = Replay::of(&version, &version, &events()).judge(bounds).unwrap_err();
        assert!(refusal.message.contains("times what it costs"), "{}", refusal.message);
        assert!(Replay::of(&version, &version, &[]).judge(bounds).is_ok());
    }
}
