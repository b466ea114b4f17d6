//! The stage that needs nothing: Kafka and one instance inside this process.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::luggage::Luggage;
use super::settings::Settings;
use super::stage::{self, Stage, Strike};
use crate::app::App;
use crate::bus::Fatal;
use crate::bus::embedded::Embedded;
use crate::cli::failure::Failure;
use crate::config::Config;
use crate::stop::Stop;

const PARTITIONS: i32 = 4;
const ARRIVALS: &str = "flights-arrivals";

pub struct Inside {
    config: Config,
    settings: Settings,
    address: SocketAddr,
    stop: Stop,
    instance: Option<JoinHandle<Result<(), Fatal>>>,
    /// Outlives the instance.
    _kafka: Embedded,
}

impl Inside {
    pub fn start(luggage: &Luggage) -> Result<Self, Failure> {
        let file = Settings::new(luggage.settings());
        // The topics' names come from the file, and Kafka must have them before the file is of use.
        let topics = file.load(Vec::new())?.topics;
        let kafka = Embedded::start(&[
            (&topics.events, PARTITIONS),
            (&topics.predictions, PARTITIONS),
            (&topics.dead_letters, PARTITIONS),
            (&topics.control, 1),
            (&topics.reports, 1),
            (ARRIVALS, PARTITIONS),
        ])?;
        let address = stage::free_address()?;
        let settings = file
            .set("kafka.bootstrap_servers", kafka.bootstrap_servers())
            // The mock discards offsets that are committed in a transaction, answers a fetch late,
            // and slows down with the number of batches (kafka-facts.md §7).
            .set("delivery.guarantee", "at-least-once")
            .set("kafka.properties.fetch.wait.max.ms", 5)
            .set("delivery.linger_ms", 20)
            .set("model.bundle", luggage.bundle("1").display())
            .set("http.listen", address);
        let config = settings.load(Vec::new())?;
        let app = App::build(config.clone())?;
        let stop = app.stop();
        let instance = thread::Builder::new().name("instance".into()).spawn(|| app.run())?;
        let instance = Some(instance);
        Ok(Self { config, settings, address, stop, instance, _kafka: kafka })
    }
}

impl Stage for Inside {
    fn config(&self) -> &Config {
        &self.config
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn arrivals(&self) -> &str {
        ARRIVALS
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    fn introduction(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "Kafka",
                format!(
                    "inside this program, at {}: librdkafka's mock cluster. No Java, no Docker.",
                    self.config.kafka.bootstrap_servers
                ),
            ),
            ("foretell", "one instance, inside this program: the very code of `foretell run`.".into()),
            (
                "delivery",
                "at least once: the mock forgets offsets that are committed in a transaction. See exactly once with `foretell demo --bootstrap-servers HOST:PORT`, or `make demo-kafka`.".into(),
            ),
        ]
    }

    /// Its first predictions will show.
    fn is_ready(&mut self) -> Result<bool, Failure> {
        Ok(true)
    }

    fn check(&mut self) -> Result<(), Failure> {
        match &self.instance {
            Some(instance) if instance.is_finished() => self.stop(),
            _ => Ok(()),
        }
    }

    fn strike(&mut self) -> Result<Option<Strike>, Failure> {
        Ok(None)
    }

    fn stop(&mut self) -> Result<(), Failure> {
        self.stop.request(Duration::from_millis(self.config.run.drain_timeout_ms));
        match self.instance.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(outcome)) => Ok(outcome?),
            Some(Err(_)) => Err(Fatal::Bug("the instance panicked".into()).into()),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Whoever wants to know how it ended has asked before.
        let _ = self.stop();
    }
}
