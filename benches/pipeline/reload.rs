//! Models that change under load: what a reload of a large one does to the latency, and whether
//! many reloads leave memory behind.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use foretell::bus::admin;
use foretell::bus::publish::Publisher;
use foretell::bus::tail::{Step, Tail};
use foretell::config::Config;
use foretell::model::bundle::sha256;
use foretell::observe::reports::Report;
use serde_json::{Value, json};

use crate::latency;
use crate::stage::{Stage, rss_megabytes};

/// Copies of the flights model's trees that make a model file of 50 MB.
const COPIES: usize = 138;
const RELOAD_EVERY: Duration = Duration::from_secs(2);
/// About what importing, gating and replaying a model of 50 MB takes of a core: whether it is that
/// which is noticed, on cores that are shared with the broker, or the data path waits for the loader.
const BURNT: Duration = Duration::from_millis(600);
const RELOADS: usize = 500;
/// Of those, until memory is as large as it will be.
const SETTLING: usize = 100;

/// Latency with a model of 50 MB that stays, with one beside which as much is computed as a reload
/// takes, and with one that is replaced by its like every 2 s.
pub fn latency(stage: &Stage) -> anyhow::Result<()> {
    let versions = Versions::make(stage, "large", COPIES)?;
    let set = versions.settings();
    latency::measure(stage, 4, "a model of 50 MB", &set, |_, _| Ok(()))?;
    let mut due = Instant::now() + RELOAD_EVERY;
    latency::measure(
        stage,
        4,
        "beside another program that takes 0.6 s of a core every 2 s",
        &set,
        |_, _| {
            if Instant::now() >= due {
                thread::spawn(|| burn(BURNT));
                due += RELOAD_EVERY;
            }
            Ok(())
        },
    )?;
    let (mut next, mut due) = (1, Instant::now() + RELOAD_EVERY);
    latency::measure(stage, 4, "the same, reloaded every 2 s", &set, |config, publisher| {
        if Instant::now() >= due {
            versions.announce(config, publisher, next)?;
            next += 1;
            due += RELOAD_EVERY;
        }
        Ok(())
    })
}

/// Keeps a core busy.
fn burn(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        black_box(sha256(&[0; 4_096]));
    }
}

/// Memory over many reloads of the flights model, each awaited.
pub fn memory(stage: &Stage) -> anyhow::Result<()> {
    let versions = Versions::make(stage, "many", 1)?;
    let name = format!("reloads-{}", std::process::id());
    let config = stage.config(&name, &[])?;
    admin::create_topics(&config.kafka, &config.topics, 1, 1)?;
    let mut set = versions.settings();
    set.extend(["run.workers=1".into(), "model.kept_bytes_max=2000000".into()]);
    let mut child = stage.start_foretell(&name, &set)?;
    let outcome = reload(&config, &versions, child.id());
    let _ = child.kill();
    let _ = child.wait();
    outcome
}

fn reload(config: &Config, versions: &Versions, pid: u32) -> anyhow::Result<()> {
    let publisher = Publisher::new(&config.kafka)?;
    let mut reports = Tail::open(&config.kafka, &config.topics.reports)?;
    let (began, mut settled) = (Instant::now(), 0.0);
    for number in 1..=RELOADS {
        versions.announce(config, &publisher, number)?;
        publisher.flush(Duration::from_secs(10))?;
        await_served(&mut reports, &number.to_string())?;
        if number == SETTLING {
            settled = rss_megabytes(pid)?;
        }
    }
    println!(
        "{RELOADS} reloads in {:.0} s: RSS {settled:.0} MB after {SETTLING}, {:.0} MB after {RELOADS}",
        began.elapsed().as_secs_f64(),
        rss_megabytes(pid)?
    );
    Ok(())
}

fn await_served(reports: &mut Tail, version: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if let Step::Record(record) = reports.next(Duration::from_millis(100))?
            && let Some(value) = record.value
            && let Ok(report) = serde_json::from_slice::<Report>(&value)
        {
            ensure!(report.last_refusal.is_none(), "refused: {:?}", report.last_refusal);
            if report.served.is_some_and(|served| served.version == version) {
                return Ok(());
            }
        }
    }
    anyhow::bail!("version {version} does not serve after 30 s")
}

