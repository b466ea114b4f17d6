//! The stage on a real Kafka: topics of its own there, and two instances as processes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::instance::Instance;
use super::luggage::Luggage;
use super::settings::Settings;
use super::stage::{self, Stage, Strike};
use crate::bus::{Fatal, admin, group};
use crate::cli::failure::Failure;
use crate::config::Config;

const PARTITIONS: i32 = 4;
const NAMES: [&str; 2] = ["instance-a", "instance-b"];

pub struct Outside {
    config: Config,
    instances: Vec<Instance>,
    /// As last told by the broker.
    owners: BTreeMap<String, Vec<i32>>,
    keeps_topics: bool,
}

impl Outside {
    /// `environment`: where the credentials for the brokers may be.
    pub fn start(
        bootstrap_servers: &str,
        environment: Vec<(String, String)>,
        keeps_topics: bool,
        luggage: &Luggage,
    ) -> Result<Self, Failure> {
        let run =
            format!("foretell-demo-{:x}", jiff::Timestamp::now().as_millisecond() & 0xfff_ffff);
        let settings = Settings::new(luggage.settings())
            .set("kafka.bootstrap_servers", bootstrap_servers)
            .set("delivery.guarantee", "exactly-once")
            .set("topics.events", format_args!("{run}-events"))
            .set("topics.predictions", format_args!("{run}-predictions"))
            .set("topics.dead_letters", format_args!("{run}-dead-letters"))
            .set("topics.control", format_args!("{run}-control"))
            .set("topics.reports", format_args!("{run}-reports"))
            .set("consumer.group_id", &run)
            .set("model.bundle", luggage.bundle("1").display());
        let config = settings.clone().load(environment)?;
        admin::create_topics(&config.kafka, &config.topics, PARTITIONS, 0)?;
        let mut stage =
            Self { config, instances: Vec::new(), owners: BTreeMap::new(), keeps_topics };
        let drain = Duration::from_millis(stage.config.run.drain_timeout_ms);
        for name in NAMES {
            let address = stage::free_address()?;
            let settings = settings.clone();
            let instance = Instance::start(name, settings, address, luggage.path(), drain)?;
            stage.instances.push(instance);
        }
        Ok(stage)
    }

    /// Asks the broker which partitions each instance has.
    fn ask_owners(&mut self) -> Result<(), Fatal> {
        self.owners = group::owners(&self.config.kafka, &self.config.consumer.group_id)?;
        Ok(())
    }
}

impl Stage for Outside {
    fn config(&self) -> &Config {
        &self.config
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let alive = self.instances.iter().filter(|instance| instance.is_alive());
        alive.map(|instance| instance.address).collect()
    }

    fn introduction(&self) -> Vec<(&'static str, String)> {
        let processes: Vec<_> =
            self.instances.iter().map(|one| one.process().to_string()).collect();
        vec![
            (
                "Kafka",
                format!(
                    "at {}, with topics of this run: {} and so on.",
                    self.config.kafka.bootstrap_servers, self.config.topics.events
                ),
            ),
            (
                "foretell",
                format!(
                    "two instances of `foretell run`, processes {}, share the partitions.",
                    processes.join(" and ")
                ),
            ),
            (
                "delivery",
                "exactly once: a batch's predictions and its offsets are one transaction.".into(),
            ),
        ]
    }

    fn is_ready(&mut self) -> Result<bool, Failure> {
        self.ask_owners()?;
        let owned: usize = self.owners.values().map(Vec::len).sum();
        Ok(owned == PARTITIONS as usize && self.owners.len() == self.instances.len())
    }

    fn check(&mut self) -> Result<(), Failure> {
        for instance in &mut self.instances {
            if let Some(status) = instance.ended()? {
                return Err(Fatal::Bug(format!(
                    "{} ended by itself ({status}); its last words:\n{}",
                    instance.name,
                    instance.last_words()
                ))
                .into());
            }
        }
        Ok(())
    }

    fn strike(&mut self) -> Result<Option<Strike>, Failure> {
        // A broker too busy to tell has told before.
        let _ = self.ask_owners();
        let Some(victim) = self.instances.last_mut() else { return Ok(None) };
        victim.kill()?;
        Ok(Some(Strike {
            instance: victim.name,
            process: victim.process(),
            partitions: self.owners.remove(victim.name).unwrap_or_default(),
        }))
    }

    fn stop(&mut self) -> Result<(), Failure> {
        for instance in &self.instances {
            instance.terminate();
        }
        for instance in &mut self.instances {
            instance.join()?;
        }
        Ok(())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.stop();
        if !self.keeps_topics {
            // What cannot be deleted stays; the run's result does not depend on it.
            let _ = admin::delete_topics(&self.config.kafka, &self.config.topics);
        }
    }
}
