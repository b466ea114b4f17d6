//! The contract: which fields of an event are the model's features, and what they may hold.

use std::collections::HashSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::path::PointerFault;

/// One column of the matrix, described by where its value stands in the event and of what kind
/// it is. The features of a manifest stand in the order of the model's columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// The model's own name for the column.
    pub name: String,
    /// JSON pointer (RFC 6901) to the value in the event, such as `/departure/delay`.
    pub path: String,
    pub kind: Kind,
    /// An event in which the value is absent or null is a dead letter.
    #[serde(default)]
    pub required: bool,
    /// What an absent or null value counts as. Without it: missing, a NaN in the matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<f64>,
}

/// What a feature's JSON value may be, and how it becomes a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// A JSON number, as it is.
    Number,
    /// `true` is 1, `false` is 0.
    Boolean,
    /// A scalar of the vocabulary; its place there is the number.
    Category {
        vocabulary: Vec<Term>,
        #[serde(default)]
        unknown: Unknown,
    },
    /// A part of an ISO 8601 date and time, such as `2013-01-01T05:15:00-05:00`.
    Timestamp { part: Part },
}

/// One entry of a vocabulary. `1`, `true` and `"1"` are three different categories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Term {
    Text(String),
    Boolean(bool),
    Number(f64),
}

/// What becomes of a category that is not in the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// It counts as missing.
    #[default]
    Missing,
    /// The event is a dead letter.
    Reject,
    /// All unknown ones share one code: the number of entries in the vocabulary.
    Code,
}

/// A part of a timestamp. All but `epoch_seconds` are read off the clock as it is written: the
/// hour of `05:15:00-05:00` is 5 whatever the zone of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// 1 to 12.
    Month,
    /// Of the month, 1 to 31.
    Day,
    /// Monday is 0, Sunday 6, as in pandas.
    Weekday,
    /// 0 to 23.
    Hour,
    /// 0 to 59.
    Minute,
    /// Seconds since 1970-01-01T00:00:00Z with their fraction; a time without offset is read as UTC.
    EpochSeconds,
}

/// Why a contract cannot be compiled into a decoder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    #[error("the contract has no features")]
    Empty,
    #[error("feature `{name}` is described twice")]
    DuplicateFeature { name: String },
    #[error("feature `{name}`: path `{path}` {fault}")]
    FeaturePath { name: String, path: String, fault: PointerFault },
    #[error("captured path `{path}` {fault}")]
    CapturePath { path: String, fault: PointerFault },
    #[error("feature `{name}`: the vocabulary is empty")]
    EmptyVocabulary { name: String },
    #[error("feature `{name}`: {term} stands twice in the vocabulary")]
    DuplicateTerm { name: String, term: String },
}

/// Checks all that can be said of a contract without its pointers.
pub(super) fn validate(contract: &[Feature]) -> Result<(), ContractError> {
    if contract.is_empty() {
        return Err(ContractError::Empty);
    }
    let mut names = HashSet::new();
    for Feature { name, kind, .. } in contract {
        if !names.insert(name) {
            return Err(ContractError::DuplicateFeature { name: name.clone() });
        }
        if let Kind::Category { vocabulary, .. } = kind {
            validate_vocabulary(name, vocabulary)?;
        }
    }
    Ok(())
}

fn validate_vocabulary(name: &str, vocabulary: &[Term]) -> Result<(), ContractError> {
    if vocabulary.is_empty() {
        return Err(ContractError::EmptyVocabulary { name: name.to_owned() });
    }
    // As JSON writes them, terms are equal exactly if they are the same category.
    let mut terms = HashSet::new();
    for term in vocabulary.iter().map(Term::to_string) {
        if terms.contains(&term) {
            return Err(ContractError::DuplicateTerm { name: name.to_owned(), term });
        }
        terms.insert(term);
    }
    Ok(())
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Boolean(boolean) => write!(f, "{boolean}"),
            // Adding zero makes -0 the 0 that it is equal to.
            Self::Number(number) => write!(f, "{}", number + 0.0),
        }
    }
}
