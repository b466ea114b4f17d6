//! From an event's JSON to a row of the matrix.

pub mod contract;
