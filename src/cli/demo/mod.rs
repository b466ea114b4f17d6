//! `foretell demo`: the tour.
//!
//! ```text
//! flights ─ feeder ─→ Kafka (events) ─→ foretell, on a stage ─→ Kafka (predictions, dead letters)
//!             fault                        inside | outside                        │
//!                        tour: one loop ←── facts ←── reader (events too) ←────────┘
//!                        ledger counts, screen shows, summary tells
//!                        closing: the stream changes, and a trainer answers
//! ```
//! Everything that is said about the run is counted by the reader from the topics.

mod answer;
mod closing;
mod fact;
mod fault;
mod feeder;
mod flights;
mod inside;
mod introduction;
mod ledger;
mod live;
mod luggage;
mod outside;
mod process;
mod quality;
mod reader;
mod screen;
mod settings;
mod stage;
mod summary;
mod tour;
mod verdict;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use clap::Args;

use super::failure::Failure;
use super::{environment, logging};
use crate::config::Log;
use flights::{Arrivals, Flights};
use inside::Inside;
use ledger::Ledger;
use live::Live;
use luggage::Luggage;
use outside::Outside;
use quality::Quality;
use reader::Reader;
use screen::Screen;
use stage::Stage;
use tour::{Moments, Plan, Publishers, Tour};

/// Facts that wait to be taken in; more of them make the reader wait.
const FACTS_MAX: usize = 10_000;
/// Each kind of broken event comes so often.
const FAULT_ROUNDS: u64 = 3;

/// Take the tour: real flights, live predictions, a model swapped in mid stream
///
/// Without options, everything runs inside this program. On a real Kafka the tour is exactly once,
/// with two instances of which one is killed; credentials come from the environment, as in
/// FORETELL_KAFKA_PROPERTIES_SASL_PASSWORD.
#[derive(Debug, Args)]
pub struct Demo {
    /// Take the tour on this Kafka; its topics are created, and deleted at the end
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap_servers: Option<String>,
    /// Number of flights
    #[arg(long, default_value_t = 24_000, value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    events: u64,
    /// Flights a second
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// Go on after the tour, until Ctrl-C
    #[arg(long)]
    serve: bool,
    /// Leave the topics of this run where they are
    #[arg(long, requires = "bootstrap_servers")]
    keep: bool,
}

impl Demo {
    pub fn run(&self) -> Result<(), Failure> {
        let (tell, facts) = sync_channel(FACTS_MAX);
        fact::catch_signals(tell.clone())?;
        // The story is on stdout; of the instance inside, only what is wrong.
        logging::install(&Log { level: "warn".into(), ..Log::default() });
        let luggage = Luggage::unpack()?;
        let stage: Box<dyn Stage> = match &self.bootstrap_servers {
            None => Box::new(Inside::start(&luggage)?),
            Some(servers) => Box::new(Outside::start(servers, environment(), self.keep, &luggage)?),
        };
        let plan = self.plan();
        Tour {
            publishers: Publishers::new(&stage.config().kafka)?,
            facts,
            _reader: Reader::start(stage.config(), &tell)?,
            stage,
            luggage,
            flights: Arc::new(Flights::unpack()?),
            plan,
            screen: Screen::new(Live::new(Some(plan.records()))),
            ledger: Ledger::new(Quality::new(Arrivals::unpack()?)),
            moments: Moments::default(),
        }
        .take()
    }

    fn plan(&self) -> Plan {
        let faults = fault::Fault::ALL.len() as u64 * FAULT_ROUNDS;
        Plan {
            flights: self.events,
            rate: self.rate,
            fault_every: (self.events / faults).max(1),
            serves_on: self.serve,
        }
    }
}
