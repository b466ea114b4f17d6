//! Offline retraining: labelled events become a version that has earned its announcement.
//!
//! ```text
//! load ─▶ clean ─▶ fit ─▶ evaluate ─▶ pack ─▶ announce
//! ```
//!
//! Each part is a function of the one before, and `foretell-train` has a subcommand for each. Events are
//! read through the contract by the same `features` that serve, and both versions are scored by the same
//! `score`: what is measured here is what production will get. Behind the feature `train`; `foretell`
//! knows nothing of it.

pub mod clean;
pub mod corner;
pub mod draft;
pub mod evaluate;
pub mod example;
pub mod fit;
pub mod load;
pub mod report;
pub mod run;
pub mod served;
pub mod settings;
pub mod watch;
