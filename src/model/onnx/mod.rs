//! ONNX models: what scikit-learn's pipelines and neural networks are exported to.
//!
//! A file is read here first ([`file`]): its inputs and outputs ([`signature`]), and what in it would
//! mislead the runtime. Microsoft's runtime then runs it ([`library`], [`sessions`]) on tensors made
//! of the matrix's rows ([`feed`]).
//!
//! Numbers of the matrix are f64; most models take f32 and give f32.

#[cfg(test)]
mod damage;
mod element;
mod feed;
mod file;
mod library;
mod proto;
mod sessions;
mod signature;
mod tensors;
mod terms;
#[cfg(test)]
mod tests;
mod trees;
mod wiring;
mod zipmap;

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, ShapeBuilder};

use crate::features::contract::{Feature, Kind, Term};
use crate::model::columns::Column;
use crate::model::import::{ImportError, Source};
use crate::model::manifest::TaskKind;
use feed::Feed;
use sessions::{Ready, Sessions};
use signature::{Cells, Signature};

#[derive(Debug)]
pub struct Onnx {
    signature: Signature,
    columns: Vec<Column>,
    /// Of each column the strings by code; none for numbers.
    vocabularies: Vec<Vec<Arc<str>>>,
    sessions: Sessions,
    /// Numbers a row of each output that is asked for.
    widths: Vec<usize>,
    /// A classifier of two classes: of its two numbers a row, the second is the prediction.
    binary: bool,
}

/// A worker's buffers.
#[derive(Debug, Default)]
pub struct Scratch {
    feed: Feed,
    /// Of each output, all that the last run gave.
    numbers: Vec<Vec<f64>>,
}

/// What a file says of its columns and classes. Needs no runtime.
pub fn facts(bytes: &[u8]) -> Result<(Vec<Column>, TaskKind), ImportError> {
    let signature = Signature::read(&file::read(bytes)?.graph, None)?;
    let kind = match (signature.classifies, signature.classes) {
        (true, Some(2)) => TaskKind::Binary,
        (true, _) => TaskKind::Multiclass,
        (false, _) => TaskKind::Regression,
    };
    Ok((signature.columns(), kind))
}

impl Onnx {
    /// Reads a file and runs one row through it.
    pub fn import(source: Source<'_>) -> Result<Self, ImportError> {
        if source.iterations.is_some() {
            return Err(ImportError::new("an ONNX model has no iterations to choose from"));
        }
        let file = file::read(source.bytes)?;
        let contract = (!source.features.is_empty()).then_some(source.features.len());
        let signature = Signature::read(&file.graph, contract)?;
        let vocabularies = vocabularies(&signature, source.features)?;
        let refuse = |error| ImportError::new(format!("the ONNX Runtime refuses it: {error}"));
        let sessions = Sessions::new(library::open()?, file.bytes, signature.outputs.clone())
            .map_err(refuse)?;
        let columns = signature.columns();
        let mut model =
            Self { signature, columns, vocabularies, sessions, widths: Vec::new(), binary: false };
        model.widths = model.try_a_row()?;
        model.binary = model.signature.classifies && model.widths.iter().sum::<usize>() == 2;
        Ok(model)
    }

