//! `foretell score`: JSON lines in, predictions out, through the very scorer of `run`.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use crate::batch::Batch;
use crate::config::{self, Output, Pointer};
use crate::encode::{Encoder, Scored};
use crate::features::decode::Limits;
use crate::model::gate::{self, Expected, Settings, Times};
use crate::model::version::Version;
use crate::outbox::{Destination, Outbox};
use crate::record::Record;
use crate::score::Scorer;

/// Score JSON lines from stdin with a bundle, without Kafka
#[derive(Debug, Args)]
pub struct Score {
    /// Folder of the bundle
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    /// JSON pointer to the event's id
    #[arg(long, value_name = "POINTER", value_parser = pointer)]
    id: Option<Pointer>,
    /// Copy a field of the event, as in `--carry carrier=/flight/carrier`; may be repeated
    #[arg(long, value_name = "NAME=POINTER", value_parser = named_pointer)]
    carry: Vec<(String, Pointer)>,
}

fn pointer(text: &str) -> Result<Pointer, String> {
    Pointer::try_from(text.to_owned())
}

fn named_pointer(text: &str) -> Result<(String, Pointer), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=POINTER")?;
    Ok((name.to_owned(), pointer(path)?))
}

impl Score {
    pub fn run(&self) -> Result<(), Failure> {
        let batch = config::Batch::default();
        let carry: BTreeMap<_, _> = self.carry.iter().cloned().collect();
        let output = Output { id: self.id.clone(), carry, ..Output::default() };
        let encoder = Encoder::new("stdin", &output);
        let settings = Settings {
            captures: encoder.captures().to_vec(),
            limits: Limits {
                event_bytes_max: batch.event_bytes_max,
                json_depth_max: batch.json_depth_max,
            },
            bytes_max: config::Model::default().bytes_max,
            trusted_keys: Vec::new(),
            tile_rows: batch.tile_rows,
        };
        let admitted =
            gate::admit(&self.bundle, Expected::default(), &settings, &mut Times::default())?;
        let version = admitted.version;
        let rejected = Lines { encoder, version, tile_rows: batch.tile_rows }
            .score(std::io::stdin().lock(), std::io::stdout().lock())?;
        match rejected {
            0 => Ok(()),
            1 => Err(Failure::data("1 event was rejected")),
            many => Err(Failure::data(format!("{many} events were rejected"))),
        }
    }
}

/// Scores line by line, a tile at a time.
struct Lines {
    encoder: Encoder,
    version: Version,
    tile_rows: usize,
}

impl Lines {
    /// Says how many events were rejected; each is told on stderr.
    fn score(&self, mut input: impl BufRead, mut output: impl Write) -> Result<u64, Failure> {
        let mut scorer = Scorer::new(self.tile_rows);
        let mut batch = Batch::default();
        let mut outbox = Outbox::default();
        let mut line = Vec::new();
        let (mut number, mut rejected) = (0, 0);
        loop {
            line.clear();
            let ended = input.read_until(b'\n', &mut line)? == 0;
            if !ended && !line.trim_ascii().is_empty() {
                batch.push(record(number, line.trim_ascii_end()), std::iter::empty());
            }
            number += 1;
            if batch.len() == self.tile_rows || (ended && !batch.is_empty()) {
                rejected += self.tile(&mut scorer, &batch, &mut outbox, &mut output)?;
                batch.clear();
            }
            if ended {
                return Ok(rejected);
            }
        }
    }

    fn tile(
        &self,
        scorer: &mut Scorer,
        batch: &Batch,
        outbox: &mut Outbox,
        output: &mut impl Write,
    ) -> Result<u64, Failure> {
        let rows: Vec<usize> = (0..batch.len()).collect();
        let events = rows.iter().map(|&row| batch.record(row).value.unwrap_or_default());
        let scores = scorer.score(&self.version, events);
        outbox.clear();
        let scored = Scored {
            scores: &scores,
            version: &self.version,
            control_offset: None,
            is_shadow: false,
        };
        self.encoder.encode(batch, &rows, scored, usize::MAX, outbox);
        let mut rejected = 0;
        for (letter, &row) in outbox.letters().iter().zip(&rows) {
            match letter.to {
                Destination::Predictions | Destination::Shadow => {
                    output.write_all(outbox.value(batch, letter).unwrap_or_default())?;
                    output.write_all(b"\n")?;
                }
                Destination::DeadLetters(reason) => {
                    rejected += 1;
                    let line = batch.record(row).offset + 1;
                    if let Err(reject) = scores.outputs(row) {
                        eprintln!("line {line}: {reason}: {reject}");
                    }
                }
            }
        }
        Ok(rejected)
    }
}

fn record(line: i64, value: &[u8]) -> Record<'_> {
    Record { partition: 0, offset: line, timestamp_ms: None, key: None, value: Some(value) }
}
