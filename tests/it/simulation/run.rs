//! One run: workers, and the world that gives them events, versions, and a hard time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use foretell::batch::Bounds;
use foretell::breaker::Breaker;
use foretell::bus::Fatal;
use foretell::bus::memory::cluster::{MemoryCluster, WORLD};
use foretell::bus::memory::faults::{Broken, Faults, Tally};
use foretell::bus::memory::log::{Output, Topic};
use foretell::bus::memory::transactions::Transaction;
use foretell::bus::memory::{Client, MemoryBus, Options};
use foretell::config::Output as OutputConfig;
use foretell::encode::Encoder;
use foretell::model::version::Version;
use foretell::outbox::Outbox;
use foretell::recent::Recent;
use foretell::serving::{Served, Serving};
use foretell::shadow::Shadow;
use foretell::worker::Worker;

use super::events::{Fate, Input, LETTER_BYTES_MAX, event};
use super::versions::version;

/// The events topic, as predictions name it.
pub const TOPIC: &str = "events";
const VERSIONS: usize = 5;
const WORKERS_MAX: usize = 4;
/// What the world does before it lets the workers finish.
const ACTS: usize = 400;
/// As many more join at once, and leave at once.
const GUESTS: usize = 3;
/// Sessions last 150 steps and transactions 300: some frozen workers are missed, some are not.
const FROZEN_STEPS_MAX: u64 = 600;
const AWAY_STEPS_MAX: u64 = 400;
/// So many turns of the world without everything settled, and nothing going wrong: it is stuck.
const DRAIN_TURNS_MAX: usize = 20_000;

/// How often workers are told to go on, once nothing goes wrong any more, in turns of the world.
const RESUME_EVERY: usize = 50;

/// What a run leaves behind, for the checker to judge.
pub struct Left {
    pub inputs: Vec<Input>,
    pub swaps: Vec<Swap>,
    pub predictions: Vec<(Output, Transaction)>,
    pub dead_letters: Vec<(Output, Transaction)>,
    /// What shadows would have said.
    pub shadows: Vec<(Output, Transaction)>,
    /// What the workers' turns said they did.
    pub counted: Counted,
    pub is_settled: bool,
    pub tally: Tally,
    pub deeds: BTreeMap<Deed, u64>,
    /// Steps of everybody together.
    pub steps: u64,
}

/// A version began to serve.
#[derive(Debug, Clone, Copy)]
pub struct Swap {
    pub at: u64,
    pub control_offset: i64,
    pub version: usize,
    /// The version that scores beside it.
    pub shadow: Option<usize>,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Counted {
    pub predictions: u64,
    pub dead_letters: u64,
    pub retries: u64,
    /// Turns that held a batch back.
    pub holds: u64,
}

/// What the world does to the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// One more worker joins.
    Join,
    /// A worker is told to stop, and leaves the group.
    Leave,
    /// A worker dies wherever it is, a batch in hand, perhaps a transaction open.
    Kill,
    /// A worker does nothing for a while, wherever it is, and does not know.
    Freeze,
    /// Several workers join at once, and as many leave at once.
    Storm,
    /// No broker answers for a while.
    Outage,
    /// A version is swapped in.
    Swap,
    /// A version that served before is swapped in again, under a new control offset.
    Rollback,
    /// A version is swapped in that has a shadow.
    Shadow,
    /// The producer breaks, and sends nothing but garbage from now on.
    Break,
    /// It is mended.
    Mend,
    /// Workers that hold garbage back are told to go on.
    Resume,
    /// Events arrive while a worker has no version to score them with.
    UnservedEvents,
}

/// Plays a seed from beginning to end.
pub fn run(seed: u64, broken: Option<Broken>) -> Left {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut faults = Faults::mixed(seed);
    faults.broken = broken;
    let cluster = MemoryCluster::new(rng.usize(1..=5), faults);
    let turns = cluster.take_turns(WORLD);
    thread::scope(|scope| {
        let mut world = World::new(scope, cluster, rng);
        world.play();
        let is_settled = world.drain();
        let counted = world.dismiss();
        drop(turns);
        Left {
            predictions: world.cluster.committed(Topic::Predictions),
            dead_letters: world.cluster.committed(Topic::DeadLetters),
            shadows: world.cluster.committed(Topic::Shadow),
            counted,
            is_settled,
            tally: world.cluster.tally(),
            steps: world.cluster.look().clock,
            inputs: world.inputs,
            swaps: world.swaps,
            deeds: world.deeds,
        }
    })
}

