//! The quick reading of an event: of plain JSON, and of nothing else.
//!
//! `walk` alone decides what an event means. This reader knows just enough JSON to be sure of the
//! events that producers really write, and where it is not sure (an escape in what is read, a
//! number beyond f64, anything that could be a fault of syntax) it gives up without a word, and
//! the event is read by `walk` from its start. So a doubt costs time, never an event, and every
//! refusal of a text has one wording. Properties in `reference` hold the two to each other.
//!
//! It takes 0.7 of the time of `walk` (docs/engine.md): eight bytes of a string are looked at in one step, a key is
//! looked up where it stands, and a decimal of up to 19 digits is made by one division.

use super::decode::Span;
use super::path::Place;
use super::reading::Reading;
use super::value::Found;

/// Nesting below what is read that is followed; deeper is left to `walk`, which needs no stack.
const DEPTH_MAX: usize = 32;

/// Most digits that u64 holds whatever they are.
const DIGITS_MAX: usize = 19;

/// The powers of ten of as many decimals; f64 holds them exactly.
const POWERS: [f64; DIGITS_MAX] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18,
];

/// Integers up to here are f64s.
const EXACT_MAX: u64 = 1 << 53;

/// Reads the event into an empty `reading`, and says whether it could: if not, the reading holds
/// anything, and nothing is said of the event.
pub fn read(event: &str, places: &[Place], reading: &mut Reading<'_>) -> bool {
    let mut scan = Scan { event, bytes: event.as_bytes(), at: 0, places, reading };
    scan.document().is_some()
}

/// A place in the text. All methods move on behind what they read; `None` is giving up.
struct Scan<'s, 'a> {
    event: &'s str,
    bytes: &'s [u8],
    at: usize,
    places: &'s [Place],
    reading: &'s mut Reading<'a>,
}

impl Scan<'_, '_> {
    fn document(&mut self) -> Option<()> {
        self.token();
        self.value(Some(0))?;
        self.token();
        (self.at == self.bytes.len()).then_some(())
    }

    /// The value at the place of that number, if it is at one, of which the first byte is next.
    fn value(&mut self, place: Option<usize>) -> Option<()> {
        let Some(number) = place else { return self.skip(0) };
        let place = &self.places[number];
        if place.captures.is_empty() {
            return self.read(place);
        }
        let start = self.at;
        if place.is_read() {
            self.read(place)?
        } else {
            self.skip(0)?
        }
        // No cast cuts: the decoder refuses events that u32 cannot count.
        self.reading.capture(place, Span { start: start as u32, end: self.at as u32 });
        Some(())
    }

    fn read(&mut self, place: &Place) -> Option<()> {
        match self.peek() {
            b'"' => {
                let start = self.at + 1;
                let len = self.plain_string()?;
                self.reading.value(place, Found::Text(&self.event[start..start + len]));
            }
            b'-' | b'0'..=b'9' => {
                let number = self.number()?;
                self.reading.number(place, number);
            }
            b'{' => {
                self.reading.value(place, Found::Object);
                self.members(|scan, start, len| {
                    scan.value(place.members.get_beginning(&scan.bytes[start..], len))
                })?;
            }
            b'[' => {
                self.reading.value(place, Found::Array);
                let mut wanted = place.elements.iter().peekable();
                self.elements(|scan, index| {
                    scan.value(wanted.next_if(|&&(next, _)| next == index).map(|&(_, below)| below))
                })?;
            }
            b't' => {
                self.word("true")?;
                self.reading.value(place, Found::Boolean(true));
            }
            b'f' => {
                self.word("false")?;
                self.reading.value(place, Found::Boolean(false));
            }
            _ => {
                self.word("null")?;
                self.reading.null(place);
            }
        }
        Some(())
    }

    /// A value that nothing reads, `depth` below one that something does: JSON all the same.
    fn skip(&mut self, depth: usize) -> Option<()> {
        match self.peek() {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            b'{' if depth < DEPTH_MAX => self.members(|scan, _, _| scan.skip(depth + 1)),
            b'[' if depth < DEPTH_MAX => self.elements(|scan, _| scan.skip(depth + 1)),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            _ => self.word("null"),
        }
    }

