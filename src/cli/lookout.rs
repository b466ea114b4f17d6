//! The lookout: reads the control log and the reports to their ends, then follows both. It joins no
//! group, so that looking changes nothing.

use std::time::{Duration, Instant};

use super::history::History;
use crate::bus::Fatal;
use crate::bus::tail::{Record, Step, Tail};
use crate::config::Config;
use crate::control::registry::Configured;
use crate::model::bundle::{Bundle, Terms};
use crate::observe::fleet::Fleet;
use crate::observe::quality::evaluators::Evaluators;

/// How long one look at a topic waits.
const TICK: Duration = Duration::from_millis(50);
/// Brokers that are well answer sooner.
const ANSWER: Duration = Duration::from_secs(5);

pub struct Lookout {
    control: Tail,
    reports: Tail,
    pub history: History,
    pub fleet: Fleet,
    pub evaluators: Evaluators,
}

impl Lookout {
    /// Reads all that there is now.
    ///
    /// # Errors
    /// A topic cannot be read.
    pub fn open(config: &Config) -> Result<Self, Fatal> {
        let name = &config.model.name;
        let mut fleet = Fleet::new(name, config.reports.interval_ms);
        let mut evaluators = Evaluators::new(name, config.reports.interval_ms);
        let mut reports = Tail::open(&config.kafka, &config.topics.reports)?;
        reports.read_to_end(patience(config), |record| {
            report(&mut fleet, &mut evaluators, record);
        })?;
        // By what the instances say where the bundle is not on this machine.
        let configured = configured(config).or_else(|| fleet.configured());
        let (control, history) = control_log(config, configured.as_ref())?;
        Ok(Self { control, reports, history, fleet, evaluators })
    }

    /// Takes in what has come since, for a tenth of a second.
    ///
    /// # Errors
    /// A topic can no longer be read.
    pub fn look(&mut self) -> Result<(), Fatal> {
        drain(&mut self.control, |record| self.history.take(record))?;
        let Self { reports, fleet, evaluators, .. } = self;
        drain(reports, |record| report(fleet, evaluators, record))
    }

    /// Asks whether the brokers answer: during an outage the whole fleet seems to be silent.
    ///
    /// # Errors
    /// They do not.
    pub fn reach(&self) -> Result<(), Fatal> {
        self.reports.reach(ANSWER)
    }
}

/// The control log, read to its end, and where it goes on.
pub fn control_log(
    config: &Config,
    configured: Option<&Configured>,
) -> Result<(Tail, History), Fatal> {
    let mut history = History::new(&config.model.name, configured);
    let mut control = Tail::open(&config.kafka, &config.topics.control)?;
    control.read_to_end(patience(config), |record| history.take(record))?;
    Ok((control, history))
}

/// The version of the bundle that the configuration names, where it can be read.
pub fn configured(config: &Config) -> Option<Configured> {
    let folder = config.model.bundle.as_ref()?;
    let bytes_max = config.model.bytes_max;
    let terms = Terms { digest: None, bytes_max, trusted_keys: &[] };
    match Bundle::read(folder, terms) {
        Ok(Bundle { manifest, digest, .. }) => {
            Some(Configured { version: manifest.version, digest })
        }
        Err(error) => {
            eprintln!("which version `model.bundle` is, is not known here: {error}");
            None
        }
    }
}

fn patience(config: &Config) -> Duration {
    Duration::from_millis(config.kafka.connect_timeout_ms)
}

fn report(fleet: &mut Fleet, evaluators: &mut Evaluators, record: &Record) {
    let name = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
    fleet.take(&name, record.value.as_deref());
    evaluators.take(&name, record.value.as_deref());
}

fn drain(tail: &mut Tail, mut take: impl FnMut(&Record)) -> Result<(), Fatal> {
    let until = Instant::now() + TICK;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if let Step::Record(record) = tail.next(left)? {
            take(&record);
        }
    }
}
