//! The stage on a real Kafka: topics of its own there, and two instances as processes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::luggage::Luggage;
use super::process::Process;
use super::settings::Settings;
use super::stage::{self, Stage, Strike};
use crate::bus::{Fatal, admin, group};
use crate::cli::failure::Failure;
use crate::config::Config;

const PARTITIONS: i32 = 4;
const NAMES: [&str; 2] = ["instance-a", "instance-b"];

pub struct Outside {
    config: Config,
    settings: Settings,
    arrivals: String,
    instances: Vec<Instance>,
    /// As last told by the broker.
    owners: BTreeMap<String, Vec<i32>>,
    keeps_topics: bool,
}

struct Instance {
    process: Process,
    address: SocketAddr,
}

impl Instance {
    fn start(
        name: &'static str,
        settings: Settings,
        folder: &Path,
        drain: Duration,
    ) -> Result<Self, Failure> {
        let address = stage::free_address()?;
        let settings = settings
            // So that the group's members can be told apart by those who ask the broker.
            .set("kafka.properties.client.id", name)
            .set("http.listen", address);
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run").args(settings.arguments());
        Ok(Self { process: Process::start(name, command, folder, drain)?, address })
    }
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
        let arrivals = format!("{run}-arrivals");
        admin::create_topic(&config.kafka, &arrivals, PARTITIONS)?;
        let (instances, owners) = Default::default();
        let mut stage = Self { config, settings, arrivals, instances, owners, keeps_topics };
        let drain = Duration::from_millis(stage.config.run.drain_timeout_ms);
        for name in NAMES {
            let settings = stage.settings.clone();
            let instance = Instance::start(name, settings, luggage.path(), drain)?;
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

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn arrivals(&self) -> &str {
        &self.arrivals
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let alive = self.instances.iter().filter(|instance| instance.process.is_alive());
        alive.map(|instance| instance.address).collect()
    }

    fn introduction(&self) -> Vec<(&'static str, String)> {
        let processes: Vec<_> =
            self.instances.iter().map(|one| one.process.id().to_string()).collect();
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
        self.instances.iter_mut().try_for_each(|instance| instance.process.check())
    }

    fn strike(&mut self) -> Result<Option<Strike>, Failure> {
        // A broker too busy to tell has told before.
        let _ = self.ask_owners();
        let Some(victim) = self.instances.last_mut() else { return Ok(None) };
        let victim = &mut victim.process;
        victim.kill()?;
        Ok(Some(Strike {
            instance: victim.name,
            process: victim.id(),
            partitions: self.owners.remove(victim.name).unwrap_or_default(),
        }))
    }

    fn stop(&mut self) -> Result<(), Failure> {
        for instance in &self.instances {
            instance.process.terminate();
        }
        for instance in &mut self.instances {
            instance.process.join()?;
        }
        Ok(())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.stop();
        if !self.keeps_topics {
            // What cannot be deleted stays; the run's result does not depend on it.
            let Config { kafka, topics, .. } = &self.config;
            let _ = admin::delete_topics(kafka, topics, &[&self.arrivals]);
        }
    }
}
