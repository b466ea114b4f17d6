//! The version to beat.

use std::path::Path;

use super::settings::{CONTROL, Settings};
use crate::app;
use crate::cli::failure::Failure;
use crate::cli::{configuration, lookout};
use crate::config::Config;
use crate::control::registry::Source;
use crate::model::gate::{self, Expected, Times};
use crate::model::version::Version;
use crate::stop::Stop;

/// The version that serves now, if the settings name one and there is one.
///
/// # Errors
/// It cannot be read. Nothing is announced then: nobody knows whether it would be worse.
pub fn served(settings: &Settings) -> Result<Option<Version>, Failure> {
    match (settings.evaluate.served.as_deref(), settings.instances()) {
        (None, _) => Ok(None),
        (Some(CONTROL), Some(instances)) => by_control(&configuration(instances)?),
        (Some(folder), _) => in_folder(Path::new(folder)).map(Some),
    }
}

/// A bundle on this machine, through the gate.
pub fn in_folder(folder: &Path) -> Result<Version, Failure> {
    let settings = app::gate_settings_for_tools();
    let admitted = gate::admit(folder, Expected::default(), &settings, &mut Times::default())?;
    Ok(admitted.version)
}

/// What the control log makes serve, or, before anything was said, the configured bundle.
fn by_control(config: &Config) -> Result<Option<Version>, Failure> {
    let configured = lookout::configured(config);
    let (_, history) = lookout::control_log(config, configured.as_ref())?;
    let Some(goal) = history.wanted() else { return Ok(None) };
    let Some(Source::Announced { uri, digest }) = history.source(&goal.version) else {
        return config.model.bundle.as_deref().map(in_folder).transpose();
    };
    let bundle = app::bundle_store(config, Stop::default())?
        .fetch(uri, digest)
        .map_err(|error| Failure::data(format!("version {} serves: {error}", goal.version)))?;
    let settings = app::gate_settings_for_tools();
    let admitted = gate::judge(bundle, Expected::default(), &settings, &mut Times::default())?;
    Ok(Some(admitted.version))
}
