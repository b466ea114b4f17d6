//! From a model file, as its library wrote it, to a [`Model`].
//!
//! A file is refused when anything in it is doubtful: a model that loads and is silently wrong
//! is the one failure nobody sees. Importers read what is there and allocate by it, never by
//! what a file merely declares.

#[cfg(test)]
mod damage;
mod lightgbm;

use std::fmt;
use std::ops::Range;

use crate::features::contract::Feature;
use crate::model::Model;
use crate::model::columns::Column;
use crate::model::forest::{Ensemble, Forest};
use crate::model::manifest::{Format, Iterations};
#[cfg(feature = "onnx")]
use crate::model::onnx::{self, Onnx};

/// A model file, and what it is read by.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub format: Format,
    pub bytes: &'a [u8],
    /// The iterations that score; without it all do.
    pub iterations: Option<Iterations>,
    /// The contract. Some formats name categories by what they are, not by their codes.
    pub features: &'a [Feature],
}

/// Reads a model file.
pub fn import(source: Source<'_>) -> Result<Model, ImportError> {
    match source.format {
        Format::Lightgbm => Ok(Model::Forest(Forest::new(ensemble(source)?))),
        #[cfg(feature = "onnx")]
        Format::Onnx => Ok(Model::Onnx(Onnx::import(source)?)),
        #[cfg(not(feature = "onnx"))]
        Format::Onnx => Err(without_onnx()),
    }
}

/// The trees of a model file, before the engine's forms are made of them.
pub(super) fn ensemble(source: Source<'_>) -> Result<Ensemble, ImportError> {
    match source.format {
        Format::Lightgbm => lightgbm::read(source),
        Format::Onnx => Err(ImportError::new("an ONNX model is no ensemble of trees")),
    }
}

/// What a model file says of its columns, for a contract that is still to be written.
pub fn columns(format: Format, bytes: &[u8]) -> Result<Vec<Column>, ImportError> {
    match format {
        Format::Lightgbm => Ok(lightgbm::read(Source::new(format, bytes))?.columns),
        #[cfg(feature = "onnx")]
        Format::Onnx => onnx::columns(bytes),
        #[cfg(not(feature = "onnx"))]
        Format::Onnx => Err(without_onnx()),
    }
}

#[cfg(not(feature = "onnx"))]
fn without_onnx() -> ImportError {
    ImportError::new("this foretell was built without the feature `onnx`")
}

impl<'a> Source<'a> {
    /// A file that says all there is to know.
    pub fn new(format: Format, bytes: &'a [u8]) -> Self {
        Self { format, bytes, iterations: None, features: &[] }
    }
}

/// Those of a model's `count` iterations that score.
fn chosen(iterations: Option<Iterations>, count: usize) -> Result<Range<usize>, ImportError> {
    let Some(Iterations { from, to }) = iterations else { return Ok(0..count) };
    if from < to && to <= count {
        return Ok(from..to);
    }
    let what = format!("iterations {from} to {to} were asked for, the model has {count}");
    Err(ImportError::new(what))
}

/// Why a model file is refused: what is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}{place}")]
pub struct ImportError {
    what: String,
    place: Place,
}

/// Where in the file. Either part may be unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Place {
    /// Counted from 0, as model files do.
    tree: Option<usize>,
    /// Counted from 1, as editors do.
    line: Option<usize>,
}

impl ImportError {
    pub(in crate::model) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), place: Place::default() }
    }

    fn at_line(mut self, line: usize) -> Self {
        self.place.line.get_or_insert(line);
        self
    }

    fn in_tree(mut self, tree: usize) -> Self {
        self.place.tree.get_or_insert(tree);
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.tree, self.line) {
            (Some(tree), Some(line)) => write!(f, " (tree {tree}, line {line})"),
            (Some(tree), None) => write!(f, " (tree {tree})"),
            (None, Some(line)) => write!(f, " (line {line})"),
            (None, None) => Ok(()),
        }
    }
}
