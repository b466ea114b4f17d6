//! What was given in place of a model: the mistakes that people make.

use super::ImportError;

/// Refuses what is plainly something else than `expected`, which reads as "a LightGBM model".
pub fn check(bytes: &[u8], expected: &str) -> Result<(), ImportError> {
    match mistake(bytes) {
        Some(found) => Err(ImportError::new(format!("not {expected}: {found}"))),
        None => Ok(()),
    }
}

/// As [`check`], of a model that is a JSON object.
pub fn check_json(bytes: &[u8], expected: &str) -> Result<(), ImportError> {
    check(bytes, expected)?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(());
    }
    let shown = bytes[..bytes.len().min(40)].escape_ascii();
    Err(ImportError::new(format!("not {expected}: a JSON object expected, found '{shown}'")))
}

fn mistake(bytes: &[u8]) -> Option<&'static str> {
    let trimmed = bytes.trim_ascii_start();
    let begins = |with: &[u8]| bytes.starts_with(with);
    let html = |tag: &[u8]| trimmed.get(..tag.len()).is_some_and(|s| s.eq_ignore_ascii_case(tag));
    Some(match () {
        () if trimmed.is_empty() => "the file is empty",
        () if begins(b"\xef\xbb\xbf") => "it begins with a byte order mark",
        () if begins(b"\x1f\x8b") => "it is compressed with gzip",
        () if begins(b"PK\x03\x04") => "it is a zip archive",
        () if begins(b"\x80") && matches!(bytes.get(1), Some(2..=5)) => {
            "it is a Python pickle; save the model with its library's `save_model`"
        }
        () if begins(b"CBM1") => "it is CatBoost's binary (CBM); save with `format=\"json\"`",
        () if html(b"<!doctype html") || html(b"<html") => "it is an HTML page",
        () => return None,
    })
}