/// As many versions of one model as are asked for, alike but for their names.
struct Versions {
    folder: PathBuf,
    manifest: Value,
}

impl Versions {
    /// The flights model with every tree `copies` times, so that it says the same.
    fn make(stage: &Stage, name: &str, copies: usize) -> anyhow::Result<Self> {
        let flights = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/bundles/1");
        let folder = stage.folder.join(name);
        fs::create_dir_all(&folder)?;
        let model = repeated(&fs::read_to_string(flights.join("model.txt"))?, copies)?;
        let mut manifest: Value =
            serde_json::from_slice(&fs::read(flights.join("manifest.json"))?)?;
        manifest["artifact"]["sha256"] = json!(sha256(model.as_bytes()));
        manifest["artifact"]["bytes"] = json!(model.len());
        fs::write(folder.join("model.txt"), model)?;
        fs::copy(flights.join("golden.jsonl"), folder.join("golden.jsonl"))?;
        let versions = Self { folder, manifest };
        versions.bundle(0)?;
        Ok(versions)
    }

    /// Settings of an instance that begins with version 0.
    fn settings(&self) -> Vec<String> {
        vec![format!("model.bundle={}", self.folder.join("0").display())]
    }

    /// The bundle of a version, and its digest; the model file is one for all of them.
    fn bundle(&self, number: usize) -> anyhow::Result<(PathBuf, String)> {
        let bundle = self.folder.join(number.to_string());
        fs::create_dir_all(&bundle)?;
        for file in ["model.txt", "golden.jsonl"] {
            if !bundle.join(file).exists() {
                fs::hard_link(self.folder.join(file), bundle.join(file))?;
            }
        }
        let mut manifest = self.manifest.clone();
        manifest["version"] = json!(number.to_string());
        let manifest = serde_json::to_vec(&manifest)?;
        fs::write(bundle.join("manifest.json"), &manifest)?;
        Ok((bundle, format!("sha256:{}", sha256(&manifest))))
    }

    fn announce(
        &self,
        config: &Config,
        publisher: &Publisher,
        number: usize,
    ) -> anyhow::Result<()> {
        let (bundle, digest) = self.bundle(number)?;
        let message = json!({
            "type": "retrain-complete", "model": config.model.name, "version": number.to_string(),
            "uri": bundle, "digest": digest,
        });
        let (key, value) = (config.model.name.as_bytes(), message.to_string());
        publisher.send(&config.topics.control, Some(key), value.as_bytes())?;
        Ok(())
    }
}

/// A LightGBM model with each tree `copies` times, each of its values a part of what it was.
fn repeated(model: &str, copies: usize) -> anyhow::Result<String> {
    let (head, rest) = model.split_once("\nTree=0\n").context("a first tree")?;
    let (trees, tail) = rest.split_once("end of trees").context("a last tree")?;
    let head = head.lines().filter(|line| !line.starts_with("tree_sizes="));
    let mut text: String = head.map(|line| format!("{line}\n")).collect();
    let part = |value: &str| value.parse::<f64>().map(|value| (value / copies as f64).to_string());
    let mut scaled = Vec::new();
    for line in trees.lines().filter(|line| !line.starts_with("Tree=")) {
        scaled.push(match line.strip_prefix("leaf_value=") {
            Some(values) => {
                let parts: Result<Vec<_>, _> = values.split(' ').map(part).collect();
                format!("leaf_value={}", parts?.join(" "))
            }
            None => line.to_owned(),
        });
    }
    // A tree's lines end with an empty one.
    let trees: Vec<_> =
        scaled.split(|line| line.is_empty()).filter(|tree| tree.len() > 1).collect();
    for (number, tree) in (0..copies).flat_map(|_| &trees).enumerate() {
        text += &format!("Tree={number}\n{}\n\n", tree.join("\n"));
    }
    Ok(text + "end of trees" + tail)
}
