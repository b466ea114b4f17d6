//! One reading of an event, along the tree of the contract's pointers.
//!
//! `serde_json` reads the text once from left to right and calls back for every place that some
//! pointer names; everything else is skipped without being built. Where an object repeats a key,
//! the last value counts as if those before it had not been there, in all that they contained.

use std::collections::BTreeMap;
use std::fmt;

use ndarray::ArrayViewMut1;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::decode::Span;
use super::path::Place;
use super::value::{Fault, Found, Timestamp};
use super::words::Words;

/// What is known of an event while it is read.
pub struct Walk<'a> {
    pub places: &'a [Place],
    /// The row of an event without fields.
    pub blank: &'a [f64],
    pub event: &'a str,
    pub row: ArrayViewMut1<'a, f64>,
    pub spans: &'a mut [Option<Span>],
    /// By column. A key that is repeated may still heal one, and the text may still turn out to
    /// be no JSON, so that none ends the reading.
    pub faults: BTreeMap<usize, Fault>,
    /// The bits of the places whose value has been read.
    pub seen: u64,
}

impl<'a> Walk<'a> {
    /// Reads the whole event, which has to begin with an object.
    ///
    /// # Errors
    /// The event is not one JSON document; faults of features are in `faults`.
    pub fn read(&mut self) -> serde_json::Result<()> {
        let place = &self.places[0];
        self.row.iter_mut().zip(self.blank).for_each(|(cell, &blank)| *cell = blank);
        self.spans.fill(None);
        for &capture in &place.captures {
            self.spans[capture] = Some(Span::of_document(self.event));
        }
        let mut json = serde_json::Deserializer::from_str(self.event);
        json.deserialize_any(At { walk: self, place })?;
        json.end()
    }

    /// Notes that a place's value is being read; if it is not the first, all that was found below
    /// the place is forgotten: a repeated key costs the features below it, not the event again.
    fn enter(&mut self, place: &Place) {
        if self.seen & place.bit != 0 {
            self.forget_below(place);
        }
        self.seen |= place.bit;
    }

    #[cold]
    fn forget_below(&mut self, place: &Place) {
        for &column in &place.columns_below {
            self.write(column, self.blank[column]);
        }
        for &capture in &place.captures_below {
            self.spans[capture] = None;
        }
    }

    #[inline]
    fn write(&mut self, column: usize, number: f64) {
        self.row[column] = number;
        if !self.faults.is_empty() {
            self.faults.remove(&column);
        }
    }

    #[cold]
    fn fail(&mut self, column: usize, fault: Fault) {
        self.row[column] = f64::NAN;
        self.faults.insert(column, fault);
    }

    fn write_null(&mut self, place: &Place) {
        for column in place.columns() {
            self.write(column, self.blank[column]);
        }
    }

    fn write_found(&mut self, place: &Place, found: Found<'_>) {
        for (column, reader) in &place.readers {
            match reader.read(found) {
                Some(number) => self.write(*column, number),
                None => self.fail(*column, reader.fault(found)),
            }
        }
        if !place.parts.is_empty() {
            self.write_timestamp(place, found);
        }
    }

    fn write_timestamp(&mut self, place: &Place, found: Found<'_>) {
        let timestamp = match found {
            Found::Text(text) => Timestamp::parse(text),
            _ => None,
        };
        for &(column, part) in &place.parts {
            match timestamp.as_ref().and_then(|timestamp| timestamp.part(part)) {
                Some(number) => self.write(column, number),
                None => self.fail(column, Fault::no_timestamp(found)),
            }
        }
    }
}

/// The reader of the value at one place.
struct At<'w, 'a> {
    walk: &'w mut Walk<'a>,
    place: &'a Place,
}

impl At<'_, '_> {
    /// Most values are numbers that one feature reads: the short way takes a tenth off an event.
    fn number(self, number: f64) {
        match self.place.number {
            Some(column) => self.walk.write(column, number),
            None => self.scalar(Found::Number(number)),
        }
    }

    fn scalar(self, found: Found<'_>) {
        self.walk.enter(self.place);
        self.walk.write_found(self.place, found);
    }
}

impl<'de> DeserializeSeed<'de> for At<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        if self.place.captures.is_empty() {
            return json.deserialize_any(self);
        }
        let text = <&RawValue as serde::Deserialize>::deserialize(json)?.get();
        let span = Span::within(self.walk.event, text);
        for &capture in &self.place.captures {
            self.walk.spans[capture] = Some(span);
        }
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
        self.walk.enter(self.place);
        self.walk.write_null(self.place);
        Ok(())
    }

    fn visit_bool<E>(self, boolean: bool) -> Result<(), E> {
        self.scalar(Found::Boolean(boolean));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.number(number as f64);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.number(number as f64);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.number(number);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.scalar(Found::Text(text));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let Self { walk, place } = self;
        walk.enter(place);
        walk.write_found(place, Found::Array);
        let mut wanted = place.elements.iter().copied().peekable();
        for index in 0.. {
            let element = match wanted.next_if(|&(next, _)| next == index) {
                Some((_, below)) => {
                    let place = &walk.places[below];
                    array.next_element_seed(At { walk: &mut *walk, place })?
                }
                None => array.next_element::<IgnoredAny>()?.map(|_| ()),
            };
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let Self { walk, place } = self;
        walk.enter(place);
        walk.write_found(place, Found::Object);
        while let Some(member) = object.next_key_seed(Key(&place.members))? {
            match member {
                Some(below) => {
                    let place = &walk.places[below];
                    object.next_value_seed(At { walk: &mut *walk, place })?;
                }
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
