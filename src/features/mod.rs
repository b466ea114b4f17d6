//! From an event's JSON to a row of the matrix.
//!
//! [`contract`] says which fields are features. [`decode::Decoder`] is the contract compiled:
//! `path` makes one tree of all pointers, `scan` goes along it through an event that leaves no
//! doubt, `walk` through any other while `serde_json` reads it, and both tell a `reading` what
//! they meet. `value` turns what stands at a leaf into a number, and `words` finds keys and
//! categories. `reference` is the same as a specification, for tests and fuzzers.

pub mod contract;
pub mod decode;
mod path;
mod reading;
mod scan;
mod value;
mod walk;
mod words;

pub use path::PointerFault;
pub use value::is_unknown;

#[cfg(test)]
mod agreement;
#[cfg(any(test, fuzzing))]
pub mod reference;
#[cfg(test)]
mod tests;
