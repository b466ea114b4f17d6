//! The configuration of the tour's instances: `config/demo.toml` and what belongs to one run.

use std::fmt::Display;
use std::path::PathBuf;

use crate::config::{Config, ConfigError, Sources};

/// The file, and the keys that overrule it.
#[derive(Debug, Clone)]
pub struct Settings {
    file: PathBuf,
    set: Vec<String>,
}

impl Settings {
    pub fn new(file: PathBuf) -> Self {
        Self { file, set: Vec::new() }
    }

    #[must_use]
    pub fn set(mut self, key: &str, value: impl Display) -> Self {
        self.set.push(format!("{key}={value}"));
        self
    }

    /// For the command line of `foretell run`.
    pub fn arguments(&self) -> Vec<String> {
        let file = ["--config".to_owned(), self.file.display().to_string()];
        let set = self.set.iter().flat_map(|set| ["--set".to_owned(), set.clone()]);
        file.into_iter().chain(set).collect()
    }

    /// The same for a program that reads the file alone: as variables of its environment.
    pub fn variables(&self) -> Vec<(String, String)> {
        let set = self.set.iter().filter_map(|set| set.split_once('='));
        let name = |key: &str| format!("FORETELL_{}", key.replace('.', "_").to_uppercase());
        set.map(|(key, value)| (name(key), value.to_owned())).collect()
    }

    /// `environment`: what may add to it, such as the credentials for the brokers.
    pub fn load(&self, environment: Vec<(String, String)>) -> Result<Config, ConfigError> {
        Config::load(&Sources { file: Some(self.file.clone()), environment, set: self.set.clone() })
    }
}
