//! `foretell run`: the program.

use super::failure::Failure;
use super::{Configured, logging};
use crate::app::App;

pub fn run(configured: &Configured) -> Result<(), Failure> {
    let config = configured.load()?;
    logging::install(&config.log);
    let app = App::build(config)?;
    app.run_until_signal()?;
    Ok(())
}
