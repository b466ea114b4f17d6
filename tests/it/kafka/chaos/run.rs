//! A run: the load, one act of harm after the other, the audit, the report.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::audit::audit;
use super::fault::{self, Fault};
use super::recovery::{Recovery, Summary};
use super::settings::{Profile, Settings};
use super::stage::{PARTITIONS, Stage, Struck};
use super::witness::Witness;
use crate::kafka::broker::Broker;
use crate::kafka::deployment::Deployment;
use crate::kafka::eventually::{SOON, becomes, eventually};
use crate::kafka::feeder::Feeder;
use crate::kafka::instance::do_share;
use crate::kafka::topics;

/// Events a second.
const RATE: u64 = 400;
/// A fault is followed by another before it is mended, once in so many.
const TWO_AT_ONCE_IN: u32 = 2;
/// Between the two.
const SECOND_AFTER_MS: u64 = 3_000;
/// Between an act's end and the next one.
const PAUSE_MS: u64 = 1_000;

/// On the brokers, for the fast profile.
const FAST_BROKER: &str = "transaction.abort.timed.out.transaction.cleanup.interval.ms=1000";

pub fn run(settings: &Settings) {
    let Settings { faults, seed, profile, .. } = settings;
    println!("{faults} faults of seed {seed}, time-outs: {}", profile.name());
    let began = Instant::now();
    let broker = start_brokers(*profile);
    let deployment = Arc::new(deployment(&broker, *profile));
    let mut rng = fastrand::Rng::with_seed(*seed);
    let deck = fault::deck(&mut rng, *faults, &settings.only);
    let witness = Witness::start(&deployment);
    let feeder = Feeder::start(&deployment, RATE);
    let _standing = Standing(&deployment, &broker);
    let mut run = Run {
        stage: Stage::new(&broker, &deployment, rng),
        witness,
        time_outs: time_outs(*profile),
        is_alone: !settings.only.is_empty(),
        done: 0,
        of: *faults,
        recoveries: Vec::new(),
    };
    run.begin();
    run.play(deck);
    feeder.stop();
    let Run { witness, recoveries, stage, .. } = run;
    let fed = deployment.fed.load(Ordering::Relaxed);
    // If not, the audit names those that were not.
    becomes(2 * SOON, || witness.look().rows.len() as u64 >= fed);
    // Whoever says something twice shall have had the time to.
    let_pass(Duration::from_secs(1));
    let verdict = audit(&deployment, witness.dismiss());
    let took = began.elapsed().as_secs();
    println!("\n{}\n\n{verdict}", Summary(&recoveries));
    println!("{took} s in all, {} instances that were stuck started again", stage.restarts);
    verdict.is_clean();
    // librdkafka's is rare; more are ours.
    assert!(stage.restarts <= 1 + faults / 10, "{} instances were stuck", stage.restarts);
}

/// Shows where the topics stand if the test fails, and keeps the brokers' data: `org.apache.kafka.tools.DumpLogSegments` tells of
/// each record which transaction it is of.
struct Standing<'a>(&'a Deployment, &'a Broker);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprint!("── as the brokers have it:\n{}", topics::standing(self.0));
            if let Some(kept) = self.1.keep() {
                eprintln!("── their data is in {}", kept.display());
            }
        }
    }
}

/// Both brokers.
fn start_brokers(profile: Profile) -> Broker {
    // What was led by a broker that went is given back to it, so that its next fault is felt, too.
    let mut settings = vec!["leader.imbalance.check.interval.seconds=5"];
    if profile == Profile::Fast {
        settings.push(FAST_BROKER);
    }
    Broker::start_beside_another_with("chaos", &settings)
}

fn deployment(broker: &Broker, profile: Profile) -> Deployment {
    let deployment = Deployment::on(broker, "chaos", PARTITIONS);
    match profile {
        // Session and transaction are the tests'; survivors hear of a death sooner.
        Profile::Fast => deployment.with("consumer.heartbeat_interval_ms", 500),
        Profile::Shipped => SHORTENED.iter().fold(deployment, |it, key| it.without(key)),
    }
}

