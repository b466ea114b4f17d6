//! JSON model files, read into types.

use serde::de::DeserializeOwned;

use super::ImportError;

/// Reads the whole of `bytes`, and of a fault says where it stands: the path to it, line, column.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ImportError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.into_inner());
        if error.is_eof() {
            ImportError::new(format!("the JSON is truncated: {error}"))
        } else if error.is_syntax() || path == "." {
            ImportError::new(format!("no valid JSON: {error}"))
        } else {
            ImportError::new(format!("`{path}`: {error}"))
        }
    })?;
    json.end().map_err(|error| ImportError::new(format!("after the end of the model: {error}")))?;
    Ok(value)
}
