//! Rows of the matrix as the tensors that a model is fed.

use std::sync::Arc;

use ndarray::{ArrayView2, s};
use ort::session::SessionInputValue;
use ort::value::{Tensor, TensorRef};

use super::signature::{Cells, Input};

/// A worker's buffers: the cells of each input, and which rows cannot be fed.
#[derive(Debug, Default)]
pub struct Feed {
    buffers: Vec<Buffer>,
    /// Rows with a value that their input cannot hold. They are fed zeros in its place, so that
    /// the batch goes on, and get no prediction.
    pub unfit: Vec<bool>,
}

/// An input's cells, row by row. Strings are copied by the runtime, they have no buffer.
#[derive(Debug)]
enum Buffer {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    Boolean(Vec<bool>),
    Text,
}

impl Feed {
    /// The inputs for the rows of `x`, which has the columns of all of them, one after another. A
    /// tensor has `height` rows; those beyond x's repeat its last.
    ///
    /// `vocabularies` has the strings of each column, by code; none for columns of numbers.
    pub fn tensors<'a>(
        &'a mut self,
        inputs: &[Input],
        vocabularies: &[Vec<Arc<str>>],
        x: ArrayView2<'_, f64>,
        height: usize,
    ) -> Result<Vec<SessionInputValue<'a>>, ort::Error> {
        self.unfit.clear();
        self.unfit.resize(x.nrows(), false);
        self.buffers.truncate(inputs.len());
        let mut first = 0;
        for (number, input) in inputs.iter().enumerate() {
            let columns = x.slice(s![.., first..first + input.columns]);
            self.fill(number, input.cells, columns, height);
            first += input.columns;
        }
        let mut tensors = Vec::with_capacity(inputs.len());
        let mut first = 0;
        for (input, buffer) in inputs.iter().zip(&self.buffers) {
            let mut shape = vec![height, input.columns];
            shape.truncate(if input.flat { 1 } else { 2 });
            let columns = first..first + input.columns;
            tensors.push(match buffer {
                Buffer::F32(cells) => TensorRef::from_array_view((shape, &cells[..]))?.into(),
                Buffer::F64(cells) => TensorRef::from_array_view((shape, &cells[..]))?.into(),
                Buffer::I32(cells) => TensorRef::from_array_view((shape, &cells[..]))?.into(),
                Buffer::I64(cells) => TensorRef::from_array_view((shape, &cells[..]))?.into(),
                Buffer::Boolean(cells) => TensorRef::from_array_view((shape, &cells[..]))?.into(),
                Buffer::Text => {
                    let x = x.slice(s![.., columns.clone()]);
                    let cells = strings(x, &vocabularies[columns], height);
                    Tensor::from_string_array((shape, &cells[..]))?.into()
                }
            });
            first += input.columns;
        }
        Ok(tensors)
    }

    /// Makes the buffer of an input, of its kind, and fills it.
    fn fill(&mut self, number: usize, cells: Cells, x: ArrayView2<'_, f64>, height: usize) {
        if number == self.buffers.len() {
            self.buffers.push(Buffer::Text);
        }
        let unfit = &mut self.unfit;
        // A buffer of the same kind is used again; another model may have had another kind.
        match (cells, &mut self.buffers[number]) {
            (Cells::F32, Buffer::F32(buffer)) => {
                lay(buffer, x, height, unfit, |value| Some(value as f32));
            }
            (Cells::F64, Buffer::F64(buffer)) => lay(buffer, x, height, unfit, Some),
            (Cells::I32, Buffer::I32(buffer)) => {
                lay(buffer, x, height, unfit, |value| i32::try_from(integer(value)?).ok());
            }
            (Cells::I64, Buffer::I64(buffer)) => lay(buffer, x, height, unfit, integer),
            (Cells::Boolean, Buffer::Boolean(buffer)) => lay(buffer, x, height, unfit, boolean),
            (Cells::Text, Buffer::Text) => {}
            (cells, buffer) => {
                *buffer = match cells {
                    Cells::F32 => Buffer::F32(Vec::new()),
                    Cells::F64 => Buffer::F64(Vec::new()),
                    Cells::I32 => Buffer::I32(Vec::new()),
                    Cells::I64 => Buffer::I64(Vec::new()),
                    Cells::Boolean => Buffer::Boolean(Vec::new()),
                    Cells::Text => Buffer::Text,
                };
                self.fill(number, cells, x, height);
            }
        }
    }
}

/// Lays the columns of `x` out row by row; a value that `convert` has nothing for marks its row.
fn lay<T: Copy + Default>(
    buffer: &mut Vec<T>,
    x: ArrayView2<'_, f64>,
    height: usize,
    unfit: &mut [bool],
    convert: impl Fn(f64) -> Option<T>,
) {
    let (rows, columns) = x.dim();
    buffer.clear();
    buffer.resize(rows * columns, T::default());
    for (number, column) in x.columns().into_iter().enumerate() {
        for (row, value) in column.iter().enumerate() {
            match convert(*value) {
                Some(cell) => buffer[row * columns + number] = cell,
                None => unfit[row] = true,
            }
        }
    }
    for _ in rows..height {
        buffer.extend_from_within((rows - 1) * columns..rows * columns);
    }
}

/// Nothing for a missing value, a fraction, or more than an i64 holds: to feed another number than
/// the event's would give a prediction for another event. (A contract may say what number a missing
/// value counts as.)
fn integer(value: f64) -> Option<i64> {
    const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0; // 2^63
    let fits = value.fract() == 0.0 && (-TOO_LARGE..TOO_LARGE).contains(&value);
    fits.then_some(value as i64)
}

fn boolean(value: f64) -> Option<bool> {
    match value {
        0.0 => Some(false),
        1.0 => Some(true),
        _ => None,
    }
}

/// The strings whose codes stand in `x`, row by row.
///
/// ONNX has no missing string. What is missing or in no vocabulary is fed as the empty string,
/// which encoders that ignore unknown categories treat as one; unless the empty string is itself
/// in the vocabulary, when it is that category.
fn strings(x: ArrayView2<'_, f64>, vocabularies: &[Vec<Arc<str>>], height: usize) -> Vec<Arc<str>> {
    let missing: Arc<str> = Arc::from("");
    let last = x.nrows() - 1;
    let mut cells = Vec::with_capacity(height * x.ncols());
    for row in 0..height {
        for (code, vocabulary) in x.row(row.min(last)).iter().zip(vocabularies) {
            // A code is a whole number from 0 on; NaN is none.
            let known = integer(*code).and_then(|code| usize::try_from(code).ok());
            cells.push(known.and_then(|code| vocabulary.get(code)).unwrap_or(&missing).clone());
        }
    }
    cells
}
