//! From a model file, as its library wrote it, to a [`Model`].
//!
//! A file is refused when anything in it is doubtful: a model that loads and is silently wrong
//! is the one failure nobody sees. Importers read what is there and allocate by it, never by
//! what a file merely declares.

#[cfg(test)]
mod damage;
mod lightgbm;

use std::fmt;

use crate::model::Model;
use crate::model::forest::{Ensemble, Forest};
use crate::model::manifest::Format;

/// Reads a model file of the given format.
pub fn import(format: Format, bytes: &[u8]) -> Result<Model, ImportError> {
    Ok(Model::Forest(Forest::new(ensemble(format, bytes)?)))
}

/// The trees of a model file, before the engine's forms are made of them.
pub(super) fn ensemble(format: Format, bytes: &[u8]) -> Result<Ensemble, ImportError> {
    match format {
        Format::Lightgbm => lightgbm::read(bytes),
    }
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
    fn new(what: impl Into<String>) -> Self {
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
