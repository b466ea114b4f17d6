//! What one tile of a batch sends: predictions and dead letters, in the order of its rows.

use std::fmt::Display;
use std::io::Write as _;
use std::ops::Range;

use crate::batch::Batch;
use crate::record::Header;
use crate::reject::Reason;

/// The letters of one tile, their bytes in one arena. Key, timestamp and partition of a letter are
/// those of the event that it answers.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    headers: Vec<(&'static str, Range<usize>)>,
    letters: Vec<Letter>,
    /// Names of the event's headers that a prediction passes on.
    forward: Vec<String>,
}

/// One record to send.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The row of the batch that this answers.
    pub row: usize,
    pub to: Destination,
    value: Value,
    keeps: Keeps,
    headers: Range<usize>,
}

/// What a letter keeps of its event. A record has to fit its topic; a dead letter that does not is
/// cut down, since its event still stands on the events topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Key, headers and value; a prediction has its own value.
    All,
    /// All but the value.
    KeyAndHeaders,
    /// Nothing: what we add is all there is.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    Predictions,
    DeadLetters(Reason),
    /// What a candidate would have said, for comparison.
    Shadow,
}

#[derive(Debug, Clone)]
enum Value {
    /// A span of the arena.
    Ours(Range<usize>),
    /// The event's own, byte for byte.
    Event,
    Nothing,
}

impl Outbox {
    /// An outbox whose predictions pass on the headers of these names.
    pub fn forwarding(names: &[String]) -> Self {
        Self { forward: names.to_vec(), ..Self::default() }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.headers.clear();
        self.letters.clear();
    }

    /// Adds the prediction that `write` appends to the arena, unless it comes out longer than
    /// `bytes_max`: then it is taken back, and its length is the error.
    pub fn predict(
        &mut self,
        row: usize,
        to: Destination,
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
        let value = Value::Ours(start..self.bytes.len());
        self.letters.push(Letter { row, to, value, keeps: Keeps::All, headers: 0..0 });
        Ok(())
    }

    /// Adds the event at `row` as a dead letter.
    pub fn reject(&mut self, row: usize, reason: Reason, keeps: Keeps) -> RejectHeaders<'_> {
        let value = if keeps == Keeps::All { Value::Event } else { Value::Nothing };
        let headers = self.headers.len()..self.headers.len();
        let to = Destination::DeadLetters(reason);
        self.letters.push(Letter { row, to, value, keeps, headers });
        RejectHeaders(self)
    }

    pub fn letters(&self) -> &[Letter] {
        &self.letters
    }

    /// The key that a letter of this outbox carries.
    pub fn key<'a>(&self, batch: &'a Batch, letter: &Letter) -> Option<&'a [u8]> {
        batch.record(letter.row).key.filter(|_| letter.keeps != Keeps::Nothing)
    }

    /// Does a prediction pass on headers of this name?
    pub fn forwards(&self, name: &[u8]) -> bool {
        self.forward.iter().any(|forwarded| forwarded.as_bytes() == name)
    }

    /// The value that a letter of this outbox carries.
    pub fn value<'a>(&'a self, batch: &'a Batch, letter: &Letter) -> Option<&'a [u8]> {
        match &letter.value {
            Value::Ours(span) => Some(&self.bytes[span.clone()]),
            Value::Event => batch.record(letter.row).value,
            Value::Nothing => None,
        }
    }

    /// The headers of a letter: the event's (of a prediction only those to forward, of a dead
    /// letter all but those that an earlier refusal added), then what was added.
    pub fn headers<'a>(
        &'a self,
        batch: &'a Batch,
        letter: &'a Letter,
    ) -> impl Iterator<Item = Header<'a>> + Clone {
        let added = &self.headers[letter.headers.clone()];
        let passes = move |header: &Header<'a>| match letter.to {
            Destination::Predictions | Destination::Shadow => self.forwards(header.name),
            Destination::DeadLetters(_) => {
                letter.keeps != Keeps::Nothing
                    && !added.iter().any(|(name, _)| name.as_bytes() == header.name)
            }
        };
        let added = added.iter().map(|(name, span)| Header {
            name: name.as_bytes(),
            value: Some(&self.bytes[span.clone()]),
        });
        batch.headers(letter.row).filter(passes).chain(added)
    }
}

/// Adds headers to the dead letter that was put in last.
pub struct RejectHeaders<'a>(&'a mut Outbox);

impl RejectHeaders<'_> {
    pub fn header(&mut self, name: &'static str, value: impl Display) -> &mut Self {
        let start = self.0.bytes.len();
        // Writing to a vector cannot fail.
        let _ = write!(self.0.bytes, "{value}");
        self.0.headers.push((name, start..self.0.bytes.len()));
        if let Some(letter) = self.0.letters.last_mut() {
            letter.headers.end = self.0.headers.len();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn batch() -> Batch {
        let mut batch = Batch::default();
        let record = Record {
            partition: 3,
            offset: 9,
            timestamp_ms: Some(1),
            key: None,
            value: Some(b"{\"broken\""),
        };
        let headers = [("traceparent", "00-1"), ("secret", "x"), ("foretell.reason", "too_deep")]
            .map(|(name, value)| Header { name: name.as_bytes(), value: Some(value.as_bytes()) });
        batch.push(record, headers.into_iter());
        batch
    }

    fn names(batch: &Batch, outbox: &Outbox) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        outbox
            .headers(batch, &outbox.letters()[0])
            .map(|h| format!("{}={}", text(h.name), text(h.value.unwrap_or_default())))
            .collect()
    }

    #[test]
    fn a_prediction_passes_on_only_the_listed_headers() {
        let batch = batch();
        let mut outbox = Outbox::forwarding(&["traceparent".into()]);
        outbox.predict(0, Destination::Predictions, 100, |bytes| bytes.extend(b"{}")).unwrap();
        assert_eq!(names(&batch, &outbox), ["traceparent=00-1"]);
        assert_eq!(outbox.value(&batch, &outbox.letters()[0]), Some(&b"{}"[..]));
    }

    #[test]
    fn a_dead_letter_keeps_the_event_and_replaces_an_earlier_reason() {
        let batch = batch();
        let mut outbox = Outbox::forwarding(&[]);
        outbox
            .reject(0, Reason::NotJson, Keeps::All)
            .header("foretell.reason", "not_json")
            .header("foretell.attempt", 2);
        assert_eq!(
            names(&batch, &outbox),
            ["traceparent=00-1", "secret=x", "foretell.reason=not_json", "foretell.attempt=2"]
        );
        assert_eq!(outbox.value(&batch, &outbox.letters()[0]), Some(&b"{\"broken\""[..]));
    }

    #[test]
    fn a_prediction_that_is_too_long_is_taken_back() {
        let mut outbox = Outbox::default();
        assert_eq!(
            outbox.predict(0, Destination::Shadow, 3, |bytes| bytes.extend(b"12345")),
            Err(5)
        );
        assert!(outbox.letters().is_empty());
        assert_eq!(outbox.predict(0, Destination::Shadow, 3, |bytes| bytes.extend(b"123")), Ok(()));
    }
}
