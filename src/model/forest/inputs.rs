//! What the trees read: the columns they test, each brought to one way of reading a value.

use ndarray::ArrayView2;

use super::tree::{Coding, Split, Test, Tree, ZERO};

/// The code of a value that is no category: beyond every set.
const NO_CATEGORY: f64 = u32::MAX as f64;

/// Codes that XGBoost knows: as far as f32 counts (`OutOfRangeCat` in its `categorical.h`).
pub const SINGLE_CODES: u32 = 1 << 24;

/// A column of the matrix as splits read it. Splits that read a column in two ways have two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    pub feature: usize,
    pub reading: Reading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// The value as it is.
    Number,
    /// Zeros, which are all |v| ≤ [`ZERO`], as NaN.
    ZeroIsMissing,
    /// A category's code: a whole number from 0. What is none is a code beyond every set, except
    /// NaN, which stays one.
    Category(Coding),
}

impl Input {
    pub fn of(split: &Split) -> Self {
        let reading = match split.test {
            Test::Number { zero_is_missing: false, .. } => Reading::Number,
            Test::Number { zero_is_missing: true, .. } => Reading::ZeroIsMissing,
            Test::Category { coding, .. } => Reading::Category(coding),
        };
        Self { feature: split.feature, reading }
    }

    /// A column whose values are read as they are.
    pub fn number(feature: usize) -> Self {
        Self { feature, reading: Reading::Number }
    }

    /// Reads a value of the column.
    #[inline(always)]
    pub fn read(&self, v: f64) -> f64 {
        match self.reading {
            Reading::Number => v,
            Reading::ZeroIsMissing => {
                if v.abs() <= ZERO {
                    f64::NAN
                } else {
                    v
                }
            }
            Reading::Category(coding) => category(v, coding),
        }
    }

    /// Reads the column's rows into `into`, which may be longer.
    #[inline(always)]
    pub fn read_column(&self, x: ArrayView2<'_, f64>, into: &mut [f64]) {
        let column = x.column(self.feature);
        match column.to_slice() {
            Some(column) => into[..column.len()].copy_from_slice(column),
            None => into.iter_mut().zip(column).for_each(|(slot, v)| *slot = *v),
        }
        if self.reading != Reading::Number {
            into.iter_mut().for_each(|v| *v = self.read(*v));
        }
    }
}

#[inline(always)]
fn category(v: f64, coding: Coding) -> f64 {
    let (known, code) = match coding {
        Coding::Truncated => (v > -1.0 && v <= f64::from(i32::MAX), v.trunc()),
        Coding::Single => {
            let v = v as f32;
            (v >= 0.0 && v < SINGLE_CODES as f32, f64::from(v.trunc()))
        }
    };
    if known || v.is_nan() { code } else { NO_CATEGORY }
}

/// Every input of an ensemble, in the order of columns.
#[derive(Debug)]
pub struct Inputs {
    list: Vec<Input>,
}

impl Inputs {
    pub fn of(trees: &[Tree]) -> Self {
        let splits = trees.iter().flat_map(Tree::splits).map(Input::of);
        let terms = trees.iter().flat_map(Tree::linear).flat_map(|linear| &linear.terms);
        let terms = terms.map(|term| Input::number(term.feature));
        let mut list: Vec<Input> = splits.chain(terms).collect();
        list.sort_unstable();
        list.dedup();
        Self { list }
    }

    /// The place in the list of an input, which must be one of these trees'.
    pub fn place(&self, wanted: Input) -> usize {
        self.list.partition_point(|input| *input < wanted)
    }

    /// The column of the matrix that an input reads.
    pub fn feature(&self, place: usize) -> usize {
        self.list[place].feature
    }

    /// Numbers a row of [`Self::read_rows`]; 1 at least, so that a leaf too has something to read.
    pub fn width(&self) -> usize {
        self.list.len().max(1)
    }

    /// Reads rows into `into`, rows × width, row-major: a walk down a tree then stays within a
    /// few cache lines.
    pub fn read_rows(&self, x: ArrayView2<'_, f64>, into: &mut Vec<f64>) {
        let width = self.width();
        into.clear();
        into.resize(x.nrows() * width, 0.0);
        for (place, input) in self.list.iter().enumerate() {
            let slots = into.iter_mut().skip(place).step_by(width);
            slots.zip(x.column(input.feature)).for_each(|(slot, v)| *slot = input.read(*v));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_truncated_toward_zero_and_bounded_by_i32() {
        let code = |v| category(v, Coding::Truncated);
        for (v, wanted) in [(-0.5, 0.0), (3.9, 3.0), (2_147_483_647.0, 2_147_483_647.0)] {
            assert_eq!(code(v), wanted, "{v}");
        }
        for v in [-1.0, 2_147_483_648.0, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(code(v), NO_CATEGORY, "{v}");
        }
        assert!(code(f64::NAN).is_nan());
    }

    #[test]
    fn categories_of_single_precision_are_rounded_and_none_below_zero() {
        let code = |v| category(v, Coding::Single);
        for (v, wanted) in [(-0.0, 0.0), (2.999_999_999, 3.0), (16_777_215.0, 16_777_215.0)] {
            assert_eq!(code(v), wanted, "{v}");
        }
        for v in [-0.5, 16_777_216.0, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(code(v), NO_CATEGORY, "{v}");
        }
        assert!(code(f64::NAN).is_nan());
    }
}
