//! Where a replay's predictions go.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use crate::batch::Batch;
use crate::bus::publish::Publisher;
use crate::cli::failure::Failure;
use crate::config::Kafka;
use crate::outbox::{Destination, Outbox};
use crate::record::Header;

/// The longest record that a producer sends where nothing else is set, in bytes.
const RECORD_BYTES_MAX: usize = 1_000_000;

pub enum Sink {
    /// Nowhere: they are compared only.
    None,
    /// JSON lines; the name is for messages.
    Lines { name: String, writer: Box<dyn Write> },
    /// A topic of their own, with key and forwarded headers of their events.
    Topic { name: String, publisher: Publisher, timeout: Duration },
}

impl Sink {
    /// A file, made anew; `-` is stdout.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn lines(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        if name == "-" {
            let writer = Box::new(BufWriter::new(io::stdout().lock()));
            return Ok(Self::Lines { name: "stdout".into(), writer });
        }
        let file = File::create(path).map_err(|error| named(&name, &error))?;
        Ok(Self::Lines { name, writer: Box::new(BufWriter::new(file)) })
    }

    /// # Errors
    /// The client cannot be made.
    pub fn topic(kafka: &Kafka, topic: &str) -> Result<Self, Failure> {
        // The client gives each record up by then; a little later all have been.
        let timeout = Duration::from_millis(kafka.connect_timeout_ms.max(1000) + 5000);
        Ok(Self::Topic { name: topic.to_owned(), publisher: Publisher::new(kafka)?, timeout })
    }

    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// What a record may come to, in bytes.
    pub fn letter_bytes_max(&self) -> usize {
        match self {
            Self::Topic { .. } => RECORD_BYTES_MAX,
            _ => usize::MAX,
        }
    }

    /// Writes the predictions of a tile; what could not be scored is left out.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, batch: &Batch, outbox: &Outbox) -> Result<(), Failure> {
        let is_prediction = |to| matches!(to, Destination::Predictions | Destination::Shadow);
        for letter in outbox.letters().iter().filter(|letter| is_prediction(letter.to)) {
            let value = outbox.value(batch, letter).unwrap_or_default();
            match self {
                Self::None => {}
                Self::Lines { name, writer } => {
                    let written = writer.write_all(value).and_then(|()| writer.write_all(b"\n"));
                    written.map_err(|error| named(name, &error))?;
                }
                Self::Topic { name, publisher, .. } => {
                    let headers: Vec<Header<'_>> = outbox.headers(batch, letter).collect();
                    let key = outbox.key(batch, letter);
                    publisher.send_with(name, key, Some(value), &headers)?;
                }
            }
        }
        Ok(())
    }

    /// Waits until all of it has arrived.
    ///
    /// # Errors
    /// Some of it did not.
    pub fn finish(&mut self) -> Result<(), Failure> {
        match self {
            Self::None => {}
            Self::Lines { name, writer } => writer.flush().map_err(|error| named(name, &error))?,
            Self::Topic { publisher, timeout, .. } => {
                publisher.flush(*timeout)?;
            }
        }
        Ok(())
    }
}

/// An error of the system with the file's name.
fn named(name: &str, error: &io::Error) -> Failure {
    io::Error::new(error.kind(), format!("writing {name}: {error}")).into()
}
