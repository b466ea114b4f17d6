//! A labelled event, and files of them.

use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::failure::Failure;
use crate::cli::lines;

/// An event, and what became of it. A line of the files between the parts of a training.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Example {
    pub id: String,
    /// When the event happened, in milliseconds since the epoch; `None`: nobody says.
    pub time_ms: Option<i64>,
    /// A number; for classes also a class' name, or a boolean.
    pub label: Value,
    /// As production publishes it.
    pub event: Box<RawValue>,
}

impl Example {
    pub fn bytes(&self) -> &[u8] {
        self.event.get().as_bytes()
    }
}

/// What was counted of examples, as people read it.
pub fn told(counts: &impl Serialize) -> String {
    serde_json::to_string(counts)
        .unwrap_or_default()
        .replace(['{', '}', '"'], "")
        .replace(',', ", ")
}

/// Opens a file of lines; one that ends in `.zst` is decompressed.
pub fn lines(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    lines::open(path).map_err(|error| cannot("read", path, &error))
}

/// Each line that is not blank, with its number.
pub fn each_line(
    path: &Path,
    mut take: impl FnMut(usize, &str) -> Result<(), String>,
) -> Result<(), Failure> {
    let (mut lines, mut line) = (lines(path)?, String::new());
    for number in 1.. {
        line.clear();
        let read = lines.read_line(&mut line).map_err(|error| cannot("read", path, &error))?;
        if read == 0 {
            break;
        }
        if !line.trim().is_empty() {
            take(number, line.trim()).map_err(|why| {
                Failure::data(format!("`{}` line {number}: {why}", path.display()))
            })?;
        }
    }
    Ok(())
}

/// Writes examples to a compressed file, a line each.
pub fn write(path: &Path, examples: &[Example]) -> Result<(), Failure> {
    let fault = |error: std::io::Error| cannot("write", path, &error);
    let file = File::create(path).map_err(fault)?;
    let mut file = zstd::Encoder::new(BufWriter::new(file), 0).map_err(fault)?;
    for example in examples {
        serde_json::to_writer(&mut file, example).map_err(|error| fault(error.into()))?;
        file.write_all(b"\n").map_err(fault)?;
    }
    file.finish().and_then(|mut file| file.flush()).map_err(fault)
}

/// Reads what [`write`] wrote.
pub fn read(path: &Path) -> Result<Vec<Example>, Failure> {
    let mut examples = Vec::new();
    each_line(path, |_, line| {
        examples.push(serde_json::from_str(line).map_err(|error| error.to_string())?);
        Ok(())
    })?;
    Ok(examples)
}

pub fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::data(format!("cannot {what} `{}`: {error}", path.display()))
}
