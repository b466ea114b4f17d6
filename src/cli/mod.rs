//! The command line: one file a command, each thin.
//!
//! Data goes to stdout, talk to stderr. Exit codes are those of sysexits; see [`failure`].

mod anatomy;
pub mod announce;
mod check;
mod columns;
mod demo;
mod evaluate;
pub mod failure;
pub mod history;
mod init;
mod inspect;
pub mod lines;
mod list;
mod logging;
pub mod lookout;
mod pack;
pub mod reading;
mod redrive;
mod replay;
mod resume;
mod run;
mod sample;
mod score;
mod sign;
mod status;
mod wait;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory, Parser, Subcommand};

use crate::config::{Config, ConfigError, Sources};
use failure::Failure;

/// Turns a Kafka topic of JSON events into a Kafka topic of predictions.
#[derive(Debug, Parser)]
#[command(name = "foretell", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve: score events until stopped
    Run(Configured),
    /// Take the tour: real flights, live predictions, a model swapped in mid stream
    Demo(demo::Demo),
    /// Check configuration, bundle, brokers and topics; join nothing
    Check(Configured),
    /// Create the topics with the settings they need
    Init(init::Init),
    /// Show every instance, and whether all serve what they shall; exits with 1 if not
    Status(status::Status),
    /// Say how good predictions were, as their labels become known, until stopped
    Evaluate(Configured),
    /// Let workers that hold events back write them to the dead letters, and go on
    Resume(resume::Resume),
    /// Score JSON lines from stdin with a bundle, without Kafka
    Score(score::Score),
    /// Score past events with any version, and see how it differs from what was predicted then
    Replay(Box<replay::Replay>),
    /// Put dead letters back on the events topic, each once, to be scored again
    Redrive(Box<redrive::Redrive>),
    /// Pack, inspect, sign and announce models, and list what was said about them
    #[command(subcommand)]
    Model(Model),
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

#[derive(Debug, Subcommand)]
enum Model {
    /// Make a bundle of a model file, a contract and golden rows
    Pack(pack::Pack),
    /// Show what a bundle holds, and whether it passes the gate
    Inspect(inspect::Inspect),
    /// Vouch for a bundle, with a key of the `minisign` tool
    Sign(sign::Sign),
    /// Tell all instances that a version is ready
    Announce(announce::Announce),
    /// Let an announced version serve
    Promote(announce::Promote),
    /// Take a version back
    Rollback(announce::Rollback),
    /// Show the history of the model: announced, promoted, rolled back, when and why
    List(list::List),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
pub struct Configured {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "FORETELL_CONFIG")]
    config: Option<PathBuf>,
    /// Overrule one key, as in `--set batch.age_max_ms=10`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Configured {
    /// The configuration, from file, environment and command line.
    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&Sources {
            file: self.config.clone(),
            environment: environment(),
            set: self.set.clone(),
        })
    }
}

/// The configuration that a file and the environment make.
///
/// # Errors
/// All of its faults.
pub fn configuration(file: &Path) -> Result<Config, ConfigError> {
    Configured { config: Some(file.to_owned()), set: Vec::new() }.load()
}

/// The variables that are text; `std::env::vars` panics on others.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl Cli {
    /// Reads the command line of this process; ends it, after help or with 64, where there is nothing
    /// to run.
    pub fn read() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            let _ = error.print();
            // clap's own code for a mistake is 2; help and version are none.
            std::process::exit(if error.use_stderr() { 64 } else { 0 });
        })
    }

    /// Runs the command; a failure is told on stderr.
    pub fn run(self) -> ExitCode {
        match self.command.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.tell(),
        }
    }

    /// The whole command line as data: for the man page, and for the test that compares docs with it.
    pub fn command() -> Command {
        <Self as CommandFactory>::command()
    }
}

impl Verb {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Run(configured) => run::run(&configured),
            Self::Demo(demo) => demo.run(),
            Self::Check(configured) => check::run(&configured),
            Self::Init(init) => init.run(),
            Self::Status(status) => status.run(),
            Self::Evaluate(configured) => evaluate::run(&configured),
            Self::Resume(resume) => resume.run(),
            Self::Score(score) => score.run(),
            Self::Replay(replay) => replay.run(),
            Self::Redrive(redrive) => redrive.run(),
            Self::Model(Model::Pack(pack)) => pack.run(),
            Self::Model(Model::Inspect(inspect)) => inspect.run(),
            Self::Model(Model::Sign(sign)) => sign.run(),
            Self::Model(Model::Announce(announce)) => announce.run(),
            Self::Model(Model::Promote(promote)) => promote.run(),
            Self::Model(Model::Rollback(rollback)) => rollback.run(),
            Self::Model(Model::List(list)) => list.run(),
            Self::Completions { shell } => {
                clap_complete::generate(
                    shell,
                    &mut Cli::command(),
                    "foretell",
                    &mut std::io::stdout(),
                );
                Ok(())
            }
            Self::Man => Ok(clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?),
        }
    }
}
