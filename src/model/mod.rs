//! Models: what a bundle holds, and how a matrix becomes predictions.

pub mod bundle;
pub mod columns;
pub mod forest;
pub mod gate;
pub mod import;
pub mod linear;
pub mod link;
pub mod manifest;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod packing;
pub mod psi;
pub mod reference;
pub mod signature;
pub mod store;
pub mod traffic;
pub mod version;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod damage;
#[cfg(test)]
pub mod tiny;

use ndarray::{ArrayView2, ArrayViewMut2};

use columns::Column;
use forest::Forest;
use linear::Linear;

/// A model of any kind, ready to score.
#[derive(Debug)]
pub enum Model {
    Forest(Box<Forest>),
    Linear(Linear),
    /// Run by Microsoft's runtime.
    #[cfg(feature = "onnx")]
    Onnx(Box<onnx::Onnx>),
}

/// A worker's buffers. They grow to what the largest model needs and are then reused, so that
/// steady state allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    forest: forest::Scratch,
    linear: linear::Scratch,
    #[cfg(feature = "onnx")]
    onnx: onnx::Scratch,
}

impl Model {
    /// What the model file says of its columns, in their order.
    pub fn columns(&self) -> &[Column] {
        match self {
            Self::Forest(forest) => forest.columns(),
            Self::Linear(linear) => linear.columns(),
            #[cfg(feature = "onnx")]
            Self::Onnx(model) => model.columns(),
        }
    }

    /// Numbers a row: 1, or one a class.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Forest(forest) => forest.outputs(),
            Self::Linear(linear) => linear.outputs(),
            #[cfg(feature = "onnx")]
            Self::Onnx(model) => model.outputs(),
        }
    }

    /// Where its trees split numbers, by column: rising. Empty for a model that is no forest.
    pub fn thresholds(&self) -> Vec<Vec<f64>> {
        match self {
            Self::Forest(forest) => forest.thresholds(),
            _ => Vec::new(),
        }
    }

    /// What the training library's `predict` gives: raw scores, then the objective's transform.
    ///
    /// `x` is rows × features, NaN where a value is missing; a column's rows stand one after
    /// another, and it may be a slice of a larger matrix. `out` is rows × [`Self::outputs`].
    pub fn predict(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        out: ArrayViewMut2<'_, f64>,
    ) {
        match self {
            Self::Forest(forest) => forest.predict(x, &mut scratch.forest, out),
            Self::Linear(linear) => linear.predict(x, &mut scratch.linear, out),
            #[cfg(feature = "onnx")]
            Self::Onnx(model) => model.predict(x, &mut scratch.onnx, out),
        }
    }

    /// [`Self::predict`] with buffers of its own.
    #[cfg(test)]
    pub fn outputs_of(&self, x: &ndarray::Array2<f64>) -> ndarray::Array2<f64> {
        let mut out = ndarray::Array2::zeros((x.nrows(), self.outputs()));
        self.predict(x.view(), &mut Scratch::default(), out.view_mut());
        out
    }

    /// The scores before the transform (log-odds, logarithms, class scores): shapes as in
    /// [`Self::predict`].
    pub fn predict_raw(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        out: ArrayViewMut2<'_, f64>,
    ) {
        match self {
            Self::Forest(forest) => forest.predict_raw(x, &mut scratch.forest, out),
            Self::Linear(linear) => linear.predict_raw(x, &mut scratch.linear, out),
            // The graph does both: there is nothing before its outputs.
            #[cfg(feature = "onnx")]
            Self::Onnx(model) => model.predict(x, &mut scratch.onnx, out),
        }
    }
}

/// The class of the largest output, the first of equal ones, as `numpy.argmax` has it.
pub fn largest(outputs: &[f64]) -> usize {
    let mut best = 0;
    for (class, output) in outputs.iter().enumerate() {
        if *output > outputs[best] {
            best = class;
        }
    }
    best
}
