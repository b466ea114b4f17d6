//! Requests that hold events as production publishes them: one JSON object, or an array.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Answer, Refusal, Reply};
use crate::encode::{Encoder, Rejection, Scored};

/// Where the events of an array stand in a body; `None`: it is no array, but one event.
///
/// An array has to be JSON as a whole, for otherwise nobody knows where its events end. What each of
/// them is, the decoder judges.
pub fn split(body: &[u8], rows_max: usize) -> Result<Option<Vec<Range<usize>>>, Refusal> {
    let first = body.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    if first != Some(&b'[') {
        return Ok(None);
    }
    let malformed =
        |error: &dyn fmt::Display| Refusal::Malformed(format!("this is no JSON: {error}"));
    let text = str::from_utf8(body).map_err(|error| malformed(&error))?;
    let start = text.as_ptr().addr();
    let elements = elements(text, rows_max).map_err(|fault| match fault {
        Fault::TooMany => Refusal::TooMany(rows_max),
        Fault::Json(error) => malformed(&error),
    })?;
    let span = |raw: &&RawValue| {
        let from = raw.get().as_ptr().addr() - start;
        from..from + raw.get().len()
    };
    Ok(Some(elements.iter().map(span).collect()))
}

/// Why a text is no array that is taken.
#[derive(Debug)]
pub enum Fault {
    TooMany,
    Json(serde_json::Error),
}

/// The elements of an array, unread, of which there may be so many.
pub fn elements(text: &str, rows_max: usize) -> Result<Vec<&RawValue>, Fault> {
    let mut elements = Vec::new();
    let mut is_too_long = false;
    let mut json = serde_json::Deserializer::from_str(text);
    let bounded = Bounded { elements: &mut elements, rows_max, is_too_long: &mut is_too_long };
    match bounded.deserialize(&mut json).and_then(|()| json.end()) {
        Ok(()) => Ok(elements),
        Err(_) if is_too_long => Err(Fault::TooMany),
        Err(error) => Err(Fault::Json(error)),
    }
}

/// Stops at the first element too many, so that a body of small ones takes no memory.
struct Bounded<'m, 'de> {
    elements: &'m mut Vec<&'de RawValue>,
    rows_max: usize,
    is_too_long: &'m mut bool,
}

impl<'de> DeserializeSeed<'de> for Bounded<'_, 'de> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while let Some(element) = array.next_element()? {
            if self.elements.len() == self.rows_max {
                *self.is_too_long = true;
                return Err(A::Error::custom("too many elements"));
            }
            self.elements.push(element);
        }
        Ok(())
    }
}

/// The prediction for the one event of a request, the one at `index` of what was scored.
pub fn answer_one<'a>(
    encoder: &'a Encoder,
    event: &'a [u8],
    index: usize,
    scored: Scored<'a>,
) -> Reply {
    let mut body = Vec::new();
    match encoder.answer_off_topic(event, index, scored, &mut body) {
        Ok(()) => Ok(Answer { body, predicted: 1, rejected: 0 }),
        Err(reject) => Err(Refusal::Rejected { row: 0, reject: reject.clone() }),
    }
}

/// An array of predictions, and of rejections where there is none.
pub fn answer<'a>(
    encoder: &'a Encoder,
    events: impl Iterator<Item = &'a [u8]>,
    from: usize,
    scored: Scored<'a>,
) -> Reply {
    let mut answer = Answer { body: vec![b'['], predicted: 0, rejected: 0 };
    for (row, event) in events.enumerate() {
        if row > 0 {
            answer.body.push(b',');
        }
        match encoder.answer_off_topic(event, from + row, scored, &mut answer.body) {
            Ok(()) => answer.predicted += 1,
            Err(reject) => {
                answer.rejected += 1;
                // Text and a name: it is JSON.
                let _ = serde_json::to_writer(&mut answer.body, &Rejection::from(reject));
            }
        }
    }
    answer.body.push(b']');
    Ok(answer)
}
