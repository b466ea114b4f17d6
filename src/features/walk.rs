//! The complete reading of an event, along the tree of the contract's pointers.
//!
//! `serde_json` reads the text once from left to right and calls back for every place that some
//! pointer names; everything else is skipped without being built. It decides what is JSON and
//! words what is not; `scan` is quicker with the events that leave no doubt.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::decode::Span;
use super::path::Place;
use super::reading::Reading;
use super::value::Found;
use super::words::Words;

/// Reads the whole event, which has to begin with an object, into an empty `reading`.
///
/// # Errors
/// The event is not one JSON document; faults of features are in the reading.
pub fn read(event: &str, places: &[Place], reading: &mut Reading<'_>) -> serde_json::Result<()> {
    reading.capture(&places[0], Span::of_document(event));
    let mut json = serde_json::Deserializer::from_str(event);
    json.deserialize_any(At { event, places, reading, place: &places[0] })?;
    json.end()
}

/// The reader of the value at one place.
struct At<'w, 'a> {
    event: &'w str,
    places: &'w [Place],
    reading: &'w mut Reading<'a>,
    place: &'w Place,
}

impl<'w, 'a> At<'w, 'a> {
    /// The reader of the value at a place below.
    fn below(&mut self, number: usize) -> At<'_, 'a> {
        At { reading: &mut *self.reading, place: &self.places[number], ..*self }
    }
}

impl<'de> DeserializeSeed<'de> for At<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        if self.place.captures.is_empty() {
            return json.deserialize_any(self);
        }
        let text = <&RawValue as serde::Deserialize>::deserialize(json)?.get();
        self.reading.capture(self.place, Span::within(self.event, text));
        if !self.place.is_read() {
            return Ok(());
        }
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_any(self).map_err(|error| D::Error::custom(without_position(&error)))
    }
}

/// An error inside a captured text counts lines and columns from the text's start. Without them,
/// the outer reader puts in its own position, which is just behind the text.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&position).unwrap_or(&message).to_owned()
}

impl<'de> Visitor<'de> for At<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.reading.null(self.place);
        Ok(())
    }

    fn visit_bool<E>(self, boolean: bool) -> Result<(), E> {
        self.reading.value(self.place, Found::Boolean(boolean));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.reading.number(self.place, number as f64);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.reading.number(self.place, number as f64);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.reading.number(self.place, number);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.reading.value(self.place, Found::Text(text));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<(), A::Error> {
        self.reading.value(self.place, Found::Array);
        let mut wanted = self.place.elements.iter().copied().peekable();
        for index in 0.. {
            let element = match wanted.next_if(|&(next, _)| next == index) {
                Some((_, below)) => array.next_element_seed(self.below(below))?,
                None => array.next_element::<IgnoredAny>()?.map(|_| ()),
            };
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<(), A::Error> {
        self.reading.value(self.place, Found::Object);
        while let Some(member) = object.next_key_seed(Key(&self.place.members))? {
            match member {
                Some(below) => object.next_value_seed(self.below(below))?,
                None => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads an object's key as the place that it leads to.
struct Key<'a>(&'a Words);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.get(key))
    }
}
