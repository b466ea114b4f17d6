//! The loop under faults: real workers on a bus that has groups, generations, revokes, crashes and
//! commits of unknown fate, all by seed.
//!
//! One seed is one run, always the same. `FORETELL_SIM_SEED=17 cargo test --test it simulation`
//! plays a single one and tells each fault, what it led to, and how each transaction ends.
//! `FORETELL_SIM_SEEDS=10000` plays more of them (`make chaos` does).

mod check;
mod events;
mod run;
mod versions;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use foretell::bus::memory::faults::{Broken, Fault, Sight, Tally};

use check::check;
use run::{Deed, run};

/// Unless `FORETELL_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 1_000;
/// That a law was taken away shows within so many seeds.
const SEEDS_TO_NOTICE: u64 = 300;

/// What many runs add up to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    tally: Tally,
    deeds: BTreeMap<Deed, u64>,
    predictions: usize,
    dead_letters: usize,
    retries: u64,
    holds: u64,
    steps: u64,
    failed: BTreeMap<u64, Vec<String>>,
}

#[test]
fn every_event_has_one_outcome_whatever_goes_wrong() {
    let seeds = match std::env::var("FORETELL_SIM_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("FORETELL_SIM_SEED is a number");
            tell();
            seed..seed + 1
        }
        Err(_) => {
            let seeds = std::env::var("FORETELL_SIM_SEEDS").ok().filter(|seeds| !seeds.is_empty());
            let seeds = seeds.map(|seeds| seeds.parse().expect("FORETELL_SIM_SEEDS is a number"));
            0..seeds.unwrap_or(SEEDS)
        }
    };
    let alone = seeds.end - seeds.start == 1;
    let sum = play(seeds, None);
    println!(
        "{} seeds, {} steps, {} predictions, {} dead letters, {} retries, {} turns that held a batch back",
        sum.seeds, sum.steps, sum.predictions, sum.dead_letters, sum.retries, sum.holds
    );
    println!("{:?}\n{:?}\n{:?}", sum.deeds, sum.tally.faults, sum.tally.sights);
    if let Some((seed, faults)) = sum.failed.first_key_value() {
        panic!(
            "{} seeds fail; seed {seed}:\n{}\n\nhint: FORETELL_SIM_SEED={seed} cargo test --test it simulation",
            sum.failed.len(),
            faults.join("\n"),
        );
    }
    if !alone {
        everything_happened(&sum);
    }
}

/// A simulation in which nothing goes wrong proves nothing.
fn everything_happened(sum: &Sum) {
    use Deed::{
        Break, Freeze, Join, Kill, Leave, Mend, Outage, Resume, Rollback, Shadow, Storm, Swap,
        UnservedEvents,
    };
    let mut missing: Vec<String> = Vec::new();
    let faults = Fault::ALL.iter().filter(|fault| !sum.tally.faults.contains_key(fault));
    missing.extend(faults.map(|fault| format!("{fault:?}")));
    let sights = Sight::ALL.iter().filter(|sight| !sum.tally.sights.contains_key(sight));
    missing.extend(sights.map(|sight| format!("{sight:?}")));
    let deeds = [
        Break,
        Freeze,
        Join,
        Kill,
        Leave,
        Mend,
        Outage,
        Resume,
        Rollback,
        Shadow,
        Storm,
        Swap,
        UnservedEvents,
    ];
    let deeds = deeds.iter().filter(|deed| !sum.deeds.contains_key(deed));
    missing.extend(deeds.map(|deed| format!("{deed:?}")));
    missing.extend((sum.holds == 0).then(|| "a batch that is held back".into()));
    assert!(missing.is_empty(), "never happened: {}", missing.join(", "));
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..5 {
        let (one, other) = (run(seed, None), run(seed, None));
        assert_eq!(one.steps, other.steps, "seed {seed}");
        assert_eq!(format!("{:?}", one.predictions), format!("{:?}", other.predictions));
        assert_eq!(format!("{:?}", one.dead_letters), format!("{:?}", other.dead_letters));
    }
}

#[test]
fn the_checker_notices_every_law_that_is_taken_away() {
    for broken in Broken::ALL {
        let caught = (0..SEEDS_TO_NOTICE).find_map(|seed| {
            let faults = check(&run(seed, Some(broken)));
            let fault = faults.iter().find(|f| f.starts_with("lost") || f.starts_with("doubled"));
            fault.map(|fault| (seed, fault.clone()))
        });
        let (seed, fault) =
            caught.unwrap_or_else(|| panic!("{broken:?} passes {SEEDS_TO_NOTICE} seeds"));
        println!("{broken:?}: seed {seed}: {fault}");
    }
}

/// Plays seeds, as many at a time as there are cores.
fn play(seeds: std::ops::Range<u64>, broken: Option<Broken>) -> Sum {
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new(Sum::default());
    let lanes = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let told = OnPanic(seed);
                    let left = run(seed, broken);
                    let faults = check(&left);
                    drop(told);
                    sum.lock().unwrap().add(seed, &left, faults);
                }
            });
        }
    });
    sum.into_inner().unwrap()
}

impl Sum {
    fn add(&mut self, seed: u64, left: &run::Left, faults: Vec<String>) {
        self.seeds += 1;
        self.tally.add(&left.tally);
        for (deed, count) in &left.deeds {
            *self.deeds.entry(*deed).or_default() += count;
        }
        self.predictions += left.predictions.len();
        self.dead_letters += left.dead_letters.len();
        self.retries += left.counted.retries;
        self.holds += left.counted.holds;
        self.steps += left.steps;
        if !faults.is_empty() {
            self.failed.insert(seed, faults);
        }
    }
}

/// Says which seed it was that panicked.
struct OnPanic(u64);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            let seed = self.0;
            eprintln!("hint: FORETELL_SIM_SEED={seed} cargo test --test it simulation");
        }
    }
}

/// Everything that happens, on standard error.
fn tell() {
    let _ = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(std::io::stderr)
        .without_time()
        .try_init();
}
