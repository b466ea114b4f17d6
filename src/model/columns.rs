//! What a model file says of its columns: names, kinds, and the categories it knows.

use crate::features::contract::{Feature, Kind, Term, Unknown};

/// One column of the matrix, as the model file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The model's own name, or one made of the column's number.
    pub name: String,
    /// False where the name is made up: a model trained on a bare array has none.
    pub named: bool,
    pub kind: ColumnKind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ColumnKind {
    Number,
    /// Categories by their codes; which category has which code, the file does not say.
    Codes,
    /// Categories whose code is their place in this list: the contract has to have the same.
    Coded(Vec<Term>),
    /// Categories that are given as they are; those that the file knows, in no order that matters.
    Terms(Vec<Term>),
    /// The model does not read it, and its file does not say what it was.
    Unused,
}

impl Column {
    pub fn named(name: impl Into<String>, kind: ColumnKind) -> Self {
        Self { name: name.into(), named: true, kind }
    }
}

/// The contract of events that carry each column under its own name: what `foretell model pack
/// --propose-contract` proposes.
pub fn propose(columns: &[Column]) -> Vec<Feature> {
    let feature = |column: &Column| Feature {
        name: column.name.clone(),
        path: format!("/{}", column.name.replace('~', "~0").replace('/', "~1")),
        kind: match &column.kind {
            ColumnKind::Number | ColumnKind::Codes | ColumnKind::Unused => Kind::Number,
            ColumnKind::Coded(terms) | ColumnKind::Terms(terms) => {
                Kind::Category { vocabulary: terms.clone(), unknown: Unknown::Missing }
            }
        },
        required: false,
        missing: None,
    };
    columns.iter().map(feature).collect()
}
