//! From a model file, as its library wrote it, to a [`Model`].
//!
//! A file is refused when anything in it is doubtful: a model that loads and is silently wrong
//! is the one failure nobody sees. Importers read what is there and allocate by it, never by
//! what a file merely declares.

mod catboost;
#[cfg(test)]
mod damage;
pub mod forest;
mod json;
mod lightgbm;
pub mod linear;
mod recognise;
mod sniff;
mod xgboost;

pub use recognise::recognise;

use std::fmt;
use std::ops::Range;

use crate::features::contract::Feature;
use crate::model::Model;
use crate::model::columns::Column;
use crate::model::forest::{Ensemble, Forest};
use crate::model::linear::Linear;
use crate::model::link::Link;
use crate::model::manifest::{Format, Iterations, TaskKind};
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

/// What a model file holds, before the engine's forms are made of it.
#[derive(Debug)]
pub enum Parsed {
    Forest(Ensemble),
    Linear(Linear),
}

/// The iterations up to the best one of early stopping, and all of them.
pub type Best = (usize, usize);

/// What a model file says of itself that is not for scoring.
#[derive(Debug)]
pub struct Facts {
    /// For a contract that is still to be written.
    pub columns: Vec<Column>,
    /// What its outputs look like.
    pub kind: TaskKind,
    /// Where the file tells.
    pub best: Option<Best>,
}

/// Reads a model file.
pub fn import(source: Source<'_>) -> Result<Model, ImportError> {
    if source.format == Format::Onnx {
        return onnx(source);
    }
    Ok(match parse(source)? {
        Parsed::Forest(ensemble) => Model::Forest(Forest::new(ensemble).into()),
        Parsed::Linear(linear) => Model::Linear(linear),
    })
}

/// Reads a model file as far as its neutral form: [`import`] makes a model of it.
pub fn parse(source: Source<'_>) -> Result<Parsed, ImportError> {
    match source.format {
        Format::Catboost => catboost::read(source).map(Parsed::Forest),
        Format::Forest => forest::read(source).map(Parsed::Forest),
        Format::Lightgbm => lightgbm::read(source).map(Parsed::Forest),
        Format::Linear => linear::read(source).map(Parsed::Linear),
        Format::Onnx => Err(ImportError::new("an ONNX model is a graph, which has no such form")),
        Format::Xgboost => xgboost::read_with_best(source).map(|(parsed, _)| parsed),
    }
}

/// Reads of a model file what there is to know before a contract is written.
pub fn facts(format: Format, bytes: &[u8]) -> Result<Facts, ImportError> {
    if format == Format::Onnx {
        return onnx_facts(bytes);
    }
    let source = Source::new(format, bytes);
    let (parsed, best) = match format {
        Format::Xgboost => xgboost::read_with_best(source)?,
        _ => (parse(source)?, None),
    };
    let (columns, outputs, link) = match parsed {
        Parsed::Forest(ensemble) => (ensemble.columns, ensemble.sum.start.len(), ensemble.link),
        Parsed::Linear(linear) => (linear.columns().to_vec(), linear.outputs(), linear.link()),
    };
    Ok(Facts { columns, kind: kind(format, link, outputs), best })
}

#[cfg(feature = "onnx")]
fn onnx(source: Source<'_>) -> Result<Model, ImportError> {
    Ok(Model::Onnx(Onnx::import(source)?.into()))
}

#[cfg(feature = "onnx")]
fn onnx_facts(bytes: &[u8]) -> Result<Facts, ImportError> {
    onnx::facts(bytes).map(|(columns, kind)| Facts { columns, kind, best: None })
}

#[cfg(not(feature = "onnx"))]
fn onnx(_: Source<'_>) -> Result<Model, ImportError> {
    Err(without_onnx())
}

#[cfg(not(feature = "onnx"))]
fn onnx_facts(_: &[u8]) -> Result<Facts, ImportError> {
    Err(without_onnx())
}

#[cfg(not(feature = "onnx"))]
fn without_onnx() -> ImportError {
    ImportError::new("this foretell was built without the feature `onnx`")
}

fn kind(format: Format, link: Link, outputs: usize) -> TaskKind {
    match (link, outputs) {
        (Link::Sigmoid { .. } | Link::Step, 1) => TaskKind::Binary,
        // Several labels, of which any number may be true.
        (Link::Sigmoid { .. }, _) if format == Format::Xgboost => TaskKind::Regression,
        (Link::Softmax | Link::Sigmoid { .. }, _) => TaskKind::Multiclass,
        _ => TaskKind::Regression,
    }
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