struct World<'s, 'e> {
    scope: &'s Scope<'s, 'e>,
    cluster: MemoryCluster,
    rng: fastrand::Rng,
    serving: Serving,
    encoder: Encoder,
    bounds: Bounds,
    tile_rows: usize,
    /// Window and bound of the workers' breakers.
    breaker: (usize, Option<f64>),
    is_broken: bool,
    versions: Vec<Arc<Version>>,
    workers: Vec<Hand<'s>>,
    gone: Vec<Hand<'s>>,
    inputs: Vec<Input>,
    swaps: Vec<Swap>,
    deeds: BTreeMap<Deed, u64>,
}

/// The world's hold on a worker.
struct Hand<'s> {
    client: Client,
    transactional_id: String,
    leave: Arc<AtomicBool>,
    /// It is frozen until then.
    thaws: Option<u64>,
    was_killed: bool,
    thread: ScopedJoinHandle<'s, Counted>,
}

impl<'s, 'e> World<'s, 'e> {
    fn new(scope: &'s Scope<'s, 'e>, cluster: MemoryCluster, mut rng: fastrand::Rng) -> Self {
        let encoder = Encoder::new(TOPIC, &output());
        let rows_max = rng.usize(1..=40);
        let age_max = Duration::ZERO;
        let mut world = Self {
            scope,
            cluster,
            serving: Serving::default(),
            bounds: Bounds { rows_max, bytes_max: rng.usize(500..20_000), age_max },
            tile_rows: rng.usize(1..=16),
            breaker: (rng.usize(1..=60), rng.bool().then(|| rng.f64() * 0.8)),
            is_broken: false,
            versions: (0..VERSIONS).map(|number| version(number, &encoder)).collect(),
            encoder,
            rng,
            workers: Vec::new(),
            gone: Vec::new(),
            inputs: Vec::new(),
            swaps: Vec::new(),
            deeds: BTreeMap::new(),
        };
        for _ in 0..world.rng.usize(2..=WORKERS_MAX) {
            world.add_worker();
        }
        world
    }

    /// The eventful part.
    fn play(&mut self) {
        for _ in 0..ACTS {
            drop(self.cluster.step(WORLD));
            let now = self.cluster.look().clock;
            self.thaw(now);
            match self.rng.u32(..100) {
                0..20 => self.publish(),
                20..23 => self.swap(),
                23..25 if self.workers.len() < WORKERS_MAX => self.add_worker(),
                25..26 => self.remove_worker(Deed::Leave),
                26..28 => self.remove_worker(Deed::Kill),
                28..30 if self.is_broken => self.mend(),
                28..29 => {
                    self.is_broken = true;
                    self.did(Deed::Break);
                }
                30 => self.resume(),
                31..33 => self.freeze(now),
                33 => self.storm(),
                34 if self.rng.bool() => {
                    self.cluster.go_away(self.rng.u64(1..=AWAY_STEPS_MAX));
                    self.did(Deed::Outage);
                }
                _ => {}
            }
        }
    }

    fn mend(&mut self) {
        self.is_broken = false;
        self.did(Deed::Mend);
    }

    fn resume(&mut self) {
        self.serving.resume();
        self.did(Deed::Resume);
    }

