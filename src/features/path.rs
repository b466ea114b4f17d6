//! JSON pointers, and the tree that all pointers of a contract form together.

use std::collections::BTreeMap;

use super::contract::Part;
use super::value::Reader;
use super::words::Words;

/// A pointer with more tokens is refused: the walk recurses once a token, and `serde_json` stops
/// at 128.
const TOKENS_MAX: usize = 64;

/// Why a path is not a usable JSON pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerFault {
    #[error("has to start with `/`")]
    NoSlash,
    #[error("has a `~` that is neither `~0` (for `~`) nor `~1` (for `/`)")]
    BadEscape,
    #[error("has more than {TOKENS_MAX} steps")]
    TooLong,
    #[error("names the whole event, which is an object and no feature")]
    WholeEvent,
}

/// The steps of a JSON pointer (RFC 6901), unescaped; none for `""`, the whole document.
pub fn parse(pointer: &str) -> Result<Vec<String>, PointerFault> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let steps = pointer.strip_prefix('/').ok_or(PointerFault::NoSlash)?;
    let steps = steps.split('/').map(unescape).collect::<Result<Vec<_>, _>>()?;
    if steps.len() > TOKENS_MAX { Err(PointerFault::TooLong) } else { Ok(steps) }
}

fn unescape(step: &str) -> Result<String, PointerFault> {
    let mut pieces = step.split('~');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (escaped, rest) = match piece.as_bytes().first() {
            Some(b'0') => ('~', &piece[1..]),
            Some(b'1') => ('/', &piece[1..]),
            _ => return Err(PointerFault::BadEscape),
        };
        plain.push(escaped);
        plain.push_str(rest);
    }
    Ok(plain)
}

/// The array index that a step names: digits without a leading zero.
fn index(step: &str) -> Option<usize> {
    let digits = step.bytes().all(|byte| byte.is_ascii_digit());
    let plain = step == "0" || !step.starts_with('0');
    if digits && plain { step.parse().ok() } else { None }
}

/// A place in the event that some pointer names or passes through.
#[derive(Debug, Default)]
pub struct Place {
    /// The places below, if the value is an object: each key with its place's number.
    pub members: Words,
    /// The same, if the value is an array: (index, place), ascending.
    pub elements: Vec<(usize, usize)>,
    /// The column that reads the value here as the number it is, if no other reads it and none
    /// reads below: so it is with most of the values that are read.
    pub number: Option<usize>,
    /// The columns that read the value here.
    pub readers: Vec<(usize, Reader)>,
    /// The columns that read a part of the timestamp here. They stand apart so that it is
    /// parsed once for all of them.
    pub parts: Vec<(usize, Part)>,
    /// The captures of the value here.
    pub captures: Vec<usize>,
    /// One of 64, by which a place is remembered as visited. Places that share one only cost
    /// each other time.
    pub bit: u64,
    /// All columns and captures of the places below.
    pub columns_below: Vec<usize>,
    pub captures_below: Vec<usize>,
}

impl Place {
    /// Whether anything but captures wants the value here.
    pub fn is_read(&self) -> bool {
        let below = !self.columns_below.is_empty() || !self.captures_below.is_empty();
        below || !self.readers.is_empty() || !self.parts.is_empty()
    }

    /// The columns that read the value here, in no order.
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        self.readers.iter().map(|&(c, _)| c).chain(self.parts.iter().map(|&(c, _)| c))
    }
}

/// What a pointer leads to.
pub enum Want {
    Value(usize, Reader),
    Part(usize, Part),
    Capture(usize),
}

/// Collects pointers into places; place 0 is the whole document.
#[derive(Default)]
pub struct Tree {
    places: Vec<Place>,
    /// The steps down from each place, until they are frozen into `members` and `elements`.
    steps: Vec<BTreeMap<String, usize>>,
}

impl Tree {
    pub fn new() -> Self {
        Self { places: vec![Place::default()], steps: vec![BTreeMap::new()] }
    }

    pub fn insert(&mut self, pointer: &[String], want: Want) {
        let mut at = 0;
        for step in pointer {
            match want {
                Want::Value(column, _) | Want::Part(column, _) => {
                    self.places[at].columns_below.push(column);
                }
                Want::Capture(capture) => self.places[at].captures_below.push(capture),
            }
            at = self.step(at, step);
        }
        let place = &mut self.places[at];
        match want {
            Want::Value(column, reader) => place.readers.push((column, reader)),
            Want::Part(column, part) => place.parts.push((column, part)),
            Want::Capture(capture) => place.captures.push(capture),
        }
    }

    fn step(&mut self, from: usize, step: &str) -> usize {
        if let Some(&to) = self.steps[from].get(step) {
            return to;
        }
        let to = self.places.len();
        self.places.push(Place::default());
        self.steps.push(BTreeMap::new());
        self.steps[from].insert(step.to_owned(), to);
        to
    }

    pub fn freeze(mut self) -> Vec<Place> {
        for (number, (place, steps)) in self.places.iter_mut().zip(self.steps).enumerate() {
            place.bit = 1 << (number % 64);
            place.number = match &place.readers[..] {
                [(column, Reader::Number)] if place.parts.is_empty() && steps.is_empty() => {
                    Some(*column)
                }
                _ => None,
            };
            place.elements =
                steps.iter().filter_map(|(step, &to)| Some((index(step)?, to))).collect();
            place.elements.sort_unstable();
            place.members = steps.into_iter().collect();
        }
        self.places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_unescaped_step_by_step() {
        let check = |pointer, steps: &[&str]| assert_eq!(parse(pointer).unwrap(), steps);
        check("", &[]);
        check("/", &[""]);
        check("/a/b", &["a", "b"]);
        check("/a~1b/~0~01/~01", &["a/b", "~~1", "~1"]);
        assert_eq!(parse("a"), Err(PointerFault::NoSlash));
        assert_eq!(parse("/a~"), Err(PointerFault::BadEscape));
        assert_eq!(parse("/a~é"), Err(PointerFault::BadEscape));
        assert_eq!(parse(&"/a".repeat(65)), Err(PointerFault::TooLong));
    }

    #[test]
    fn array_indices_are_plain_digits() {
        assert_eq!([index("0"), index("10")], [Some(0), Some(10)]);
        assert!(
            ["", "-", "+1", "01", "1e1", "99999999999999999999"]
                .iter()
                .all(|step| index(step).is_none())
        );
    }
}
