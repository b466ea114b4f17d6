//! The population stability index: one number for how far apart two distributions over the same bins are.

/// Σ (q − p) · ln(q / p) over the bins, with p their shares of `reference` and q those of `found`: the
/// Kullback–Leibler divergences of both from each other, added (Jeffreys' divergence). Credit scoring gave it its name and its
/// rule of thumb: below 0.1 nothing has moved, above 0.25 much has (Siddiqi, "Credit Risk Scorecards", 2006).
///
/// 0 is equal, and there is no upper end. Of two samples of one distribution it is about
/// (bins − 1) · (1/n + 1/m) on average (Yurdakul, "Statistical Properties of Population Stability Index", 2018):
/// so few bins, and not too few events.
///
/// Half an event is added to every bin. Otherwise one event in a bin that was empty would make it infinite; and half of
/// *one* event, not a fixed share, so that an empty bin weighs less the more events there were that
/// could have fallen into it. A bin that is empty in both is none.
///
/// # Panics
/// If there are not as many bins in both.
pub fn psi(reference: &[u64], found: &[u64]) -> f64 {
    assert_eq!(reference.len(), found.len(), "bins of two distributions");
    let used = || reference.iter().zip(found).filter(|(p, q)| **p > 0 || **q > 0);
    let half = |count: u64| count as f64 + 0.5;
    let (n, m) = used().fold((0.0, 0.0), |(n, m), (p, q)| (n + half(*p), m + half(*q)));
    used()
        .map(|(p, q)| {
            let (p, q) = (half(*p) / n, half(*q) / m);
            (q - p) * (q / p).ln()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_shares_are_zero_and_the_formula_is_the_books() {
        assert_eq!(psi(&[], &[]), 0.0);
        assert_eq!(psi(&[7], &[1000]), 0.0, "one bin can tell nothing");
        assert!(psi(&[1_000_000, 3_000_000], &[1_000, 3_000]) < 1e-6);
        // Shares of 0.5 and 0.5, then 0.6 and 0.4: 0.1 · ln 1.2 − 0.1 · ln 0.8.
        let expect = 0.1 * (1.2_f64.ln() - 0.8_f64.ln());
        let found = psi(&[500_000, 500_000], &[600_000, 400_000]);
        assert!((found - expect).abs() < 1e-5, "{found} is not {expect}");
    }

    #[test]
    fn one_event_in_a_bin_that_was_empty_is_little_and_many_are_much() {
        let of = |new: u64| psi(&[10_000, 10_000, 0], &[5_000, 5_000 - new, new]);
        assert!(of(1) < 0.001, "{}", of(1));
        assert!(of(500) > 0.25, "{}", of(500));
    }

    #[test]
    fn without_any_events_nothing_has_drifted_far() {
        let found = psi(&[100, 100, 100], &[0, 0, 0]);
        assert!(found.abs() < 1e-9, "{found}");
    }

    proptest! {
        #[test]
        fn it_is_finite_never_below_zero_and_the_same_both_ways(
            bins in prop::collection::vec((0..1_000_000_u64, 0..1_000_000_u64), 0..20)
        ) {
            let (one, other): (Vec<_>, Vec<_>) = bins.into_iter().unzip();
            let (there, back) = (psi(&one, &other), psi(&other, &one));
            prop_assert!(there.is_finite() && there >= 0.0, "{there}");
            prop_assert!((there - back).abs() <= 1e-9 * (1.0 + there));
        }
    }
}
