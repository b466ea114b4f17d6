//! Who serves: control messages, the registry that folds them, and the loader that acts on it.

mod alarm;
pub mod event;
pub mod fetches;
pub mod loader;
pub mod message;
pub mod refused;
pub mod registry;
pub mod say;
mod setup;
mod target;
pub mod trial;
