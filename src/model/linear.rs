//! Linear models: each output is an intercept plus Σ weight · v over the columns, then the link.

use ndarray::{ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis, Zip};

use super::columns::Column;
use super::forest::{Precision, plus};
use super::link::Link;

/// Rows whose sums are held in cache while column after column is added.
const BLOCK: usize = 256;

/// A linear model, ready to score.
///
/// Its precision says whose arithmetic it follows, column by column in their order:
///
/// - [`Precision::Double`]: in f64 from 0, the intercept last; a NaN makes the output NaN.
/// - [`Precision::Single`]: XGBoost's `gblinear` (`PredictBatch` in its `gblinear.cc`). In f32
///   from the intercept on, each value, product and sum rounded; a NaN adds nothing.
#[derive(Debug, Clone)]
pub struct Linear {
    columns: Vec<Column>,
    /// Columns × outputs.
    weights: Vec<f64>,
    /// One an output.
    intercepts: Vec<f64>,
    precision: Precision,
    link: Link,
}

/// A worker's buffer.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Outputs × rows of a block.
    sums: Vec<f64>,
}

impl Linear {
    /// `weights` holds column after column a number for each output, `intercepts` one an output.
    /// With [`Precision::Single`] all of them are f32 already.
    ///
    /// # Panics
    /// If there is no output, or the lengths do not agree.
    pub fn new(
        columns: Vec<Column>,
        weights: Vec<f64>,
        intercepts: Vec<f64>,
        precision: Precision,
        link: Link,
    ) -> Self {
        assert!(!intercepts.is_empty(), "an output at least");
        assert_eq!(weights.len(), columns.len() * intercepts.len(), "columns × outputs");
        Self { columns, weights, intercepts, precision, link }
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub fn outputs(&self) -> usize {
        self.intercepts.len()
    }

    pub fn link(&self) -> Link {
        self.link
    }

    /// As [`Model::predict`](super::Model::predict).
    pub fn predict(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        mut out: ArrayViewMut2<'_, f64>,
    ) {
        self.predict_raw(x, scratch, out.view_mut());
        self.link.apply_to_rows(out);
    }

    /// As [`Model::predict_raw`](super::Model::predict_raw).
    pub fn predict_raw(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        mut out: ArrayViewMut2<'_, f64>,
    ) {
        assert_eq!(x.ncols(), self.columns.len(), "columns of the matrix");
        assert_eq!(out.dim(), (x.nrows(), self.outputs()), "shape of the output");
        let blocks = x.axis_chunks_iter(Axis(0), BLOCK);
        for (x, out) in blocks.zip(out.axis_chunks_iter_mut(Axis(0), BLOCK)) {
            match self.precision {
                Precision::Double => self.score_block::<false>(x, &mut scratch.sums, out),
                Precision::Single => self.score_block::<true>(x, &mut scratch.sums, out),
            }
        }
    }

    fn score_block<const SINGLE: bool>(
        &self,
        x: ArrayView2<'_, f64>,
        sums: &mut Vec<f64>,
        mut out: ArrayViewMut2<'_, f64>,
    ) {
        let rows = x.nrows();
        sums.clear();
        for intercept in &self.intercepts {
            sums.resize(sums.len() + rows, if SINGLE { *intercept } else { 0.0 });
        }
        let weights = self.weights.chunks_exact(self.outputs());
        for (column, weights) in x.columns().into_iter().zip(weights) {
            for (sums, weight) in sums.chunks_exact_mut(rows).zip(weights) {
                Zip::from(ArrayViewMut1::from(sums))
                    .and(column)
                    .for_each(|sum, v| *sum = added::<SINGLE>(*sum, *v, *weight));
            }
        }
        let sums = sums.chunks_exact(rows).zip(&self.intercepts);
        for (mut column, (sums, intercept)) in out.columns_mut().into_iter().zip(sums) {
            let last = if SINGLE { 0.0 } else { *intercept };
            column.iter_mut().zip(sums).for_each(|(slot, sum)| *slot = sum + last);
        }
    }
}

/// A sum with one more product. If `SINGLE`, as f32 does it: the product of two f32 is exact in
/// f64, so rounding it is the product in f32; [`plus`] says the same of the sum.
#[inline(always)]
fn added<const SINGLE: bool>(sum: f64, v: f64, weight: f64) -> f64 {
    if !SINGLE {
        return sum + v * weight;
    }
    let product = f64::from(v as f32) * weight;
    if v.is_nan() { sum } else { plus::<true>(sum, f64::from(product as f32)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::columns::ColumnKind;
    use ndarray::{Array2, ShapeBuilder, array};
    use proptest::prelude::*;

    fn columns(count: usize) -> Vec<Column> {
        (0..count).map(|n| Column::named(format!("f{n}"), ColumnKind::Number)).collect()
    }

    fn scores(model: &Linear, x: &Array2<f64>, raw: bool) -> Array2<f64> {
        let mut out = Array2::zeros((x.nrows(), model.outputs()));
        let mut scratch = Scratch::default();
        if raw {
            model.predict_raw(x.view(), &mut scratch, out.view_mut());
        } else {
            model.predict(x.view(), &mut scratch, out.view_mut());
        }
        out
    }

    #[test]
    fn outputs_have_a_weight_a_column_and_an_intercept() {
        let weights = vec![1.0, 10.0, 2.0, 20.0];
        let model =
            Linear::new(columns(2), weights, vec![0.5, -0.5], Precision::Double, Link::Identity);
        let x = array![[3.0, 4.0], [-1.0, 0.0]];
        assert_eq!(scores(&model, &x, false), array![[11.5, 109.5], [-0.5, -10.5]]);
    }

    #[test]
    fn the_link_is_applied_to_a_row() {
        let model =
            |link| Linear::new(columns(1), vec![0.0; 2], vec![7.0; 2], Precision::Double, link);
        let x = array![[1.0]];
        assert_eq!(scores(&model(Link::Softmax), &x, false), array![[0.5, 0.5]]);
        assert_eq!(scores(&model(Link::Softmax), &x, true), array![[7.0, 7.0]]);
    }

    #[test]
    fn what_is_missing_makes_nan_in_double_and_adds_nothing_in_single() {
        let model = |precision| {
            Linear::new(columns(2), vec![2.0, 4.0], vec![1.0], precision, Link::Identity)
        };
        let x = array![[f64::NAN, 0.5]];
        assert!(scores(&model(Precision::Double), &x, true)[[0, 0]].is_nan());
        assert_eq!(scores(&model(Precision::Single), &x, true), array![[3.0]]);
    }

    /// In single precision, with the hardware's own f32.
    fn obvious_single(
        x: &[f64],
        weights: &[f32],
        start: f32,
        outputs: usize,
        output: usize,
    ) -> f32 {
        let mut sum = start;
        for (feature, v) in x.iter().enumerate() {
            if !v.is_nan() {
                sum += *v as f32 * weights[feature * outputs + output];
            }
        }
        sum
    }

    fn obvious_double(
        x: &[f64],
        weights: &[f32],
        intercept: f32,
        outputs: usize,
        output: usize,
    ) -> f64 {
        let mut sum = 0.0;
        for (feature, v) in x.iter().enumerate() {
            sum += v * f64::from(weights[feature * outputs + output]);
        }
        sum + f64::from(intercept)
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![8 => -1e3..1e3, 1 => Just(f64::NAN), 1 => -1e-40..1e-40, 1 => -1e38..1e38]
    }

    proptest! {
        #[test]
        fn sums_are_those_of_an_obvious_loop_to_the_last_bit(
            (rows, features, outputs) in (1_usize..600, 0_usize..5, 1_usize..4),
            values in prop::collection::vec(value(), 37),
            weights in prop::collection::vec(-1e2_f32..1e2, 20),
            intercepts in prop::collection::vec(-1e2_f32..1e2, 3),
        ) {
            let x = Array2::from_shape_fn((rows, features).f(), |(r, f)| values[(r * 7 + f) % 37]);
            let (weights, intercepts) = (&weights[..features * outputs], &intercepts[..outputs]);
            let wide = |list: &[f32]| list.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
            for precision in [Precision::Single, Precision::Double] {
                let (columns, link) = (columns(features), Link::Identity);
                let model = Linear::new(columns, wide(weights), wide(intercepts), precision, link);
                let out = scores(&model, &x, true);
                for ((row, output), found) in out.indexed_iter() {
                    let x = x.row(row).to_vec();
                    let wanted = match precision {
                        Precision::Single =>
                            obvious_single(&x, weights, intercepts[output], outputs, output).into(),
                        Precision::Double =>
                            obvious_double(&x, weights, intercepts[output], outputs, output),
                    };
                    prop_assert!(*found == wanted || found.is_nan() && wanted.is_nan());
                }
            }
        }
    }
}
