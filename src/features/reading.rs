//! What is known of an event while it is read, by whichever of the two ways of reading.

use std::collections::BTreeMap;

use ndarray::ArrayViewMut1;

use super::decode::Span;
use super::path::Place;
use super::value::{Fault, Found, Timestamp};

/// A row that fills up, value by value. Where an object repeats a key, the last value counts as
/// if those before it had not been there, in all that they contained.
pub struct Reading<'a> {
    /// The row of an event without fields.
    blank: &'a [f64],
    pub row: ArrayViewMut1<'a, f64>,
    spans: &'a mut [Option<Span>],
    /// By column. A key that is repeated may still heal one, and the text may still turn out to
    /// be no JSON, so that none ends the reading.
    pub faults: BTreeMap<usize, Fault>,
    /// The bits of the places with places below whose value has been read.
    seen: u64,
}

impl<'a> Reading<'a> {
    /// Of an event of which nothing is read yet.
    pub fn new(
        blank: &'a [f64],
        row: ArrayViewMut1<'a, f64>,
        spans: &'a mut [Option<Span>],
    ) -> Self {
        let mut reading = Self { blank, row, spans, faults: BTreeMap::new(), seen: 0 };
        reading.clear();
        reading
    }

    /// Forgets all that was read.
    pub fn clear(&mut self) {
        self.row.iter_mut().zip(self.blank).for_each(|(cell, &blank)| *cell = blank);
        self.spans.fill(None);
        self.faults.clear();
        self.seen = 0;
    }

    /// A number stands at `place`. Most values are numbers that one feature reads: the short way
    /// takes a tenth off an event.
    #[inline]
    pub fn number(&mut self, place: &Place, number: f64) {
        match place.number {
            Some(column) => self.write(column, number),
            None => self.value(place, Found::Number(number)),
        }
    }

    /// `found` stands at `place`; what an object or an array holds is read next.
    pub fn value(&mut self, place: &Place, found: Found<'_>) {
        self.enter(place);
        for (column, reader) in &place.readers {
            match reader.read(found) {
                Some(number) => self.write(*column, number),
                None => self.fail(*column, reader.fault(found)),
            }
        }
        if !place.parts.is_empty() {
            self.timestamp(place, found);
        }
    }

    /// `null` stands at `place`.
    pub fn null(&mut self, place: &Place) {
        self.enter(place);
        for column in place.columns() {
            self.write(column, self.blank[column]);
        }
    }

    /// The raw text of the value at `place` is what `span` says.
    pub fn capture(&mut self, place: &Place, span: Span) {
        for &capture in &place.captures {
            self.spans[capture] = Some(span);
        }
    }

    /// Notes that a place's value is being read; if it is not the first, all that was found below
    /// the place is forgotten: a repeated key costs the features below it, not the event again.
    #[inline]
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

    fn timestamp(&mut self, place: &Place, found: Found<'_>) {
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
