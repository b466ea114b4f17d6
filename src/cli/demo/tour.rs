//! The tour: one loop that takes in facts, and the chapters that it goes through.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::HumanCount;

use super::fact::{Fact, Read};
use super::feeder::{Arrivals, Feed, Feeder};
use super::flights::Flights;
use super::ledger::{Entry, Ledger};
use super::live::Live;
use super::luggage::Luggage;
use super::reader::Reader;
use super::screen::Screen;
use super::stage::{Stage, Strike};
use super::{introduction, summary, verdict};
use crate::bus::Fatal;
use crate::bus::publish::Publisher;
use crate::cli::announce;
use crate::cli::failure::Failure;
use crate::config::Kafka;
use crate::control::message::Rollout;

/// The live line is looked after so often, whatever comes in.
const TICK: Duration = Duration::from_millis(100);
/// So many flights show whether everything is in its place.
const FIRST: u64 = 8;
const READY_TIMEOUT: Duration = Duration::from_secs(45);
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(60);
/// When so long nothing more has come in, nothing more will.
const QUIET: Duration = Duration::from_secs(1);

/// What the visitor has asked for.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub flights: u64,
    pub rate: u64,
    /// A broken event comes after so many flights.
    pub fault_every: u64,
    pub serves_on: bool,
}

impl Plan {
    /// Broken events among them.
    pub fn faults(&self) -> u64 {
        self.flights / self.fault_every
    }

    pub fn records(&self) -> u64 {
        self.flights + self.faults()
    }
}

/// Dropped in this order: whoever sends facts must find that nobody takes them, and Kafka is the
/// last to go.
pub struct Tour {
    pub facts: Receiver<Fact>,
    pub _reader: Reader,
    pub publishers: Publishers,
    pub stage: Box<dyn Stage>,
    pub luggage: Luggage,
    pub flights: Arc<Flights>,
    pub plan: Plan,
    pub screen: Screen,
    pub ledger: Ledger,
    pub moments: Moments,
}

/// Made before the tour: a new producer needs half a second until its first record is out.
pub struct Publishers {
    pub flights: Arc<Publisher>,
    pub control: Publisher,
}

impl Publishers {
    pub fn new(kafka: &Kafka) -> Result<Self, Fatal> {
        Ok(Self { flights: Arc::new(Publisher::new(kafka)?), control: Publisher::new(kafka)? })
    }
}

/// What happened when.
#[derive(Default)]
pub struct Moments {
    /// Flights published.
    pub flights: u64,
    /// Records published, broken ones included.
    pub published: u64,
    pub announced: Option<Instant>,
    pub course: Course,
    pub struck: Option<Strike>,
    /// Latencies before an instance was killed.
    pub calm: Option<Histogram<u64>>,
    pub interrupts: u32,
}

/// What has come of the producer's new release: each in its turn, as the control topic tells it.
#[derive(Default)]
pub struct Course {
    /// It is out; where to tell what becomes of the flights.
    pub arrivals: Option<Arrivals>,
    /// An instance has asked for a new version.
    pub asked: bool,
    /// That version.
    pub trained: Option<String>,
}

impl Moments {
    /// The first Ctrl-C ends the feed; the second does not wait for answers either.
    pub fn is_abandoned(&self) -> bool {
        self.interrupts > 1
    }
}

impl Tour {
    pub fn take(mut self) -> Result<(), Failure> {
        introduction::print(&self)?;
        self.gather()?;
        self.feed_all()?;
        self.settle(ANSWERS_TIMEOUT)?;
        self.close_the_loop()?;
        self.settle(ANSWERS_TIMEOUT)?;
        if !self.serves_on() {
            self.stage.stop()?;
        }
        self.wait(QUIET, |_| false)?;
        self.screen.live.clear();
        summary::print(&self)?;
        verdict::pass(&self)?;
        if self.serves_on() {
            self.serve()?;
        }
        Ok(())
    }

    fn serves_on(&self) -> bool {
        self.plan.serves_on && !self.is_over()
    }

    pub(super) fn is_over(&self) -> bool {
        self.moments.interrupts > 0
    }

    /// Waits for the instances, then sends a first few flights through.
    fn gather(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + READY_TIMEOUT;
        while !self.stage.is_ready()? && !self.is_over() {
            if Instant::now() > until {
                return Err(unready("the instances do not share the partitions"));
            }
            self.step()?;
        }
        self.screen.heading("Predictions as they come; two a second are shown")?;
        self.screen.head()?;
        self.feed(Some(FIRST.min(self.plan.flights)), |_, _| Ok(false))?;
        let published = self.moments.published;
        let is_answered = |tour: &Self| tour.is_answered(published) || tour.is_over();
        if !self.wait(READY_TIMEOUT, is_answered)? {
            return Err(unready("the first flights got no predictions"));
        }
        self.ledger.forget_latency();
        Ok(())
    }

    /// The tour proper: all flights, and half-way another version.
    fn feed_all(&mut self) -> Result<(), Failure> {
        let all = self.plan.flights;
        self.feed(Some(all), |tour, fed| {
            if fed >= all / 2 && tour.moments.announced.is_none() {
                tour.announce()?;
            }
            if fed >= all / 2 + all / 8 && tour.moments.calm.is_none() {
                tour.strike()?;
            }
            Ok(false)
        })
    }

