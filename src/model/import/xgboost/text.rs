//! From bytes to a document: which of the two encodings it is, and what else it may be.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::features::decode::is_deeper;
use crate::model::import::{ImportError, json, sniff};

use super::document::Document;
use super::ubjson::{DEPTH_MAX, Reader};

pub fn document(bytes: &[u8]) -> Result<Document, ImportError> {
    sniff(bytes)?;
    if is_ubjson(bytes) { ubjson(bytes) } else { json(bytes) }
}

/// Does an object of UBJSON begin here? After its brace, JSON has white space or a quote.
fn is_ubjson(bytes: &[u8]) -> bool {
    matches!(bytes, [b'{', b'i' | b'U' | b'I' | b'l' | b'L' | b'$' | b'#', ..])
}

/// Tells what was given in place of a model, for the mistakes people make.
fn sniff(bytes: &[u8]) -> Result<(), ImportError> {
    sniff::check(bytes, "an XGBoost model in JSON or UBJSON")?;
    let found = match bytes.trim_ascii_start() {
        [b'{' | b'[', ..] => return Ok(()),
        [b'b', b'i', b'n', b'f', ..] => {
            "it is XGBoost's old binary format; load it there and use `save_model` with a name that \
             ends in .json or .ubj"
        }
        _ => "it is neither JSON nor UBJSON",
    };
    Err(ImportError::new(format!("not an XGBoost model: {found}")))
}

fn json(bytes: &[u8]) -> Result<Document, ImportError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ImportError::new(format!("JSON that is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    let text = without_nan(text);
    if is_deeper(bytes, DEPTH_MAX) {
        return Err(ImportError::new(format!("values nest deeper than {DEPTH_MAX}")));
    }
    // Is it JSON at all? Before anything is said of what it holds.
    json::read::<IgnoredAny>(text.as_bytes())?;
    if text.trim_start().starts_with('[') {
        let what = "an object with `learner` expected, found an array, as `dump_model` writes; use \
                    `save_model`";
        return Err(ImportError::new(what));
    }
    json::read(text.as_bytes())
}

/// XGBoost writes `NaN` where a node has no threshold, which JSON has no word for: it becomes
/// null, and null a NaN. What it may not be is checked where it is used.
fn without_nan(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") {
        return Cow::Borrowed(text);
    }
    // Every other piece stands in quotes; of a quote within one, the escape is taken along.
    let mut within = false;
    let mut escaped = false;
    let pieces = text.split_inclusive(|c: char| {
        let ends = c == '"' && !escaped;
        escaped = within && c == '\\' && !escaped;
        within ^= ends;
        ends
    });
    let mut within = false;
    let replaced = pieces.map(|piece| {
        let replaced = if within { piece.to_owned() } else { piece.replace("NaN", "null") };
        within = !within;
        replaced
    });
    Cow::Owned(replaced.collect())
}

fn ubjson(bytes: &[u8]) -> Result<Document, ImportError> {
    // As with JSON: is it well-formed at all?
    let mut reader = Reader::new(bytes);
    let syntax = reader.value().and_then(IgnoredAny::deserialize);
    let at = reader.at();
    syntax.map_err(|error| ImportError::new(format!("{error} (byte {at} of UBJSON)")))?;
    if at != bytes.len() {
        let more = bytes.len() - at;
        return Err(ImportError::new(format!("{more} trailing bytes after the model's UBJSON")));
    }
    let mut reader = Reader::new(bytes);
    let value = reader.value().map_err(|error| ImportError::new(error.to_string()))?;
    serde_path_to_error::deserialize(value)
        .map_err(|error| ImportError::new(format!("`{}`: {}", error.path(), error.inner())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_null_outside_of_strings() {
        let text = r#"{"NaN":[NaN,1],"a\\":NaN,"\"NaN":"NaN"}"#;
        let wanted = r#"{"NaN":[null,1],"a\\":null,"\"NaN":"NaN"}"#;
        assert_eq!(without_nan(text), wanted);
    }
}
