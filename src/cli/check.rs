//! `foretell check`: everything that a start checks, without joining the group.

use super::Configured;
use super::failure::Failure;
use crate::app;
use crate::bus::admin;
use crate::bus::options::Options;
use crate::stop::Stop;

pub fn run(configured: &Configured) -> Result<(), Failure> {
    let config = configured.load()?;
    eprintln!("configuration: good");
    match &config.model.bundle {
        Some(folder) => {
            let admitted = app::configured_bundle(&config, folder)?;
            eprintln!(
                "bundle {}: model {} version {}, {} golden rows within {:e}",
                folder.display(),
                admitted.version.model,
                admitted.version.version,
                admitted.golden_rows,
                admitted.golden_difference,
            );
        }
        None => eprintln!("bundle: none configured; the first announced version will serve"),
    }
    app::bundle_store(&config, Stop::default())?;
    admin::preflight(&mut Options::new(&config))?;
    eprintln!("brokers and topics: good");
    Ok(())
}
