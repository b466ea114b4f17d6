//! Retraining: offline, used by `foretell-train` and by nothing else; prediction knows nothing of it.

pub mod fit;
pub mod metrics;
