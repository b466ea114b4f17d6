//! Ranks of many values among sorted thresholds, without branches.
//!
//! Halving 255 thresholds takes eight steps, each a load that waits for the one before. Most of
//! them are guessed at once: the thresholds' span is cut into equal buckets, and each bucket knows
//! the rank at which it begins. What is left are the halvings within the fullest bucket, one or
//! two for most features, and for the most skewed of them no more than without the guess.
//!
//! The guess may round as it likes. It only has to be monotone, and the same for thresholds and
//! values: then a threshold in an earlier bucket is below the value, one in a later bucket above.

/// Buckets a threshold: more make a fuller cache, fewer make fuller buckets.
const BUCKETS: usize = 4;

/// More than this is memory without use: values crowd where thresholds do.
const BUCKETS_MAX: usize = 1 << 16;

#[derive(Debug)]
pub struct Search {
    /// Rising; then +∞, as far as a search may read.
    thresholds: Vec<f64>,
    /// The thresholds below each bucket; their number is a power of two.
    starts: Vec<u32>,
    lowest: f64,
    /// Buckets over the span of the thresholds; 0 or ∞ where that overflows, which is as good a
    /// guess as any.
    scale: f64,
    /// The first step of the halving; 0 if there is nothing to search.
    step: usize,
}

impl Search {
    /// `thresholds` rise.
    pub fn new(thresholds: &[f64]) -> Self {
        let buckets = (BUCKETS * thresholds.len()).next_power_of_two().min(BUCKETS_MAX);
        let mut finite = thresholds.iter().copied().filter(|threshold| threshold.is_finite());
        let lowest = finite.next().unwrap_or(0.0);
        let highest = finite.next_back().unwrap_or(lowest);
        let scale = buckets as f64 / (highest - lowest);
        let mut search = Self { thresholds: Vec::new(), starts: vec![0], lowest, scale, step: 0 };
        search.starts.resize(buckets, 0);
        let fullest = search.fill_starts(thresholds);
        search.step = (fullest + 1).next_power_of_two() / 2;
        search.thresholds.extend(thresholds);
        let readable = (thresholds.len() + 2 * search.step + 1).next_power_of_two();
        search.thresholds.resize(readable, f64::INFINITY);
        search
    }

    /// Memory taken.
    pub fn bytes(&self) -> usize {
        size_of_val(self.thresholds.as_slice()) + size_of_val(self.starts.as_slice())
    }

    /// Says how many thresholds the fullest bucket holds.
    fn fill_starts(&mut self, thresholds: &[f64]) -> usize {
        let mut counts = vec![0; self.starts.len()];
        for threshold in thresholds {
            counts[self.bucket(*threshold)] += 1;
        }
        let mut below = 0;
        for (start, count) in self.starts.iter_mut().zip(&counts) {
            *start = below as u32;
            below += count;
        }
        counts.into_iter().max().unwrap_or(0)
    }

    #[inline(always)]
    fn bucket(&self, v: f64) -> usize {
        let place = (v - self.lowest) * self.scale;
        // Comparisons, not `clamp`: NaN is held within too.
        let place = if place > 0.0 { place } else { 0.0 };
        let last = (self.starts.len() - 1) as f64;
        let place = if place < last { place } else { last };
        // At this size the last bit counts ones: rounds, and unlike a cast is vector code.
        (place + (1_u64 << 52) as f64).to_bits() as u32 as usize
    }

    /// The number of thresholds below each value; of NaN, any number of them.
    #[inline(always)]
    pub fn ranks<const ROWS: usize>(&self, values: &[f64; ROWS], ranks: &mut [u32; ROWS]) {
        for (rank, v) in ranks.iter_mut().zip(values) {
            *rank = self.bucket(*v) as u32;
        }
        let last = self.starts.len() - 1;
        for rank in ranks.iter_mut() {
            *rank = self.starts[*rank as usize & last];
        }
        let last = self.thresholds.len() - 1;
        let mut step = self.step;
        while step > 0 {
            for (rank, v) in ranks.iter_mut().zip(values) {
                let below = self.thresholds[(*rank as usize + step - 1) & last] < *v;
                *rank += if below { step as u32 } else { 0 };
            }
            step /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(mut thresholds: Vec<f64>, more: &[f64]) {
        thresholds.retain(|threshold| !threshold.is_nan());
        thresholds.sort_unstable_by(f64::total_cmp);
        thresholds.dedup();
        let search = Search::new(&thresholds);
        for v in thresholds.iter().chain(more).filter(|v| !v.is_nan()) {
            for v in [*v, v.next_up(), v.next_down()] {
                let mut ranks = [0];
                search.ranks(&[v], &mut ranks);
                let below = thresholds.iter().filter(|threshold| **threshold < v).count();
                assert_eq!(ranks, [below as u32], "{v:e} among {thresholds:?}");
            }
        }
    }

    #[test]
    fn spans_that_overflow_or_vanish_are_searched_all_the_same() {
        let far = [f64::NEG_INFINITY, f64::INFINITY, 0.0, -0.0, 1e-35];
        check(vec![], &far);
        check(vec![3.0], &far);
        check(vec![-f64::MAX, f64::MAX], &far);
        check(vec![f64::NEG_INFINITY, f64::INFINITY], &far);
        check(vec![0.0, 5e-324], &far);
    }

    proptest! {
        #[test]
        fn a_rank_is_the_number_of_thresholds_below(
            thresholds in prop::collection::vec(prop::num::f64::ANY, 0..300),
            values in prop::collection::vec(prop::num::f64::ANY, 50),
        ) {
            check(thresholds, &values);
        }

        #[test]
        fn crowded_thresholds_are_told_apart(
            thresholds in prop::collection::vec(-1000_i32..1000, 0..300),
            outlier in prop::num::f64::NORMAL,
        ) {
            let mut thresholds: Vec<f64> = thresholds.iter().map(|t| f64::from(*t) / 8.0).collect();
            thresholds.push(outlier);
            check(thresholds, &[]);
        }
    }
}
