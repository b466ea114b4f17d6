//! Why an event could not be scored: the closed set of reasons a dead letter carries.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The reason in a dead letter's `foretell.reason` header. A closed set: consumers may match on
/// it, so a new reason is a change of the format.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The value is longer than `batch.event_bytes_max`.
    TooLarge,
    /// The value is not UTF-8.
    NotUtf8,
    /// Objects and arrays nest deeper than `batch.json_depth_max`.
    TooDeep,
    /// The value is not one JSON document.
    NotJson,
    /// The document is JSON, but no object.
    NotAnObject,
    /// A feature that the contract requires is absent or null.
    RequiredFeatureMissing,
    /// A feature's value is of another kind than the contract says.
    WrongKind,
    /// A category outside the vocabulary, where the contract says `reject`.
    UnknownCategory,
    /// The model's result is NaN or infinite.
    NonFinite,
    /// The prediction is longer than the predictions topic takes.
    PredictionTooLarge,
}

impl Reason {
    pub const ALL: [Self; 10] = [
        Self::TooLarge,
        Self::NotUtf8,
        Self::TooDeep,
        Self::NotJson,
        Self::NotAnObject,
        Self::RequiredFeatureMissing,
        Self::WrongKind,
        Self::UnknownCategory,
        Self::NonFinite,
        Self::PredictionTooLarge,
    ];

    /// The reason as headers, metrics and reports spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::TooDeep => "too_deep",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::RequiredFeatureMissing => "required_feature_missing",
            Self::WrongKind => "wrong_kind",
            Self::UnknownCategory => "unknown_category",
            Self::NonFinite => "non_finite",
            Self::PredictionTooLarge => "prediction_too_large",
        }
    }

    /// The step that gave up, for Kafka Connect's `__connect.errors.stage`.
    pub fn stage(self) -> &'static str {
        match self {
            Self::NonFinite => "score",
            Self::PredictionTooLarge => "encode",
            _ => "decode",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One event's refusal: the reason, and what a person needs to find the fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Reject {
    pub reason: Reason,
    /// Lower case, what and where: "`dep_delay` at `/departure/delay`: expected a number, found a string".
    pub message: String,
}

impl Reject {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_headers_is_the_name_in_the_schema() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