    /// An object. `member` reads each value; it is told where its key starts and how long it is.
    #[inline]
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, usize, usize) -> Option<()>,
    ) -> Option<()> {
        self.at += 1;
        if self.token() == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            if self.peek() != b'"' {
                return None;
            }
            let start = self.at + 1;
            let len = self.plain_string()?;
            if self.token() != b':' {
                return None;
            }
            self.at += 1;
            self.token();
            member(self, start, len)?;
            if self.is_last(b'}')? {
                return Some(());
            }
        }
    }

    /// An array. `element` reads each value and is told its index.
    #[inline]
    fn elements(&mut self, mut element: impl FnMut(&mut Self, usize) -> Option<()>) -> Option<()> {
        self.at += 1;
        if self.token() == b']' {
            self.at += 1;
            return Some(());
        }
        for index in 0.. {
            element(self, index)?;
            if self.is_last(b']')? {
                break;
            }
        }
        Some(())
    }

    /// Behind a member or an element: whether `close` follows, or else, behind a comma, another.
    #[inline]
    fn is_last(&mut self, close: u8) -> Option<bool> {
        let next = self.token();
        self.at += 1;
        if next == b',' {
            self.token();
            return Some(false);
        }
        (next == close).then_some(true)
    }

    /// A string without escapes: its length, the quotes left out.
    #[inline]
    fn plain_string(&mut self) -> Option<usize> {
        let start = self.at + 1;
        let end = self.plain_end(start);
        self.at = end + 1;
        (self.bytes.get(end) == Some(&b'"')).then_some(end - start)
    }

    /// A string that may have escapes.
    fn string(&mut self) -> Option<()> {
        while self.plain_string().is_none() {
            // What stopped it is behind us; the loop takes the byte before the next for a quote.
            let escaped = match self.bytes.get(self.at - 1) {
                Some(b'\\') => self.bytes.get(self.at)?,
                _ => return None,
            };
            match escaped {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                b'u' => {
                    let digits = self.bytes.get(self.at + 1..self.at + 5)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    self.at += 4;
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// Where the first byte from `at` on stands that is no plain part of a string: a quote, a
    /// backslash or a control character, or else the end of the text.
    #[inline]
    fn plain_end(&self, mut at: usize) -> usize {
        while let Some(eight) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            let special = specials(u64::from_le_bytes(*eight));
            if special != 0 {
                return at + special.trailing_zeros() as usize / 8;
            }
            at += 8;
        }
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
        let rest = &self.bytes[at..];
        at + rest.iter().position(is_special).unwrap_or(rest.len())
    }

    /// A number, rounded to the nearest f64 as `serde_json` and the standard library do.
    #[inline]
    fn number(&mut self) -> Option<f64> {
        let start = self.at;
        let negative = self.peek() == b'-';
        self.at += usize::from(negative);
        let mut mantissa = 0;
        let leads_with_zero = self.peek() == b'0';
        let whole = self.digits(&mut mantissa)?;
        if leads_with_zero && whole > 1 {
            return None;
        }
        let mut fraction = 0;
        if self.peek() == b'.' {
            self.at += 1;
            fraction = self.digits(&mut mantissa)?;
        }
        // Up to 2^53 a mantissa is an f64, as is the power of ten, and the division rounds once
        // (Clinger 1990). An integer is rounded once in any case.
        let sure = fraction == 0 || mantissa <= EXACT_MAX;
        if whole + fraction > DIGITS_MAX || !sure || self.peek() | 0x20 == b'e' {
            return self.unusual_number(start);
        }
        let number = mantissa as f64 / POWERS[fraction];
        Some(if negative { -number } else { number })
    }

    /// The number that began at `start` and is read as far as its exponent.
    #[cold]
    fn unusual_number(&mut self, start: usize) -> Option<f64> {
        if self.peek() | 0x20 == b'e' {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), b'+' | b'-'));
            self.digits(&mut 0)?;
        }
        let number = self.event[start..self.at].parse::<f64>().ok()?;
        number.is_finite().then_some(number)
    }

    /// At least one digit: how many, put to `number`'s right, which wraps beyond 19.
    #[inline]
    fn digits(&mut self, number: &mut u64) -> Option<usize> {
        let start = self.at;
        while let digit @ 0..=9 = self.peek().wrapping_sub(b'0') {
            *number = number.wrapping_mul(10).wrapping_add(digit.into());
            self.at += 1;
        }
        (self.at > start).then_some(self.at - start)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let rest = self.bytes.get(self.at..)?;
        self.at += word.len();
        rest.starts_with(word.as_bytes()).then_some(())
    }

    /// The next byte behind white space.
    #[inline]
    fn token(&mut self) -> u8 {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.peek()
    }

    /// The next byte; NUL, which is nothing in JSON, at the end.
    #[inline]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or_default()
    }
}

/// The upper bit of each of eight bytes that is a quote, a backslash or a control character. A
/// byte above such a one may be taken for another, so that only the lowest bit can be relied on.
#[inline]
fn specials(eight: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // A byte less than n borrows from its upper bit, which it had not set.
    let below = |bytes: u64, n: u8| bytes.wrapping_sub(ONES * u64::from(n)) & !bytes;
    let equal = |byte: u8| below(eight ^ (ONES * u64::from(byte)), 1);
    (equal(b'"') | equal(b'\\') | below(eight, b' ')) & (ONES << 7)
}
