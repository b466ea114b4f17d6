//! How good predictions were, once it is known what happened. Pure: records and the time come from outside.
//!
//! ```text
//! prediction ─▶ said ─┐
//!                     ├─▶ window (joined by id) ─▶ measure (by version) ─▶ bounds
//! label ──────▶ label ┘
//! ```
//!
//! `foretell evaluate` (`cli/evaluate/`) feeds it from topics; a training shares labels and metrics.

pub mod bounds;
pub mod label;
pub mod measure;
pub mod metrics;
pub mod said;
pub mod window;
