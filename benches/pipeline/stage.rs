//! The broker, the topics and the backlog that both contestants meet.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use foretell::bus::admin;
use foretell::bus::publish::Publisher;
use foretell::config::{Config, Sources, Topics};

pub const PARTITIONS: i32 = 12;

pub struct Stage {
    pub bootstrap: String,
    pub events: u64,
    /// Mean size of an event.
    pub bytes: f64,
    pub folder: PathBuf,
    pub flights: Vec<String>,
    owns_broker: bool,
}

/// What one contestant did.
pub struct Result {
    pub events_per_second: f64,
    pub cpu_seconds_per_million: f64,
    pub rss_megabytes: f64,
}

impl Result {
    pub fn print(&self, name: &str) {
        println!(
            "{name:>10} {:>12.0} {:>14.2} {:>10.0}",
            self.events_per_second, self.cpu_seconds_per_million, self.rss_megabytes
        );
    }
}

impl Stage {
    /// Starts a broker (or takes that of `FORETELL_TEST_BOOTSTRAP`) and publishes the backlog.
    pub fn set(events: u64) -> anyhow::Result<Self> {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pipeline-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let given = std::env::var("FORETELL_TEST_BOOTSTRAP").ok();
        let owns_broker = given.is_none();
        let bootstrap = match given {
            Some(bootstrap) => bootstrap,
            None => start_broker(&folder)?,
        };
        let flights = flights()?;
        let bytes = flights.iter().map(String::len).sum::<usize>() as f64 / flights.len() as f64;
        let stage = Self { bootstrap, events, bytes, folder, flights, owns_broker };
        stage.publish_backlog()?;
        Ok(stage)
    }

    fn publish_backlog(&self) -> anyhow::Result<()> {
        let config = self.config("backlog", &[])?;
        admin::create_topics(&config.kafka, &config.topics, PARTITIONS, 1)?;
        let publisher = Publisher::new(&config.kafka)?;
        for index in 0..self.events {
            let flight = &self.flights[index as usize % self.flights.len()];
            let key = index.to_string();
            publisher.send("bench-events", Some(key.as_bytes()), flight.as_bytes())?;
        }
        publisher.flush(Duration::from_secs(60))?;
        Ok(())
    }

    /// A configuration whose outputs and group are `name`'s own.
    pub fn config(&self, name: &str, set: &[&str]) -> anyhow::Result<Config> {
        let mut all = self.settings(name);
        all.extend(set.iter().map(|text| (*text).to_owned()));
        Ok(Config::load(&Sources { file: None, environment: Vec::new(), set: all })?)
    }

    fn settings(&self, name: &str) -> Vec<String> {
        let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/bundles/1");
        vec![
            format!("kafka.bootstrap_servers={}", self.bootstrap),
            "topics.events=bench-events".into(),
            format!("topics.predictions={name}-predictions"),
            format!("topics.dead_letters={name}-dead-letters"),
            format!("topics.control={name}-control"),
            format!("topics.reports={name}-reports"),
            format!("consumer.group_id={name}"),
            "model.name=late-arrival".into(),
            format!("model.bundle={}", bundle.display()),
            "output.id=/id".into(),
            "http.listen=off".into(),
            "log.level=warn".into(),
        ]
    }

    /// Lets a contestant work the backlog off, and measures it from its first committed offset to
    /// its last.
    pub fn drain(
        &self,
        round: usize,
        what: &str,
        start: fn(&Self, &str) -> anyhow::Result<Child>,
    ) -> anyhow::Result<Result> {
        let name = format!("{what}-{round}-{}", std::process::id());
        let config = self.config(&name, &[])?;
        let Topics { predictions, .. } = &config.topics;
        admin::create_topics(&config.kafka, &config.topics, PARTITIONS, 1)
            .with_context(|| format!("topics of {predictions}"))?;
        let group = Group::new(&self.bootstrap, &name)?;
        let mut child = start(self, &name)?;
        let timed = self.watch(&group, &mut child);
        let usage = Usage::of(child.id());
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let _ = child.wait();
        let (first, seconds) = timed?;
        let usage = usage?;
        let events = self.events - first;
        Ok(Result {
            events_per_second: events as f64 / seconds,
            cpu_seconds_per_million: usage.cpu_seconds * 1e6 / self.events as f64,
            rss_megabytes: usage.rss_megabytes,
        })
    }