    /// Publishes flights and takes in what comes back, until the last is out, or the visitor has seen enough.
    /// `is_enough` is told how many flights are out.
    pub(super) fn feed(
        &mut self,
        to: Option<u64>,
        mut is_enough: impl FnMut(&mut Self, u64) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        if self.is_over() {
            return Ok(());
        }
        let from = self.moments.flights;
        let feed = Feed {
            topic: self.stage.config().topics.events.clone(),
            flights: Arc::clone(&self.flights),
            from,
            to,
            rate: self.plan.rate,
            fault_every: self.plan.fault_every,
            arrivals: self.moments.course.arrivals.clone(),
        };
        let mut feeder = Feeder::start(feed, Arc::clone(&self.publishers.flights))?;
        while !feeder.is_done() && !self.is_over() && !is_enough(self, from + feeder.flights())? {
            self.step()?;
        }
        self.moments.published += feeder.stop()?;
        self.moments.flights = from + feeder.flights();
        // The last of them may have gone out since it was asked.
        if !self.is_over() {
            is_enough(self, self.moments.flights)?;
        }
        Ok(())
    }

    fn announce(&mut self) -> Result<(), Failure> {
        let config = self.stage.config();
        let bundle = self.luggage.bundle("2");
        let message = announce::complete(config, &bundle, None, Rollout::Immediate, None)?;
        self.moments.announced = Some(Instant::now());
        let (value, offset) = announce::say(&self.publishers.control, config, &message)?;
        let offset = offset.map(|offset| format!(", offset {offset}")).unwrap_or_default();
        self.screen.heading("Half-way: version 2 is ready, and a message says so")?;
        self.screen.line(format_args!("  on {}{offset}:", config.topics.control))?;
        self.screen.json(&value)?;
        Ok(())
    }

    fn strike(&mut self) -> Result<(), Failure> {
        self.moments.calm = Some(self.ledger.latency().clone());
        let Some(strike) = self.stage.strike()? else { return Ok(()) };
        self.ledger.watch_silence();
        self.screen
            .heading("kill -9: one of the two instances is gone, in the middle of its work")?;
        self.screen.line(format_args!(
            "  {}, process {}, had partitions {:?}. The other takes over once the broker misses it.",
            strike.instance, strike.process, strike.partitions
        ))?;
        self.moments.struck = Some(strike);
        Ok(())
    }

    /// Waits until everything is answered.
    fn settle(&mut self, timeout: Duration) -> Result<(), Failure> {
        let published = self.moments.published;
        if self.is_over() && !self.is_answered(published) {
            self.screen.line("\nStopping once all is answered. Ctrl-C again leaves at once.")?;
        }
        self.wait(timeout, |tour| tour.is_answered(published) || tour.moments.is_abandoned())?;
        Ok(())
    }

    fn is_answered(&self, published: u64) -> bool {
        let counts = self.ledger.counts();
        counts.events >= published && counts.open() == 0
    }

    /// Takes in facts until `is_met`; says whether it was, within `timeout`.
    fn wait(&mut self, timeout: Duration, is_met: impl Fn(&Self) -> bool) -> Result<bool, Failure> {
        let until = Instant::now() + timeout;
        while !is_met(self) {
            if Instant::now() >= until {
                return Ok(false);
            }
            self.step()?;
        }
        Ok(true)
    }

    /// Takes in one fact, or lets a tick pass.
    pub(super) fn step(&mut self) -> Result<(), Failure> {
        match self.facts.recv_timeout(TICK) {
            Ok(Fact::Read(read)) => self.read(&read)?,
            Ok(Fact::Failed(fatal)) => return Err(fatal.into()),
            Ok(Fact::Interrupted) => self.moments.interrupts += 1,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if self.screen.live.is_due() {
            self.screen.live.show(self.ledger.counts());
            self.stage.check()?;
        }
        Ok(())
    }

    fn read(&mut self, read: &Read) -> Result<(), Failure> {
        let reasons = self.ledger.reasons().len();
        match self.ledger.enter(read) {
            Entry::Prediction(prediction) => {
                self.screen.live.note(&prediction.version, read.latency_ms());
                self.screen.prediction(&prediction)?;
            }
            // One of each kind is enough to see.
            Entry::DeadLetter(letter) if self.ledger.reasons().len() > reasons => {
                self.screen.dead_letter(&letter)?;
            }
            Entry::Message(message) => self.hear(&message)?,
            Entry::Event | Entry::DeadLetter(_) | Entry::Unreadable => {}
        }
        Ok(())
    }

    /// Goes on until Ctrl-C.
    fn serve(&mut self) -> Result<(), Failure> {
        introduction::print_again(self)?;
        self.screen = Screen::new(Live::new(None));
        self.screen.head()?;
        self.feed(None, |_, _| Ok(false))?;
        self.settle(ANSWERS_TIMEOUT)?;
        self.stage.stop()?;
        self.wait(QUIET, |_| false)?;
        self.screen.live.clear();
        let counts = self.ledger.counts();
        self.screen.line(format_args!(
            "\n{} events, {} lost, {} doubled.",
            HumanCount(counts.events),
            verdict::lost(self),
            counts.doubled
        ))?;
        Ok(verdict::pass(self)?)
    }
}

fn unready(what: &str) -> Failure {
    Fatal::Unavailable(format!("{what} within {} s", READY_TIMEOUT.as_secs())).into()
}
