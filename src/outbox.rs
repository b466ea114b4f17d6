//! What one tile of a batch sends: predictions and dead letters, in the order of its rows.

use std::ops::Range;

use crate::reject::Reject;

/// Letters of one tile; the predictions' bytes in one arena.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    letters: Vec<Letter>,
}

/// One record to send. Key, timestamp, partition and headers are those of the event at `row`
/// of the batch.
#[derive(Debug)]
pub struct Letter {
    /// Row of the batch that this answers.
    pub row: usize,
    pub content: Content,
}

#[derive(Debug)]
pub enum Content {
    /// The prediction's JSON, a span of the outbox's arena.
    Prediction(Range<usize>),
    /// The event itself, with the reason in its headers.
    DeadLetter(Reject),
}

impl Outbox {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.letters.clear();
    }

    /// Adds the prediction that `write` appends to the arena, unless it comes out longer than
    /// `bytes_max`: then it is taken back, and its length is the error.
    pub fn predict(
        &mut self,
        row: usize,
        bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), usize> {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let length = self.bytes.len() - start;
        if length > bytes_max {
            self.bytes.truncate(start);
            return Err(length);
        }
        let span = start..self.bytes.len();
        self.letters.push(Letter { row, content: Content::Prediction(span) });
        Ok(())
    }

    /// Adds a dead letter for the event at `row`.
    pub fn reject(&mut self, row: usize, reject: Reject) {
        self.letters.push(Letter { row, content: Content::DeadLetter(reject) });
    }

    pub fn letters(&self) -> &[Letter] {
        &self.letters
    }

    /// The JSON of a prediction of this outbox.
    pub fn bytes(&self, span: &Range<usize>) -> &[u8] {
        &self.bytes[span.clone()]
    }
}