/// What the tests' deployments set to shorten their time.
const SHORTENED: [&str; 3] = [
    "consumer.session_timeout_ms",
    "consumer.heartbeat_interval_ms",
    "delivery.transaction_timeout_ms",
];

/// After so long the brokers have given up on an instance and on its transaction.
fn time_outs(profile: Profile) -> Duration {
    match profile {
        // Session 6 s; transaction 5 s, looked for every second.
        Profile::Fast => Duration::from_secs(6),
        // Session 10 s; transaction 5 s, looked for every ten.
        Profile::Shipped => Duration::from_secs(16),
    }
}

struct Run<'a> {
    stage: Stage<'a>,
    witness: Witness,
    time_outs: Duration,
    /// One fault at a time.
    is_alone: bool,
    done: usize,
    of: usize,
    recoveries: Vec<Recovery>,
}

impl Run<'_> {
    fn begin(&mut self) {
        self.settle();
        let all: Vec<_> = (0..PARTITIONS).collect();
        self.witness.await_answers(SOON, "the start", &all, 1);
    }

    /// A fault that finds nothing to harm proves nothing: each instance has partitions.
    fn settle(&mut self) {
        // One whose client is stuck takes two minutes to end; one whose client does not find back into the group, six to join anew.
        eventually(5 * SOON, "all instances to have partitions", || {
            self.stage.see_all_alive();
            let instances: Vec<_> = self.stage.instances.iter().collect();
            do_share(PARTITIONS, &instances).then_some(())
        });
    }

    fn play(&mut self, mut deck: Vec<Fault>) {
        while let Some(first) = deck.pop() {
            self.settle();
            self.pause(PAUSE_MS);
            let fits = |second: &Fault| !(first.is_brokers() && second.is_brokers());
            let is_double = !self.is_alone && self.stage.rng.u32(..TWO_AT_ONCE_IN) == 0;
            let second = if is_double && deck.last().is_some_and(fits) { deck.pop() } else { None };
            self.act(first, second);
        }
    }

    /// Harm, mending, and the wait until nothing is held up any more.
    fn act(&mut self, first: Fault, second: Option<Fault>) {
        let mut struck = vec![self.strike(first)];
        if let Some(second) = second {
            self.pause(SECOND_AFTER_MS);
            struck.push(self.strike(second));
        }
        struck.sort_by_key(|struck| struck.mend_at);
        for struck in &mut struck {
            self.stage.mend(struck);
        }
        for struck in &struck {
            let Struck { fault, victim, partitions, number, at, .. } = struck;
            let what = format!("{} of {victim}", fault.name());
            let to = self.await_recovery(&what, partitions, *number);
            let silence = self.witness.silence(partitions, *at, to);
            self.done += 1;
            let felt = silence.map_or(0.0, |silence| silence.as_secs_f64());
            let (done, of, at) = (self.done, self.of, at.as_secs_f64());
            println!("{done:4}/{of} {at:7.1} s  {what}: {felt:.1} s");
            let fault = second.is_none().then_some(*fault);
            self.recoveries.push(Recovery { fault, silence });
        }
    }

    /// Gives when the partitions were answered again.
    fn await_recovery(&mut self, what: &str, partitions: &[i32], number: u64) -> Duration {
        let what = format!("answers to new events on {partitions:?} after {what}");
        eventually(SOON, &what, || {
            self.stage.see_all_alive();
            let is_answered = self.witness.unanswered(partitions, number).is_empty();
            is_answered.then(|| self.witness.now())
        })
    }

    fn strike(&mut self, fault: Fault) -> Struck {
        self.stage.strike(fault, self.time_outs, &self.witness)
    }

    /// Any time up to so long.
    fn pause(&mut self, ms_max: u64) {
        let_pass(Duration::from_millis(self.stage.rng.u64(..=ms_max)));
    }
}

/// A moment chosen by chance is not an event that could be awaited.
pub fn let_pass(time: Duration) {
    thread::sleep(time);
}