    /// Numbers a row of each output: files need not say, and what they say need not be so.
    fn try_a_row(&self) -> Result<Vec<usize>, ImportError> {
        let x = Array2::zeros((1, self.columns.len()).f());
        let height = self.height(1);
        let mut scratch = Scratch::default();
        self.sessions
            .with(|ready| self.run(ready, x.view(), &mut scratch))
            .map_err(|error| ImportError::new(format!("it does not run: {error}")))?;
        let mut widths = Vec::new();
        for (name, numbers) in self.sessions.outputs().iter().zip(&scratch.numbers) {
            if numbers.is_empty() || numbers.len() % height != 0 {
                let what =
                    format!("output `{name}` gives {} numbers for {height} rows", numbers.len());
                return Err(ImportError::new(what));
            }
            widths.push(numbers.len() / height);
        }
        if widths.len() > 1 && widths.iter().any(|width| *width != 1) {
            let names = self.sessions.outputs().join("`, `");
            return Err(ImportError::new(format!(
                "which of the outputs `{names}` is the prediction is not said: keep one"
            )));
        }
        Ok(widths)
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// One for a regression, a score, or the probability of the second of two classes; else one a
    /// class, in the model's order.
    pub fn outputs(&self) -> usize {
        if self.binary { 1 } else { self.widths.iter().sum() }
    }

    /// Fills `out` (rows × [`Self::outputs`]) for `x` (rows × columns). A row that the model cannot
    /// score gets NaN, and no other row suffers for it.
    pub fn predict(
        &self,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        mut out: ArrayViewMut2<'_, f64>,
    ) {
        let step = self.signature.batch.unwrap_or_else(|| x.nrows().max(1));
        let scored = self.sessions.with(|ready| {
            let chunks = x.axis_chunks_iter(Axis(0), step);
            for (x, out) in chunks.zip(out.axis_chunks_iter_mut(Axis(0), step)) {
                self.score(ready, x, scratch, out);
            }
            Ok(())
        });
        // No session is to be had: the library gives no reason that a row could be told.
        if scored.is_err() {
            out.fill(f64::NAN);
        }
    }

    /// Scores rows together; if that fails, each half of them apart, down to the row at fault.
    fn score(
        &self,
        ready: &mut Ready,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        mut out: ArrayViewMut2<'_, f64>,
    ) {
        let ran = self.run(ready, x, scratch).is_ok();
        if ran && self.collect(scratch, &mut out) {
            return;
        }
        let rows = x.nrows();
        if rows < 2 {
            return out.fill(f64::NAN);
        }
        let (upper, lower) = x.split_at(Axis(0), rows / 2);
        let (out_upper, out_lower) = out.split_at(Axis(0), rows / 2);
        self.score(ready, upper, scratch, out_upper);
        self.score(ready, lower, scratch, out_lower);
    }

    fn run(
        &self,
        ready: &mut Ready,
        x: ArrayView2<'_, f64>,
        scratch: &mut Scratch,
    ) -> Result<(), ort::Error> {
        let Scratch { feed, numbers } = scratch;
        let height = self.height(x.nrows());
        let inputs = feed.tensors(&self.signature.inputs, &self.vocabularies, x, height)?;
        ready.run(&inputs, self.sessions.outputs(), numbers)
    }

    /// Copies what a run gave; false if it is not what its rows should have given.
    fn collect(&self, scratch: &Scratch, out: &mut ArrayViewMut2<'_, f64>) -> bool {
        let height = self.height(out.nrows());
        let mut outputs = scratch.numbers.iter().zip(&self.widths);
        if outputs.any(|(numbers, width)| numbers.len() != height * width) {
            return false;
        }
        let skipped = usize::from(self.binary);
        for (number, mut row) in out.rows_mut().into_iter().enumerate() {
            if scratch.feed.unfit[number] {
                row.fill(f64::NAN);
                continue;
            }
            let outputs = scratch.numbers.iter().zip(&self.widths);
            let numbers =
                outputs.flat_map(|(numbers, width)| &numbers[number * width..(number + 1) * width]);
            for (cell, value) in row.iter_mut().zip(numbers.skip(skipped)) {
                *cell = *value;
            }
        }
        true
    }

    /// Rows of the tensors in which so many rows are fed.
    fn height(&self, rows: usize) -> usize {
        self.signature.batch.unwrap_or(rows)
    }
}

/// The strings that the codes in text columns stand for: the contract's.
fn vocabularies(
    signature: &Signature,
    features: &[Feature],
) -> Result<Vec<Vec<Arc<str>>>, ImportError> {
    let mut vocabularies = Vec::new();
    for input in &signature.inputs {
        for _ in 0..input.columns {
            let feature = features.get(vocabularies.len());
            vocabularies.push(match (input.cells, feature.map(|feature| &feature.kind)) {
                (Cells::Text, Some(Kind::Category { vocabulary, .. })) => {
                    vocabulary.iter().map(|term| text(term).into()).collect()
                }
                (Cells::Text, _) => {
                    return Err(ImportError::new(format!(
                        "input `{}` takes strings: the contract has no category for it",
                        input.name
                    )));
                }
                _ => Vec::new(),
            });
        }
    }
    Ok(vocabularies)
}

/// A category as a string: numbers and booleans as JSON writes them.
fn text(term: &Term) -> String {
    match term {
        Term::Text(text) => text.clone(),
        term => term.to_string(),
    }
}