    /// How many events the first sight of progress had, and the seconds from there to the end.
    fn watch(&self, group: &Group, child: &mut Child) -> anyhow::Result<(u64, f64)> {
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut began = None;
        loop {
            // No answer in time says nothing; the next one does.
            let done = group.committed().unwrap_or(0);
            let now = Instant::now();
            if done > 0 && began.is_none() {
                began = Some((done, now));
            }
            if done >= self.events {
                let (first, at) = began.unwrap_or((0, now));
                return Ok((first, (now - at).as_secs_f64()));
            }
            ensure!(child.try_wait()?.is_none(), "the contestant ended at {done} events");
            ensure!(now < deadline, "{done} of {} events after two minutes", self.events);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn copier(&self, name: &str) -> anyhow::Result<Child> {
        let me = std::env::current_exe()?;
        let child =
            Command::new(me).args(["copier", &self.bootstrap, "bench-events", name]).spawn()?;
        Ok(child)
    }

    pub fn foretell(&self, name: &str) -> anyhow::Result<Child> {
        self.start_foretell(name, &[])
    }

    pub fn start_foretell(&self, name: &str, set: &[String]) -> anyhow::Result<Child> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_foretell"));
        command.arg("run").stdin(Stdio::null());
        // Ours, not the program's.
        command.env_remove("FORETELL_BENCH_EVENTS").env_remove("FORETELL_BENCH_SET");
        for setting in self.settings(name).iter().chain(set) {
            command.args(["--set", setting]);
        }
        if let Ok(extra) = std::env::var("FORETELL_BENCH_SET") {
            for setting in extra.split_whitespace() {
                command.args(["--set", setting]);
            }
        }
        Ok(command.spawn()?)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.owns_broker {
            let _ = broker(&self.folder, "kill").status();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn broker(folder: &Path, verb: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broker/broker.sh");
    let mut command = Command::new(script);
    command.arg(verb).arg("--dir").arg(folder.join("broker"));
    command
}

fn start_broker(folder: &Path) -> anyhow::Result<String> {
    let owner = std::process::id().to_string();
    let output = broker(folder, "start")
        .args(["--owner", &owner])
        .stderr(Stdio::inherit())
        .output()
        .context("starting a broker")?;
    ensure!(output.status.success(), "the broker did not start");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The sample of the tour.
fn flights() -> anyhow::Result<Vec<String>> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/events.jsonl.zst");
    let bytes = zstd::decode_all(fs::File::open(sample)?)?;
    Ok(String::from_utf8(bytes)?.lines().map(str::to_owned).collect())
}

/// Looks at a group's committed offsets from outside.
struct Group {
    client: BaseConsumer,
}

impl Group {
    fn new(bootstrap: &str, group: &str) -> anyhow::Result<Self> {
        let client = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", group)
            .set("isolation.level", "read_uncommitted")
            .create()?;
        Ok(Self { client })
    }

    fn committed(&self) -> anyhow::Result<u64> {
        let mut list = TopicPartitionList::new();
        list.add_partition_range("bench-events", 0, PARTITIONS - 1);
        let committed = self.client.committed_offsets(list, Duration::from_secs(1))?;
        let offsets = committed.elements().into_iter().map(|element| match element.offset() {
            Offset::Offset(at) => u64::try_from(at).unwrap_or(0),
            _ => 0,
        });
        Ok(offsets.sum())
    }
}

/// What a process has used so far.
struct Usage {
    cpu_seconds: f64,
    rss_megabytes: f64,
}

impl Usage {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Fields 14 and 15, counted after the name in parentheses: user and system time in ticks.
        let (_, fields) = stat.rsplit_once(") ").context("/proc stat")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(Self { cpu_seconds: ticks / 100.0, rss_megabytes: memory_of(pid, "VmHWM:")? })
    }
}

/// What a process has in memory now.
pub fn rss_megabytes(pid: u32) -> anyhow::Result<f64> {
    memory_of(pid, "VmRSS:")
}

fn memory_of(pid: u32, line: &'static str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let memory = status.lines().find_map(|text| text.strip_prefix(line)).context(line)?;
    let kilobytes: f64 = memory.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1024.0)
}