    /// From here on nothing goes wrong. Says whether everything came to be settled. What is held back is let
    /// go of in one of two ways: somebody says so, or the newest events are sound.
    fn drain(&mut self) -> bool {
        self.cluster.calm();
        self.thaw(u64::MAX);
        // With the guests' turns between its own, a large batch would outlast its transaction.
        while self.workers.len() > WORKERS_MAX {
            self.remove_worker(Deed::Leave);
        }
        self.swap();
        self.mend();
        let is_told = self.rng.bool();
        let partitions = self.cluster.look().events.len() as i32;
        for _ in 0..if is_told { 0 } else { self.breaker.0 } {
            (0..partitions).for_each(|partition| self.publish_to(partition, true));
        }
        if self.workers.is_empty() {
            self.add_worker();
        }
        for turn in 0..DRAIN_TURNS_MAX {
            drop(self.cluster.step(WORLD));
            if is_told && turn % RESUME_EVERY == 0 {
                self.resume();
            }
            if self.cluster.is_settled() {
                return true;
            }
        }
        false
    }

    /// Sends every worker home, and sums up what they counted.
    fn dismiss(&mut self) -> Counted {
        while !self.workers.is_empty() {
            self.remove_worker(Deed::Leave);
        }
        while self.cluster.takers() > 1 {
            drop(self.cluster.step(WORLD));
        }
        let mut sum = Counted::default();
        for hand in self.gone.drain(..) {
            let counted = hand.thread.join().expect("a worker panicked");
            sum.predictions += counted.predictions;
            sum.dead_letters += counted.dead_letters;
            sum.retries += counted.retries;
            sum.holds += counted.holds;
        }
        sum
    }

    fn publish(&mut self) {
        if self.serving.load().is_none() {
            self.did(Deed::UnservedEvents);
        }
        let partitions = self.cluster.look().events.len();
        for _ in 0..self.rng.usize(1..=12) {
            let partition = self.rng.usize(..partitions) as i32;
            self.publish_to(partition, false);
        }
    }

    /// Publishes an event that everybody can score, or any.
    fn publish_to(&mut self, partition: i32, is_sound: bool) {
        let gap = if self.rng.u32(..5) == 0 { self.rng.i64(1..=3) } else { 0 };
        let (event, fate) = loop {
            let (event, fate) = event(self.inputs.len(), self.is_broken, &mut self.rng);
            if !is_sound || matches!(fate, Fate::Prediction { .. }) {
                break (event, fate);
            }
        };
        let offset = self.cluster.publish(partition, gap, event.clone());
        self.inputs.push(Input { partition, offset, event, fate });
    }

    fn swap(&mut self) {
        let number = self.rng.usize(..self.versions.len());
        let again = self.swaps.iter().any(|swap| swap.version == number);
        self.did(if again { Deed::Rollback } else { Deed::Swap });
        let before = self.swaps.last().map_or(0, |swap| swap.control_offset);
        let control_offset = before + self.rng.i64(1..=3);
        let shadow = self.rng.bool().then(|| self.rng.usize(..self.versions.len()));
        let served = Served::alone(self.versions[number].clone(), Some(control_offset));
        let shadows = shadow.map(|shadow| {
            self.did(Deed::Shadow);
            Arc::new(Shadow::new(self.versions[shadow].clone(), control_offset))
        });
        self.serving.swap(served.beside(shadows).into());
        let at = self.cluster.look().clock;
        self.swaps.push(Swap { at, control_offset, version: number, shadow });
    }

    fn add_worker(&mut self) {
        let client = self.cluster.client();
        // Some come back under the id of one that died, as a restarted instance does. One that was told to
        // leave may still be at work, and two of one id keep each other from it for ever.
        let dead = self.gone.iter().filter(|hand| hand.was_killed);
        let ids: Vec<_> = dead.map(|hand| &hand.transactional_id).collect();
        let free = |id: &&&String| self.workers.iter().all(|hand| hand.transactional_id != ***id);
        let known = self.rng.choice(ids.iter().filter(free).collect::<Vec<_>>());
        let transactional_id = match known.filter(|_| self.rng.bool()) {
            Some(id) => (**id).clone(),
            None => format!("worker-{client}"),
        };
        let leave = Arc::new(AtomicBool::new(false));
        let thread = self.spawn(client, transactional_id.clone(), leave.clone());
        self.workers.push(Hand {
            client,
            transactional_id,
            leave,
            thaws: None,
            was_killed: false,
            thread,
        });
        self.did(Deed::Join);
    }

