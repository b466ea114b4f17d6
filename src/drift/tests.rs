//! Windows: that they alarm when something has moved, and never when nothing has.

use ndarray::Array2;

use super::*;
use crate::model::reference::Reference;
use crate::model::tiny;
use crate::score::Scorer;

/// SplitMix64.
struct Random(u64);

impl Random {
    /// 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Near 5, as sums of many are.
    fn near_five(&mut self) -> f64 {
        (0..10).map(|_| self.share()).sum()
    }
}

/// So many events `{"x", "y", "z"}`: x near 5, y most often small, z one of four.
fn events(rows: usize, seed: u64, shift: f64) -> Vec<String> {
    let mut random = Random(seed);
    let event = |_| {
        let (x, y) = (random.near_five() + shift, random.share().powi(4));
        format!(r#"{{"x":{x},"y":{y},"z":{}}}"#, (random.share() * 4.0).floor())
    };
    (0..rows).map(event).collect()
}

fn score(
    scorer: &mut Scorer,
    version: &Version,
    events: &[String],
    mut take: impl FnMut(&Scores<'_>),
) {
    for tile in events.chunks(100) {
        take(&scorer.score(version, tile.iter().map(String::as_bytes)));
    }
}

/// A version that was trained on 20,000 events.
fn version() -> Arc<Version> {
    let version = tiny::version("1", &["x", "y", "z"], 4.5, [0.1, 0.9]);
    let (mut x, mut outputs) = (Vec::new(), Vec::new());
    score(&mut Scorer::new(100), &version, &events(20_000, 1, 0.0), |scores| {
        x.extend(scores.features().iter().copied());
        outputs.extend(scores.results().iter().copied());
    });
    let x = Array2::from_shape_vec((20_000, 3), x).unwrap();
    let outputs = Array2::from_shape_vec((20_000, 1), outputs).unwrap();
    let mut version = Arc::into_inner(version).unwrap();
    let Version { contract, task, engine, .. } = &version;
    version.reference = Some(Reference::of(contract, task, engine, x.view(), outputs.view()));
    Arc::new(version)
}

/// The largest PSI in a window of these events, and of what.
fn worst(version: &Arc<Version>, events: &[String]) -> (f64, String) {
    let drift = Drift::new(version, events.len() as u64, &[]).unwrap();
    let mut live = Live::default();
    live.begin(&drift, 0);
    score(&mut Scorer::new(100), version, events, |scores| live.count(&drift, scores));
    live.settled(&drift);
    let window = drift.window().expect("a whole window");
    let psis = drift.columns(&window).map(|it| (it.psi(), it.reference.name.clone()));
    psis.max_by(|(one, _), (other, _)| one.total_cmp(other)).unwrap()
}

#[test]
fn of_a_hundred_windows_that_have_not_moved_none_alarms_and_one_that_has_does() {
    let version = version();
    let windows = (2..102).map(|seed| worst(&version, &events(1_000, seed, 0.0)));
    let largest = windows.max_by(|(one, _), (other, _)| one.total_cmp(other)).unwrap();
    println!("the largest PSI of a hundred windows of 1,000 events is {largest:?}");
    assert!(largest.0 < 0.1, "{largest:?} of the same distribution");
    // By a standard deviation.
    let moved = worst(&version, &events(1_000, 102, 0.91));
    assert!(moved.0 > 0.25 && ["x", "probability"].contains(&&*moved.1), "{moved:?}");
}

#[test]
fn a_window_is_whole_when_it_has_its_events_and_the_next_begins_at_nothing() {
    let version = version();
    let drift = Drift::new(&version, 1_000, &[]).unwrap();
    let (mut live, mut scorer) = (Live::default(), Scorer::new(100));
    let mut batch = |events: &[String], partition: i32| {
        live.begin(&drift, partition);
        score(&mut scorer, &version, events, |scores| live.count(&drift, scores));
        live.settled(&drift);
    };
    let all = events(1_200, 3, 0.0);
    batch(&all[..600], 5);
    assert_eq!((drift.window(), drift.events()), (None, 600));
    batch(&all[600..], 3);
    let first = drift.window().unwrap();
    assert_eq!((first.number, first.events, first.partition), (0, 1_200, 3));
    assert!(first.since <= first.until);
    assert_eq!(drift.events(), 0);
    for column in drift.columns(&first) {
        assert_eq!(column.cells.iter().sum::<u64>(), 1_200, "{}", column.reference.name);
    }
    batch(&all, 7);
    let second = drift.window().unwrap();
    assert_eq!((second.number, second.events, second.partition), (1, 1_200, 7));
    assert!(Iterator::eq(
        drift.columns(&first).map(|column| column.cells),
        drift.columns(&second).map(|column| column.cells),
    ));
}

#[test]
fn without_a_reference_nothing_is_counted() {
    let version = tiny::version("1", &["x"], 4.5, [0.1, 0.9]);
    assert!(Drift::new(&version, 1_000, &[]).is_none());
}
