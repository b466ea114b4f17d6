//! Where the bins of a number end.

use ndarray::ArrayView1;

/// Rising edges that cut the values, NaN apart, into about `bins` bins of equal shares. They are `thresholds`
/// where there are any that cut at all: where a forest splits is where drift matters to it.
///
/// Values that are all the same have a bin of their own, so that it is seen when they are others.
pub fn edges(column: ArrayView1<'_, f64>, thresholds: &[f64], bins: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = column.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let own = cuts(&sorted, thresholds, bins);
    if !own.is_empty() {
        return own;
    }
    let mut values = sorted.clone();
    values.dedup();
    let found = cuts(&sorted, &values, bins);
    if !found.is_empty() {
        return found;
    }
    let Some(only) = values.first() else { return Vec::new() };
    // Of an infinite value the largest or least finite one: JSON has no other.
    let mut around =
        vec![only.next_down().clamp(f64::MIN, f64::MAX), only.clamp(f64::MIN, f64::MAX)];
    around.dedup();
    around
}

/// Of `candidates`, which rise, those that come nearest to cutting `sorted` into equal shares.
fn cuts(sorted: &[f64], candidates: &[f64], bins: usize) -> Vec<f64> {
    let below = |edge: &f64| sorted.partition_point(|v| v <= edge);
    let cutting =
        candidates.iter().filter(|edge| edge.is_finite()).map(|edge| (below(edge), *edge));
    // One that leaves a side empty does not cut.
    let cutting: Vec<_> = cutting.filter(|(rows, _)| (1..sorted.len()).contains(rows)).collect();
    let nearest = |wanted: usize| {
        let after = cutting.partition_point(|(rows, _)| *rows < wanted);
        let around = cutting[after.saturating_sub(1)..].iter().take(2);
        around.min_by_key(|(rows, _)| rows.abs_diff(wanted))
    };
    let mut edges: Vec<f64> = (1..bins)
        .filter_map(|bin| nearest(bin * sorted.len() / bins))
        .map(|(_, edge)| *edge)
        .collect();
    edges.dedup();
    edges
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayView1;

    use super::edges;

    fn of(values: &[f64], thresholds: &[f64]) -> Vec<f64> {
        edges(ArrayView1::from(values), thresholds, 10)
    }

    #[test]
    fn the_shares_are_equal_where_nothing_hinders() {
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let expect: Vec<f64> = (1..10).map(|bin| f64::from(bin) * 100.0 - 1.0).collect();
        assert_eq!(of(&values, &[]), expect);
    }

    #[test]
    fn what_is_frequent_is_cut_off_from_what_is_not() {
        // Mostly one or the other of two values: both are told apart.
        let mut values = vec![1.0; 99];
        values.push(0.0);
        assert_eq!(of(&values, &[]), [0.0]);
        let values: Vec<f64> = values.iter().map(|v| 1.0 - v).collect();
        assert_eq!(of(&values, &[]), [0.0]);
    }

    #[test]
    fn thresholds_are_taken_as_they_are_where_they_cut() {
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let near = [-5.0, 98.5, 301.5, 302.5, 5000.0];
        // The nearest to each share, and nothing that all values are on one side of.
        assert_eq!(of(&values, &near), [98.5, 301.5, 302.5]);
        assert_eq!(of(&values, &[-5.0, 999.0]).len(), 9, "none of them cuts");
    }

    #[test]
    fn the_same_everywhere_nothing_at_all_and_infinities_are_sound() {
        assert!(of(&[], &[1.0]).is_empty());
        assert!(of(&[f64::NAN; 3], &[1.0]).is_empty());
        assert_eq!(of(&[5.0; 3], &[]), [5.0_f64.next_down(), 5.0]);
        assert_eq!(of(&[f64::INFINITY; 3], &[]), [f64::MAX]);
        assert_eq!(of(&[f64::NEG_INFINITY; 3], &[]), [f64::MIN]);
        assert_eq!(of(&[-0.0, 0.0], &[]), [0.0_f64.next_down(), 0.0]);
        assert_eq!(of(&[f64::NEG_INFINITY, 1.0, f64::INFINITY], &[]), [1.0]);
    }
}
