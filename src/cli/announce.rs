//! `foretell model announce`, `promote` and `rollback`: one control message each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Configured;
use super::failure::Failure;
use super::wait::Patience;
use crate::app;
use crate::bus::publish::Publisher;
use crate::config::Config;
use crate::control;
use crate::control::message::{Criteria, Message, Rollout};
use crate::model::bundle::BundleError;
use crate::model::gate::{self, Expected, Settings, Times};
use crate::stop::Stop;

/// Tell all instances that a version is ready
#[derive(Debug, Args)]
pub struct Announce {
    #[command(flatten)]
    configured: Configured,
    /// Folder of the bundle; it has to pass the gate here first
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    /// Where the instances find the bundle, if it is not at this path for them
    #[arg(long)]
    uri: Option<String>,
    /// How the version comes to serve
    #[arg(long, value_enum, default_value_t = RolloutArg::Immediate)]
    rollout: RolloutArg,
    #[command(flatten)]
    promote_when: PromoteWhen,
    #[command(flatten)]
    patience: Patience,
}

/// With `--rollout shadow`: the instances promote the version by themselves
#[derive(Debug, Args)]
#[command(next_help_heading = "What a shadow has to show to be promoted")]
struct PromoteWhen {
    /// At least so many events scored on an instance, beside the version that serves
    #[arg(long, value_name = "ROWS")]
    promote_rows: Option<u64>,
    /// For at least so long
    #[arg(long, value_name = "MINUTES", requires = "promote_rows")]
    promote_minutes: Option<f64>,
    /// At most this share of them with another class, 0 to 1
    #[arg(long, value_name = "SHARE", requires = "promote_rows")]
    promote_flips_max: Option<f64>,
    /// An event costs at most so many times what the version that serves takes
    #[arg(long, value_name = "RATIO", requires = "promote_rows")]
    promote_cost_ratio_max: Option<f64>,
}

impl PromoteWhen {
    fn criteria(&self) -> Option<Criteria> {
        Some(Criteria {
            rows: self.promote_rows?,
            minutes: self.promote_minutes.unwrap_or_default(),
            flips_max: self.promote_flips_max,
            cost_ratio_max: self.promote_cost_ratio_max,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RolloutArg {
    /// As soon as it has passed an instance's gate
    Immediate,
    /// It waits for `promote`, scored beside the served version
    Shadow,
    /// It waits for `promote`
    Hold,
}

/// Let an announced version serve
#[derive(Debug, Args)]
pub struct Promote {
    #[command(flatten)]
    configured: Configured,
    version: String,
    /// Only if this version serves
    #[arg(long, value_name = "VERSION")]
    from: Option<String>,
    /// For those who read the log later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

/// Take a version back
#[derive(Debug, Args)]
pub struct Rollback {
    #[command(flatten)]
    configured: Configured,
    /// The version that shall serve no longer; if it does not serve, nothing happens
    #[arg(long)]
    from: String,
    /// The version that shall serve instead; default: the one that served before
    #[arg(long)]
    to: Option<String>,
    /// For those who read the log later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

impl Announce {
    pub fn run(&self) -> Result<(), Failure> {
        let config = self.configured.load()?;
        let rollout = match self.rollout {
            RolloutArg::Immediate => Rollout::Immediate,
            RolloutArg::Shadow => Rollout::Shadow,
            RolloutArg::Hold => Rollout::Hold,
        };
        let promote_when = self.promote_when.criteria();
        let message = complete(&config, &self.bundle, self.uri.clone(), rollout, promote_when)?;
        if let Some(fault) = message.fault() {
            return Err(Failure::usage(fault));
        }
        publish(&config, &message, &self.patience)
    }
}

impl Promote {
    pub fn run(&self) -> Result<(), Failure> {
        let config = self.configured.load()?;
        let model = config.model.name.clone();
        let message = Message::Promote {
            model,
            version: self.version.clone(),
            from: self.from.clone(),
            reason: self.reason.clone(),
        };
        publish(&config, &message, &self.patience)
    }
}

impl Rollback {
    pub fn run(&self) -> Result<(), Failure> {
        let config = self.configured.load()?;
        let message = Message::Rollback {
            model: config.model.name.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            reason: self.reason.clone(),
        };
        publish(&config, &message, &self.patience)
    }
}

/// The message that announces a bundle; it has to pass the gate here first. `uri`: where the
/// instances find it, by default at its path here.
pub fn complete(
    config: &Config,
    bundle: &Path,
    uri: Option<String>,
    rollout: Rollout,
    promote_when: Option<Criteria>,
) -> Result<Message, Failure> {
    let admitted = gate::admit(
        bundle,
        Expected { model: Some(&config.model.name), ..Expected::default() },
        // With the defaults, but signed as the instances want it.
        &Settings { trusted_keys: app::trusted_keys(config), ..app::gate_settings_for_tools() },
        &mut Times::default(),
    )?;
    let here = bundle.canonicalize()?;
    let uri = uri.unwrap_or_else(|| here.display().to_string());
    match app::bundle_store(config, Stop::default())?.permit(&uri) {
        Ok(()) => {}
        // No instance can read it, and with a secret in it nobody should.
        Err(error @ BundleError::Uri { .. }) => return Err(Failure::usage(error.to_string())),
        // Only a word: the instances' own configuration may allow more.
        Err(error) => {
            eprintln!("warning: instances with this configuration will refuse it: {error}");
        }
    }
    Ok(Message::RetrainComplete {
        model: admitted.version.model,
        version: admitted.version.version,
        uri,
        digest: admitted.version.digest,
        rollout,
        promote_when,
    })
}

/// Publishes a control message; says how it reads and at which offset it stands, where the broker
/// told.
pub(super) fn say(
    publisher: &Publisher,
    config: &Config,
    message: &Message,
) -> Result<(String, Option<i64>), Failure> {
    let value = control::say::say(publisher, &config.topics.control, message)?;
    let offset = publisher.flush(Duration::from_millis(config.kafka.connect_timeout_ms))?;
    Ok((value, offset))
}

/// Says it and prints it; gives the offset at which it stands.
pub fn say_aloud(config: &Config, message: &Message) -> Result<Option<i64>, Failure> {
    let (value, offset) = say(&Publisher::new(&config.kafka)?, config, message)?;
    println!("{value}");
    if let Some(offset) = offset {
        eprintln!("said at offset {offset} of `{}`", config.topics.control);
    }
    Ok(offset)
}

/// Says it aloud, and waits for those who shall follow.
fn publish(config: &Config, message: &Message, patience: &Patience) -> Result<(), Failure> {
    let waiting = patience.begin(config)?;
    let offset = say_aloud(config, message)?;
    match (waiting, offset) {
        (None, _) => Ok(()),
        (Some(waiting), Some(offset)) => waiting.follow(offset),
        (Some(_), None) => Err(Failure::late(
            "the broker did not tell at which offset the message stands, so nobody can wait for it",
        )),
    }
}
