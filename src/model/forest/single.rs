//! Thresholds of libraries that round values to f32 before they compare, as thresholds for the
//! values themselves.
//!
//! Rounding is monotone, so the values that round to `b` or below are those up to some f64: the
//! middle between `b` and the f32 after it, where ties go to the even one of the two.

/// The largest f64 that rounded to f32 is `bound` at most.
pub fn up_to(bound: f32) -> f64 {
    let middle = f64::midpoint(widened(bound), widened(bound.next_up()));
    let tie_goes_down = bound.to_bits().is_multiple_of(2);
    if tie_goes_down { middle } else { middle.next_down() }
}

/// The largest f64 that rounded to f32 is less than `bound`.
pub fn below(bound: f32) -> f64 {
    up_to(bound.next_down())
}

/// An infinity counts as 2^128: from the middle between the largest f32 and that on, values round
/// to it.
fn widened(bound: f32) -> f64 {
    if bound.is_infinite() { 2_f64.powi(128).copysign(bound.into()) } else { bound.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(bound: f32) {
        let (largest, below) = (up_to(bound), below(bound));
        assert!(largest as f32 <= bound && largest.next_up() as f32 > bound, "{bound:e}");
        assert!((below as f32) < bound && below.next_up() as f32 >= bound, "{bound:e}");
    }

    #[test]
    fn zeros_denormals_and_the_largest_are_no_exceptions() {
        for bound in [0.0, -0.0, 1e-45, -1e-45, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 1.0] {
            check(bound);
        }
    }

    proptest! {
        #[test]
        fn it_is_the_largest(bound in prop::num::f32::ANY.prop_filter("finite", |b| b.is_finite())) {
            check(bound);
        }
    }
}