    fn spawn(
        &self,
        client: Client,
        transactional_id: String,
        leave: Arc<AtomicBool>,
    ) -> ScopedJoinHandle<'s, Counted> {
        let turns = self.cluster.take_turns(client);
        let (cluster, serving) = (self.cluster.clone(), self.serving.clone());
        let (encoder, bounds, tile_rows) = (self.encoder.clone(), self.bounds, self.tile_rows);
        let (window_rows, ratio_max) = self.breaker;
        self.scope.spawn(move || {
            turns.begin();
            let options = Options { transactional_id, bounds, letter_bytes_max: LETTER_BYTES_MAX };
            let mut counted = Counted::default();
            if let Ok(bus) = MemoryBus::join(&cluster, client, options) {
                let outbox = Outbox::forwarding(&output().forward_headers);
                let recent = Recent::new(100);
                let breaker = Breaker::new(window_rows, ratio_max);
                let slot = serving.clone();
                let worker = Worker::new(bus, slot, recent, encoder, outbox, breaker, tile_rows);
                if await_version(&serving, &cluster, client, &leave) {
                    work(worker, &leave, &mut counted);
                }
            }
            counted
        })
    }

    /// Until some time to come.
    fn freeze(&mut self, now: u64) {
        let Some(hand) = self.rng.choice(&mut self.workers) else { return };
        if hand.thaws.is_none() {
            hand.thaws = Some(now + self.rng.u64(1..=FROZEN_STEPS_MAX));
            self.cluster.freeze(hand.client);
            self.did(Deed::Freeze);
        }
    }

    /// Those whose time has come.
    fn thaw(&mut self, now: u64) {
        for hand in &mut self.workers {
            if hand.thaws.take_if(|thaws| *thaws <= now).is_some() {
                self.cluster.thaw(hand.client);
            }
        }
    }

    /// Guests come, or those of before go.
    fn storm(&mut self) {
        let leave = self.workers.len() > WORKERS_MAX;
        for _ in 0..GUESTS {
            if leave {
                self.remove_worker(Deed::Leave);
            } else {
                self.add_worker();
            }
        }
        self.did(Deed::Storm);
    }

    fn remove_worker(&mut self, deed: Deed) {
        if self.workers.is_empty() {
            return;
        }
        let mut hand = self.workers.swap_remove(self.rng.usize(..self.workers.len()));
        match deed {
            Deed::Kill => {
                self.cluster.kill(hand.client);
                hand.was_killed = true;
            }
            _ => {
                self.cluster.thaw(hand.client);
                hand.leave.store(true, Ordering::Relaxed);
            }
        }
        self.gone.push(hand);
        self.did(deed);
    }

    fn did(&mut self, deed: Deed) {
        *self.deeds.entry(deed).or_default() += 1;
    }
}

/// Lets others go on until something serves; says `false` if an end came first.
fn await_version(
    serving: &Serving,
    cluster: &MemoryCluster,
    client: Client,
    leave: &AtomicBool,
) -> bool {
    while serving.load().is_none() {
        if leave.load(Ordering::Relaxed) || cluster.step(client).is_err() {
            return false;
        }
    }
    true
}

/// A worker's thread, as the program runs it.
fn work(mut worker: Worker<MemoryBus>, leave: &AtomicBool, counted: &mut Counted) {
    while !leave.load(Ordering::Relaxed) {
        match worker.turn() {
            Ok(turn) => {
                counted.predictions += turn.predictions;
                counted.dead_letters += turn.dead_letters.values().sum::<u64>();
                counted.retries += turn.retries;
                counted.holds += u64::from(turn.held.is_some());
            }
            // Dropped as it is, batch in hand: the nearest that a thread can come to dying.
            Err(Fatal::Unavailable(_)) => return,
            Err(fatal) => panic!("a worker gave up: {fatal}"),
        }
    }
    worker.close();
}

/// What the configuration says of predictions.
fn output() -> OutputConfig {
    let pointer = |text: &str| text.to_owned().try_into().expect("a pointer");
    OutputConfig {
        id: Some(pointer("/id")),
        carry: ["tag", "twin"].map(|name| (name.to_owned(), pointer("/tag"))).into(),
        ..OutputConfig::default()
    }
}
