//! Instances, brokers and versions, and the harm that is done to them and mended again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::witness::Witness;
use crate::kafka::broker::Broker;
use crate::kafka::deployment::Deployment;
use crate::kafka::eventually::{SOON, eventually};
use crate::kafka::instance::{End, Instance};
use crate::kafka::{model, topics};

pub const PARTITIONS: i32 = 6;
const GUESTS: usize = 3;
/// How an instance explains that it ends because of a client that is stuck, or of a worker that is stuck in it.
const STUCK: [&str; 2] = ["librdkafka's own thread is stuck", "has been stuck in one step"];

fn was_stuck(end: &End) -> bool {
    end.code == Some(70) && STUCK.iter().any(|stuck| end.said.contains(stuck))
}

pub struct Stage<'a> {
    pub broker: &'a Broker,
    pub deployment: &'a Arc<Deployment>,
    pub rng: fastrand::Rng,
    /// Those at work.
    pub instances: Vec<Instance>,
    /// What may serve, last what does: each announced since the one before.
    versions: Vec<u32>,
    newest: u32,
    is_broker_away: bool,
    /// Instances that ended by themselves and were started again.
    pub restarts: usize,
}

/// A fault that was done, and is not mended yet.
pub struct Struck {
    pub fault: Fault,
    /// By the witness' clock.
    pub at: Duration,
    /// What it was done to, for people.
    pub victim: String,
    /// Those whose predictions it may hold up.
    pub partitions: Vec<i32>,
    /// Events of this number or a later one were fed after it.
    pub number: u64,
    /// When it has lasted long enough.
    pub mend_at: Instant,
    mend: Mend,
}

enum Mend {
    Start,
    Thaw(Instance),
    Dismiss(Vec<Instance>),
    RestartBroker,
    Nothing,
}

impl<'a> Stage<'a> {
    pub fn new(broker: &'a Broker, deployment: &'a Arc<Deployment>, rng: fastrand::Rng) -> Self {
        let instances = (0..3).map(|_| deployment.start()).collect();
        let (versions, newest, is_broker_away, restarts) = (vec![1], 1, false, 0);
        Self { broker, deployment, rng, instances, versions, newest, is_broker_away, restarts }
    }

    /// Does it. A zombie stays away for a while longer than `time_outs`.
    pub fn strike(&mut self, fault: Fault, time_outs: Duration, witness: &Witness) -> Struck {
        let lasts = fault.lasts(&mut self.rng, time_outs);
        let partitions = self.affected(fault);
        let at = witness.now();
        let (victim, partitions, mend) = match fault {
            Fault::Kill | Fault::Terminate | Fault::Freeze => self.harm_instance(fault),
            Fault::Storm => {
                let guests: Vec<_> = (0..GUESTS).map(|_| self.deployment.start()).collect();
                (format!("{GUESTS} guests"), partitions, Mend::Dismiss(guests))
            }
            Fault::BrokerStop | Fault::BrokerAway | Fault::BrokerKill => {
                match fault {
                    Fault::BrokerKill => self.broker.kill(),
                    _ => self.broker.stop(),
                }
                self.is_broker_away = true;
                ("the second broker".to_owned(), partitions, Mend::RestartBroker)
            }
            Fault::Announce => (self.announce(), partitions, Mend::Nothing),
            Fault::Rollback => (self.roll_back(), partitions, Mend::Nothing),
        };
        let number = self.deployment.next_event.load(Ordering::Relaxed);
        let mend_at = Instant::now() + lasts;
        Struck { fault, at, victim, partitions, number, mend_at, mend }
    }

    fn affected(&self, fault: Fault) -> Vec<i32> {
        if !fault.is_brokers() {
            return (0..PARTITIONS).collect();
        }
        topics::led_by_second(self.deployment)
    }

    fn harm_instance(&mut self, fault: Fault) -> (String, Vec<i32>, Mend) {
        let mut instance = self.instances.swap_remove(self.rng.usize(..self.instances.len()));
        let partitions = instance.partitions();
        let victim = format!("{} on {partitions:?}", instance.name());
        let mend = match fault {
            Fault::Kill => {
                instance.kill();
                Mend::Start
            }
            Fault::Freeze => {
                instance.freeze();
                Mend::Thaw(instance)
            }
            _ => {
                instance.ask_to_end();
                self.await_end(&mut instance);
                Mend::Start
            }
        };
        (victim, partitions, mend)
    }

    /// The end that it was asked for; a clean one, unless a broker is away just then, or it was asked
    /// before it had begun to listen.
    fn await_end(&self, instance: &mut Instance) {
        let end = instance.end(SOON);
        assert!(
            end.code == Some(0) || self.is_broker_away || end.said.is_empty() || was_stuck(&end),
            "expected {} to leave in good order, not with {:?}:\n{}",
            instance.name(),
            end.code,
            end.said
        );
    }

    fn announce(&mut self) -> String {
        self.newest += 1;
        self.versions.push(self.newest);
        let at = self.deployment.announce(&model::bundle(self.newest));
        format!("version {} at offset {at}", self.newest)
    }

    /// Where there is nothing to go back to, something is announced instead.
    fn roll_back(&mut self) -> String {
        if self.versions.len() < 2 {
            return self.announce();
        }
        let from = self.versions.pop().unwrap_or_default().to_string();
        let at = self.deployment.say("model rollback", &["--from", &from]);
        format!("version {from} at offset {at}")
    }

    /// Nothing that is done to them ends an instance that nobody asked to, but a client of librdkafka that is stuck
    /// ("A consumer that stands still" in ARCHITECTURE.md): that one is started again, as a supervisor would.
    pub fn see_all_alive(&mut self) {
        for instance in &mut self.instances {
            if instance.has_ended() {
                let end = instance.end(SOON);
                assert!(
                    was_stuck(&end),
                    "expected {} to go on, and it ended with {:?}:\n{}",
                    instance.name(),
                    end.code,
                    end.said
                );
                println!("          {} was stuck and ended; started again", instance.name());
                *instance = self.deployment.start();
                self.restarts += 1;
            }
        }
    }

    /// Waits until it has lasted long enough, and puts things right again.
    pub fn mend(&mut self, struck: &mut Struck) {
        super::run::let_pass(struck.mend_at.saturating_duration_since(Instant::now()));
        match std::mem::replace(&mut struck.mend, Mend::Nothing) {
            Mend::Start => self.instances.push(self.deployment.start()),
            Mend::Thaw(instance) => {
                instance.thaw();
                self.instances.push(instance);
            }
            Mend::Dismiss(mut guests) => {
                guests.iter().for_each(Instance::ask_to_end);
                guests.iter_mut().for_each(|guest| self.await_end(guest));
            }
            Mend::RestartBroker => {
                topics::await_taken_over(self.deployment);
                self.broker.restart();
                self.is_broker_away = false;
                // That partitions change their leader once more belongs to this fault, not to the next.
                eventually(SOON, "the second broker to lead partitions again", || {
                    (!topics::led_by_second(self.deployment).is_empty()).then_some(())
                });
            }
            Mend::Nothing => {}
        }
    }
}
