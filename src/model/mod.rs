//! Models: what a bundle holds, and how a matrix becomes predictions.

pub mod bundle;
