//! JSON model files, read into types.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ImportError;

/// Bytes of the file that a message repeats.
const SHOWN_MAX: usize = 40;

/// Reads the whole of `bytes`, and of a fault says where it stands: the path to it, line, column.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ImportError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let place = match error.path().to_string() {
            path if path == "." => String::new(),
            path => format!("`{path}`: "),
        };
        fault(bytes, &place, &error.into_inner())
    })?;
    json.end().map_err(|error| fault(bytes, "after the end of the model: ", &error))?;
    Ok(value)
}

/// What is looked at first in a format of our own, whatever else the file holds.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// Is it a file of this format, in the one version that there is?
pub fn check_head(bytes: &[u8], known_format: &str, known_version: u32) -> Result<(), ImportError> {
    let Head { format, version } = read(bytes)?;
    if format != known_format {
        return Err(ImportError::new(format!("`format` is `{format}`, not `{known_format}`")));
    }
    if version != known_version {
        let what = format!("`version` {version} is not known (known: {known_version})");
        return Err(ImportError::new(what));
    }
    Ok(())
}

fn fault(bytes: &[u8], place: &str, error: &serde_json::Error) -> ImportError {
    ImportError::new(if error.is_eof() {
        format!("{place}the JSON is truncated: {error}")
    } else if error.is_syntax() {
        format!("{place}no valid JSON: {error}, near `{}`", word(bytes, error))
    } else {
        format!("{place}{error}")
    })
}

/// The word or number that a fault is found in.
fn word<'a>(bytes: &'a [u8], error: &serde_json::Error) -> std::slice::EscapeAscii<'a> {
    let line = bytes.split(|&byte| byte == b'\n').nth(error.line().saturating_sub(1));
    let line = line.unwrap_or_default();
    let is_end = |byte: &u8| b" \t\r,:[]{}\"".contains(byte);
    let at = error.column().saturating_sub(1).min(line.len());
    let start = line[..at].iter().rposition(is_end).map_or(0, |end| end + 1);
    let length = line[start..].iter().skip(1).position(is_end).map_or(SHOWN_MAX, |end| end + 1);
    line[start..][..length.min(SHOWN_MAX).min(line.len() - start)].escape_ascii()
}
