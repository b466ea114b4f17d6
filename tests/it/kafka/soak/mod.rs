//! Hours of the same: a fixed rate, a version every half minute, an instance that joins and leaves every
//! minute; and whether an instance holds more at the end than at the beginning.
//!
//! `make soak MINUTES=30` runs it on a release build. It fails when events are lost or doubled, and when
//! the file descriptors or threads of an instance have grown. Memory is told, by its slope.

mod figures;
mod vitals;

use std::env;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use figures::{Figures, Minute};
use vitals::Vitals;

use super::broker::Broker;
use super::chaos::audit::audit;
use super::chaos::witness::Witness;
use super::deployment::Deployment;
use super::eventually::{SOON, eventually};
use super::feeder::Feeder;
use super::instance::{Instance, await_shares};
use super::model;

const PARTITIONS: i32 = 6;
/// Events a second.
const RATE: u64 = 1000;
/// Between two looks at the instances.
const STEP: Duration = Duration::from_secs(1);
/// Of a minute, in seconds: when versions are announced, and when a guest comes and goes.
const ANNOUNCED_AT: [u64; 2] = [5, 35];
const GUEST_COMES_AT: u64 = 15;
const GUEST_GOES_AT: u64 = 45;

#[test]
#[ignore = "takes FORETELL_SOAK_MINUTES: `make soak`"]
fn an_instance_holds_no_more_after_a_while_than_at_first() {
    let minutes = env::var("FORETELL_SOAK_MINUTES").ok().filter(|minutes| !minutes.is_empty());
    let minutes = minutes.map_or(5, |minutes| minutes.parse().expect("a number of minutes"));
    assert!(minutes >= 3, "expected at least 3 minutes: the first is for warming up");
    println!("{minutes} minutes at {RATE} events/s, 2 instances and a guest; they are:");
    println!("{}", Figures::HEADER);
    let deployment = Arc::new(deployment());
    let residents = [deployment.start(), deployment.start()];
    let witness = Witness::start(&deployment);
    await_shares(SOON, PARTITIONS, &residents.each_ref());
    let feeder = Feeder::start(&deployment, RATE);
    let mut soak = Soak { deployment: &deployment, residents: &residents, guest: None, version: 1 };
    let mut figures = Figures::default();
    let mut began = Instant::now();
    for _ in 0..minutes {
        let minute = soak.minute(&witness, began);
        figures.add(minute);
        began += Duration::from_secs(60);
    }
    feeder.stop();
    let fed = deployment.fed.load(Ordering::Relaxed);
    eventually(SOON, &format!("all of {fed} events to be answered"), || {
        (witness.look().rows.len() as u64 >= fed).then_some(())
    });
    let verdict = audit(&deployment, witness.dismiss());
    println!("\n{figures}\n{verdict}");
    verdict.is_clean();
    figures.have_not_grown();
}

/// The program's own defaults, but for the logs and names that the tests need.
fn deployment() -> Deployment {
    Deployment::on(&Broker::start("soak"), "soak", PARTITIONS)
        .without("consumer.session_timeout_ms")
        .without("consumer.heartbeat_interval_ms")
        .without("delivery.transaction_timeout_ms")
        .without("reports.interval_ms")
        .with("http.listen", "127.0.0.1:0")
}

struct Soak<'a> {
    deployment: &'a Deployment,
    residents: &'a [Instance],
    guest: Option<Instance>,
    version: u32,
}

impl Soak<'_> {
    fn minute(&mut self, witness: &Witness, began: Instant) -> Minute {
        let mut minute = Minute::default();
        let rows_before = witness.look().rows.len();
        for second in 0..60 {
            if ANNOUNCED_AT.contains(&second) {
                self.version += 1;
                self.deployment.announce(&model::bundle(self.version));
            }
            if second == GUEST_COMES_AT {
                self.guest = Some(self.deployment.start());
            }
            if second == GUEST_GOES_AT
                && let Some(mut guest) = self.guest.take()
            {
                let (end, _) = guest.terminate(SOON);
                assert_eq!(end.code, Some(0), "expected a clean end: {}", end.said);
            }
            let next = began + STEP * (second as u32 + 1);
            thread::sleep(next.saturating_duration_since(Instant::now()));
            let vitals = self.residents.iter().map(|resident| Vitals::of(resident.pid()));
            minute.looks.push(vitals.collect());
        }
        for row in witness.look().rows.iter().skip(rows_before) {
            minute.latency_ms.saturating_record(row.latency_ms.max(0).unsigned_abs());
        }
        minute
    }
}
