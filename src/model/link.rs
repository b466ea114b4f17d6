//! From a row of raw scores to what the training library's `predict` gives.

use ndarray::ArrayViewMut2;

/// An objective's output transform, in place on one row of scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Link {
    Identity,
    /// 1 / (1 + exp(-scale · x)), each score on its own.
    Sigmoid {
        scale: f64,
    },
    /// exp(x) over the sum of all classes' exp(x).
    Softmax,
    Exp,
    /// ln(1 + exp(x)).
    Log1pExp,
    /// sign(x) · x².
    SignedSquare,
    /// 1 above zero, else 0.
    Step,
}

impl Link {
    /// Transforms each row of `out`.
    ///
    /// # Panics
    /// If `out` is not row-major.
    pub fn apply_to_rows(self, mut out: ArrayViewMut2<'_, f64>) {
        for mut row in out.rows_mut() {
            self.apply(row.as_slice_mut().expect("`out` is row-major"));
        }
    }

    pub fn apply(self, row: &mut [f64]) {
        let each: fn(f64) -> f64 = match self {
            Self::Identity => return,
            Self::Softmax => return softmax(row),
            Self::Sigmoid { scale } => {
                row.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-scale * *x).exp()));
                return;
            }
            Self::Exp => f64::exp,
            Self::Log1pExp => |x| x.exp().ln_1p(),
            Self::SignedSquare => |x| x.signum() * x * x,
            Self::Step => |x| f64::from(u8::from(x > 0.0)),
        };
        row.iter_mut().for_each(|x| *x = each(*x));
    }
}

/// The largest score is taken off first, as LightGBM does: exp then never overflows.
fn softmax(row: &mut [f64]) {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(link: Link, row: &[f64]) -> Vec<f64> {
        let mut row = row.to_vec();
        link.apply(&mut row);
        row
    }

    #[test]
    fn softmax_does_not_overflow() {
        assert_eq!(applied(Link::Softmax, &[1000.0, 1000.0]), [0.5, 0.5]);
    }

    #[test]
    fn a_signed_square_keeps_the_sign() {
        assert_eq!(applied(Link::SignedSquare, &[-3.0, 2.0, 0.0]), [-9.0, 4.0, 0.0]);
    }

    #[test]
    fn a_sigmoid_is_a_half_at_zero_whatever_its_scale() {
        assert_eq!(applied(Link::Sigmoid { scale: 0.7 }, &[0.0]), [0.5]);
    }
}
