//! `foretell demo`: the tour.

use clap::Args;

use super::failure::Failure;

/// Take the tour: real flights, live predictions, a model swapped in mid stream
#[derive(Debug, Args)]
pub struct Demo {}

impl Demo {
    pub fn run(&self) -> Result<(), Failure> {
        Err(Failure::usage("not yet"))
    }
}
