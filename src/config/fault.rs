//! What is wrong with a configuration: every fault with its place, all of them in one error.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere: a default, or a key that is missing.
    Nowhere,
    /// In the file; lines and columns count from 1.
    File { path: PathBuf, line: Option<usize>, column: Option<usize> },
    /// In an environment variable.
    Environment(String),
    /// On the command line, as `--set` with this key.
    Set(String),
}

impl Place {
    /// The file as a whole.
    pub(super) fn file(path: &Path) -> Self {
        Self::File { path: path.into(), line: None, column: None }
    }

    /// The line that holds the byte at `offset` of `text`, the content of the file at `path`.
    pub(super) fn line(path: &Path, text: &str, offset: usize) -> Self {
        let line = text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1;
        Self::File { path: path.into(), line: Some(line), column: None }
    }

    /// Like `line`, with the column, in characters.
    pub(super) fn column(path: &Path, text: &str, offset: usize) -> Self {
        let before = &text[..text.floor_char_boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[start..].chars().count() + 1;
        Self::File { path: path.into(), line: Some(line), column: Some(column) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("configuration"),
            Self::File { path, line, column } => {
                write!(f, "{}", path.display())?;
                line.iter().chain(column).try_for_each(|number| write!(f, ":{number}"))
            }
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Set(key) => write!(f, "--set {key}"),
        }
    }
}

/// One thing that is wrong. Never holds the value of a librdkafka property: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub place: Place,
    /// The key, such as `batch.rows_max`; empty where the fault is not about one.
    pub key: String,
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        let is_named = matches!(&self.place, Place::Set(key) if *key == self.key);
        if !self.key.is_empty() && !is_named {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n    hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// A configuration that cannot be used. The process exits with 78 before it joins the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one, in the order of their places.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => f.write_str("the configuration has a fault")?,
            count => write!(f, "the configuration has {count} faults")?,
        }
        self.faults.iter().try_for_each(|fault| write!(f, "\n{fault}"))
    }
}

impl std::error::Error for ConfigError {}
