//! From one JSON value to a number.

use std::fmt;

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;

use super::contract::{Kind, Part, Term, Unknown};
use super::words::Words;
use crate::reject::Reason;

/// Bytes of an event's own text that a message repeats.
const ECHO_BYTES_MAX: usize = 64;

/// What an unknown category that counts as missing is in the matrix: a NaN, as all that is missing, so that no model tells
/// the two apart; but one of its own, so that who counts can.
const UNKNOWN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// Is this the missing value of a category that is not in the vocabulary?
pub fn is_unknown(v: f64) -> bool {
    v.to_bits() == UNKNOWN.to_bits()
}

/// A JSON value as far as a feature can tell: null is absent, and of objects and arrays only
/// that they are no scalars counts.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    Boolean(bool),
    Number(f64),
    Text(&'a str),
    Array,
    Object,
}

impl Found<'_> {
    fn kind(self) -> &'static str {
        match self {
            Self::Boolean(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Boolean(boolean) => write!(f, "{boolean}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) if text.len() <= ECHO_BYTES_MAX => write!(f, "{text:?}"),
            Self::Text(text) => {
                write!(f, "{:?}…", &text[..text.floor_char_boundary(ECHO_BYTES_MAX)])
            }
            Self::Array | Self::Object => f.write_str(self.kind()),
        }
    }
}

/// Why a value is none of its feature's, in words that follow the feature's name and place.
#[derive(Debug)]
pub struct Fault {
    pub reason: Reason,
    pub what: String,
}

impl Fault {
    fn wrong_kind(expected: &str, found: impl fmt::Display) -> Self {
        let what = format!("expected {expected}, found {found}");
        Self { reason: Reason::WrongKind, what }
    }

    pub fn no_timestamp(found: Found<'_>) -> Self {
        match found {
            Found::Text(_) => Self::wrong_kind("a timestamp", found),
            other => Self::wrong_kind("a timestamp", other.kind()),
        }
    }
}

/// How a column reads its value, if that is no timestamp.
#[derive(Debug)]
pub enum Reader {
    Number,
    Boolean,
    Category(Vocabulary),
}

impl Reader {
    /// The number that stands for `found`; `None` if the feature cannot hold it.
    pub fn read(&self, found: Found<'_>) -> Option<f64> {
        match (self, found) {
            (Self::Number, Found::Number(number)) => Some(number),
            (Self::Boolean, Found::Boolean(boolean)) => Some(f64::from(u8::from(boolean))),
            (Self::Category(vocabulary), found) => vocabulary.code(found),
            (Self::Number | Self::Boolean, _) => None,
        }
    }

    /// Why `found` could not be read.
    pub fn fault(&self, found: Found<'_>) -> Fault {
        match (self, found) {
            (Self::Number, _) => Fault::wrong_kind("a number", found.kind()),
            (Self::Boolean, _) => Fault::wrong_kind("a boolean", found.kind()),
            (Self::Category(_), Found::Array | Found::Object) => {
                Fault::wrong_kind("a string, a number or a boolean", found.kind())
            }
            (Self::Category(_), _) => Fault {
                reason: Reason::UnknownCategory,
                what: format!("{found} is not in the vocabulary"),
            },
        }
    }
}

/// A feature's vocabulary, made for looking up: a term's code is its place in the contract.
#[derive(Debug)]
pub struct Vocabulary {
    texts: Words,
    /// By number, ascending; -0 is written 0.
    numbers: Vec<(f64, f64)>,
    /// The code of `false` and of `true`.
    booleans: [Option<f64>; 2],
    /// What a value outside the vocabulary becomes; `None`: a dead letter.
    unknown: Option<f64>,
}

impl Vocabulary {
    /// `missing`: what a missing value of this feature becomes.
    pub fn new(terms: &[Term], unknown: Unknown, missing: f64) -> Self {
        let mut texts = Vec::new();
        let mut numbers = Vec::new();
        let mut booleans = [None; 2];
        for (code, term) in terms.iter().enumerate() {
            match term {
                Term::Text(text) => texts.push((text.clone(), code)),
                Term::Number(number) => numbers.push((number + 0.0, code as f64)),
                Term::Boolean(boolean) => booleans[usize::from(*boolean)] = Some(code as f64),
            }
        }
        numbers.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let unknown = match unknown {
            Unknown::Missing if missing.is_nan() => Some(UNKNOWN),
            Unknown::Missing => Some(missing),
            Unknown::Reject => None,
            Unknown::Code => Some(terms.len() as f64),
        };
        Self { texts: texts.into_iter().collect(), numbers, booleans, unknown }
    }

    fn code(&self, found: Found<'_>) -> Option<f64> {
        let code = match found {
            Found::Text(text) => self.texts.get(text).map(|code| code as f64),
            Found::Boolean(boolean) => self.booleans[usize::from(boolean)],
            Found::Number(number) => self.number_code(number + 0.0),
            Found::Array | Found::Object => return None,
        };
        code.or(self.unknown)
    }

    fn number_code(&self, number: f64) -> Option<f64> {
        let place = self.numbers.binary_search_by(|(term, _)| term.total_cmp(&number)).ok()?;
        Some(self.numbers[place].1)
    }
}

/// A date and time as an event writes it.
#[derive(Debug)]
pub struct Timestamp {
    /// The clock and calendar where the event was written.
    civil: DateTime,
    offset: Offset,
}

impl Timestamp {
    /// Reads ISO 8601 as Temporal does: `2013-01-01T05:15:00-05:00`, with a space or `T`, with
    /// or without seconds, fraction, offset and zone. A date alone is its midnight.
    pub fn parse(text: &str) -> Option<Self> {
        let pieces = Pieces::parse(text).ok()?;
        let civil = pieces.date().to_datetime(pieces.time().unwrap_or_default());
        Some(Self { civil, offset: pieces.to_numeric_offset().unwrap_or(Offset::UTC) })
    }

    /// `None` if the instant is outside the years -9999 to 9999, to which the offset can push it.
    pub fn part(&self, part: Part) -> Option<f64> {
        Some(match part {
            Part::Month => f64::from(self.civil.month()),
            Part::Day => f64::from(self.civil.day()),
            Part::Weekday => f64::from(self.civil.weekday().to_monday_zero_offset()),
            Part::Hour => f64::from(self.civil.hour()),
            Part::Minute => f64::from(self.civil.minute()),
            Part::EpochSeconds => {
                let instant = self.offset.to_timestamp(self.civil).ok()?;
                instant.as_second() as f64 + f64::from(instant.subsec_nanosecond()) / 1e9
            }
        })
    }
}

/// The reader of a kind, or the part of a timestamp it is.
pub fn reader(kind: &Kind, missing: f64) -> Result<Reader, Part> {
    match kind {
        Kind::Number => Ok(Reader::Number),
        Kind::Boolean => Ok(Reader::Boolean),
        Kind::Category { vocabulary, unknown } => {
            Ok(Reader::Category(Vocabulary::new(vocabulary, *unknown, missing)))
        }
        Kind::Timestamp { part } => Err(*part),
    }
}
