//! The program: built whole, then started, then drained.
//!
//! `build` opens what can fail and joins nothing; `run` starts the threads (one a worker, one for the
//! control loader, one that scores what HTTP asks) and, on its own thread, a small runtime for HTTP,
//! signals and timers. Whatever ends first, everything else is drained under one deadline.

mod faces;
mod rounds;
mod threads;

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::breaker::Breaker;
use crate::bus::Fatal;
use crate::bus::admin;
use crate::bus::kafka::KafkaBus;
use crate::bus::options::Options;
use crate::bus::publish::Publisher;
use crate::bus::tail::Tail;
use crate::config::{Config, DeadLetters, Listen};
use crate::control::event::Event;
use crate::control::loader::{Loader, Setup, named};
use crate::control::message::Message;
use crate::control::say::say;
use crate::encode::Encoder;
use crate::features::decode::Limits;
use crate::model::gate::{self, Admitted, Check, Expected, Refusal, Settings, Times};
use crate::model::signature::PublicKey;
use crate::model::store::{self, Store, cache};
use crate::model::version::Version;
use crate::observe::status::{Identity, Status};
use crate::outbox::Outbox;
use crate::predict::{self, Answerer, Queue};
use crate::recent::Recent;
use crate::serving::{Served, Serving};
use crate::stop::Stop;
use crate::worker::Worker;
use rounds::work;
pub use threads::{Ended, LOOK_EVERY, note, signal, spawn, stuck};
use threads::{drain_all, wished};

/// An instance, ready to start.
pub struct App {
    config: Config,
    options: Options,
    encoder: Encoder,
    settings: Settings,
    store: Store,
    configured: Option<Arc<Version>>,
    serving: Serving,
    recent: Recent,
    status: Status,
    /// As many threads that score the stream.
    workers: usize,
    listener: Option<TcpListener>,
    stop: Stop,
}

impl App {
    /// Looks at brokers, topics, the configured bundle and the HTTP port. Joins and writes nothing.
    ///
    /// # Errors
    /// Whatever would keep the instance from serving and will not mend itself.
    pub fn build(config: Config) -> Result<Self, Fatal> {
        let listener = bind(config.http.listen, "http.listen")?;
        let encoder = Encoder::new(&config.topics.events, &config.output);
        let settings = gate_settings(&config, &encoder);
        let configured = match &config.model.bundle {
            Some(folder) => Some(Arc::new(
                configured_bundle(&config, folder)
                    .map_err(|refusal| Fatal::Configuration(format!(
                        "`model.bundle` does not pass the gate: {refusal}\n\nhint: `foretell model inspect {}` shows what it holds",
                        folder.display()
                    )))?
                    .version,
            )),
            None => None,
        };
        let stop = Stop::default();
        let store = bundle_store(&config, stop.clone())?;
        let mut options = Options::new(&config);
        admin::preflight(&mut options)?;
        let workers = match config.run.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let recent = Recent::new(config.gate.replay_rows);
        let identity = identity(&config, configured.as_deref());
        let status = Status::new(identity, workers, options.patience(), stop.clone());
        Ok(Self {
            config,
            options,
            encoder,
            settings,
            store,
            configured,
            serving: Serving::default(),
            recent,
            status,
            workers,
            listener,
            stop,
        })
    }

    /// Asks this instance to end, from any thread.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Runs until SIGTERM or SIGINT, or until something ends that should not.
    pub fn run_until_signal(self) -> Result<(), Fatal> {
        self.start(true)
    }

    /// Runs until its [`Stop`] is asked for.
    pub fn run(self) -> Result<(), Fatal> {
        self.start(false)
    }

    fn start(self, signals: bool) -> Result<(), Fatal> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Fatal::Bug(format!("starting the runtime: {error}")))?;
        runtime.block_on(self.supervise(signals))
    }

    /// Starts everything, waits for the first end or the wish to stop, drains the rest.
    async fn supervise(mut self, signals: bool) -> Result<(), Fatal> {
        let drain = Duration::from_millis(self.config.run.drain_timeout_ms);
        let stop = self.stop.clone();
        let (ended, mut endings) = unbounded_channel();
        let (asker, queue) = predict::queue(self.serving.clone(), stop.clone());
        let mut running = self.spawn(&ended)?;
        if self.listener.is_some() {
            spawn("requests".into(), ended.clone(), self.answerer(queue))?;
            running += 1;
        }
        drop(ended);
        let address = self.listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let http = address.map_or(Listen::Off, Listen::At);
        let listener = self.listener.take().map(tokio::net::TcpListener::from_std).transpose();
        let listener = listener.map_err(|error| Fatal::Bug(format!("listening: {error}")))?;
        let drained = Arc::new(Notify::new());
        let faces = tokio::spawn(faces::show(
            listener,
            self.status.clone(),
            Publisher::new(&self.config.kafka)?,
            self.config.clone(),
            asker,
            Arc::clone(&drained),
        ));
        let group = &self.config.consumer.group_id;
        tracing::info!(workers = self.workers, group, %http, "started");
        let mut outcome = Ok(());
        let first = tokio::select! {
            first = endings.recv() => first,
            fatal = stuck(LOOK_EVERY, || self.status.faults(Instant::now())) => {
                note(("lookout".into(), Err(fatal)), &mut outcome);
                None
            }
            () = signal(), if signals => None,
            () = wished(&stop) => None,
        };
        stop.request(drain);
        tracing::info!(timeout_ms = drain.as_millis() as u64, "draining");
        if let Some(ending) = first {
            running -= 1;
            note(ending, &mut outcome);
        }
        drain_all(&mut endings, running, drain, &mut outcome).await;
        drained.notify_one();
        let _ = faces.await;
        outcome
    }

    /// One thread a worker, one for the loader; says how many.
    fn spawn(&self, ended: &UnboundedSender<Ended>) -> Result<usize, Fatal> {
        for index in 0..self.workers {
            spawn(format!("worker-{index}"), ended.clone(), self.worker(index))?;
        }
        let load = self.loader();
        spawn("loader".into(), ended.clone(), load)?;
        Ok(self.workers + 1)
    }

    /// What a worker's thread does.
    fn worker(&self, index: usize) -> impl FnOnce() -> Result<(), Fatal> + Send + use<> {
        let stop = self.stop.clone();
        let serving = self.serving.clone();
        let recent = self.recent.clone();
        let options = self.options.clone();
        let encoder = self.encoder.clone();
        let outbox = Outbox::forwarding(&self.config.output.forward_headers);
        let tile_rows = self.config.batch.tile_rows;
        let DeadLetters { ratio_max, window_rows } = self.config.dead_letters;
        let breaker = Breaker::new(window_rows, ratio_max.share());
        let status = self.status.worker(index);
        let id = format!("foretell-{}-{index}", self.status.instance());
        move || {
            // Nothing is consumed before the control log is read and a version serves.
            if !serving.wait(&stop) {
                return Ok(());
            }
            let id = options.is_exactly_once().then_some(id);
            let bus = KafkaBus::join(options, id, status.heart(), stop.clone())?;
            status.joined();
            let mut worker = Worker::new(bus, serving, recent, encoder, outbox, breaker, tile_rows);
            let outcome = work(&mut worker, &status, &stop);
            worker.close();
            status.ended();
            outcome
        }
    }

    /// What the thread does that scores what HTTP asks.
    fn answerer(&self, queue: Queue) -> impl FnOnce() -> Result<(), Fatal> + Send + use<> {
        let (encoder, limits) = (self.encoder.clone(), self.settings.limits);
        let tile_rows = self.config.batch.tile_rows;
        move || {
            Answerer::new(queue, encoder, limits, tile_rows).run();
            Ok(())
        }
    }

    /// What the loader's thread does.
    fn loader(&self) -> impl FnOnce() -> Result<(), Fatal> + Send + use<> {
        let config = self.config.clone();
        let setup = Setup {
            model: config.model.name.clone(),
            configured: self.configured.clone(),
            settings: self.settings.clone(),
            gate: config.gate.clone(),
            probation: config.probation.clone(),
            drift: config.drift.clone(),
            kept_bytes_max: config.model.kept_bytes_max,
            stop: self.stop.clone(),
        };
        let store = self.store.clone();
        let (serving, recent) = (self.serving.clone(), self.recent.clone());
        let status = self.status.clone();
        move || {
            let mut tail = Tail::open(&config.kafka, &config.topics.control)?;
            let told = Told { status: status.clone(), publisher: Publisher::new(&config.kafka)? };
            let log = move |wait| tail.next(wait);
            let tell = move |event: Event| told.tell(&config.topics.control, event);
            let outcome = Loader::new(setup, log, store, serving, recent, tell).run();
            status.loader_ended();
            outcome
        }
    }
}

/// Where what the loader tells goes: into the log, into what every face shows, and what it asks
/// for onto the control topic.
struct Told {
    status: Status,
    publisher: Publisher,
}

impl Told {
    fn tell(&self, control: &str, event: Event) {
        let status = &self.status;
        match event {
            Event::Round => {
                if let Some(error) = self.publisher.given_up() {
                    tracing::error!("could not ask: {error}");
                }
                status.loader_beat();
            }
            Event::Message { offset, kind } => status.control_message(offset, kind),
            Event::Skipped { offset, why } => {
                tracing::warn!(offset, "a control message was passed over: {why}");
                status.skipped(offset, &why);
            }
            Event::Candidates(versions) => status.candidates(versions),
            Event::Judged { version, times, refusal, comparison } => {
                let load_seconds = times.sum().as_secs_f64();
                match &refusal {
                    Some(Refusal { check, message, is_transient }) => {
                        let check = check.as_str();
                        let again = *is_transient;
                        tracing::error!(version, check, again, "refused: {message}");
                    }
                    None if times.has(Check::Fetch) => {
                        tracing::info!(version, load_seconds, "passes the gate");
                    }
                    None => tracing::info!(version, "still passes on recent events"),
                }
                status.judged(&version, &times, refusal.as_ref(), comparison.as_deref());
            }
            Event::Swapped { served } => {
                let Served { version, control_offset, .. } = &*served;
                tracing::info!(
                    model = version.model,
                    version = version.version,
                    digest = version.digest,
                    control_offset,
                    "serves"
                );
                status.swapped(&served);
            }
            Event::Shadowed { served } => {
                let version = served.shadow.as_ref().map(|shadow| &shadow.version.version);
                tracing::info!(version, "scores beside what serves");
                status.shadowed(&served);
            }
            Event::Asks(message) => {
                status.asked(message.kind());
                self.ask(control, &message);
            }
            Event::CaughtUp { messages } => {
                tracing::info!(messages, "the control log is read to its end");
                status.control_log_read();
            }
        }
    }

    /// Publishes without waiting. What gets lost is said again while its reason lasts.
    fn ask(&self, control: &str, message: &Message) {
        match say(&self.publisher, control, message) {
            Ok(value) => tracing::warn!("asks by itself: {value}"),
            Err(error) => tracing::error!("could not ask: {error}"),
        }
    }
}

/// Binds before anything is joined: a port in use is a fault of the configuration.
/// `key` says where.
///
/// # Errors
/// It cannot be listened to.
pub fn bind(listen: Listen, key: &str) -> Result<Option<TcpListener>, Fatal> {
    let Listen::At(address) = listen else { return Ok(None) };
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    match bound {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => Err(Fatal::Configuration(format!(
            "cannot listen on {address}: {error}\n\nhint: set `{key}` to a free address, or to \"off\""
        ))),
    }
}

/// Who this instance is: unique among all, by the configured name, or by host, process and time.
fn identity(config: &Config, configured: Option<&Version>) -> Identity {
    let host = host();
    let group = &config.consumer.group_id;
    let instance = match &config.delivery.instance_id {
        Some(id) => format!("{group}-{id}"),
        None => unique(group, &host),
    };
    let configured = configured.map(named);
    Identity { instance, host, model: config.model.name.clone(), configured }
}

/// The name of this machine.
pub fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if host.trim().is_empty() { "unknown".into() } else { host.trim().to_owned() }
}

/// A name that no other process of the group has.
pub fn unique(group: &str, host: &str) -> String {
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("{group}-{host}-{}-{now:x}", std::process::id())
}

/// Lets the bundle that the configuration names through the gate.
pub fn configured_bundle(config: &Config, folder: &Path) -> Result<Admitted, Refusal> {
    let encoder = Encoder::new(&config.topics.events, &config.output);
    let expected = Expected { model: Some(&config.model.name), ..Expected::default() };
    gate::admit(folder, expected, &gate_settings(config, &encoder), &mut Times::default())
}

/// Where announced bundles are read from.
pub fn bundle_store(config: &Config, stop: Stop) -> Result<Store, Fatal> {
    let model = &config.model;
    let mut allowed = model.allowed_uris.clone();
    if allowed.is_empty() {
        // Its real path: `current` may be a link to `versions/7`, and the others stand beside that.
        let folder = model.bundle.as_ref().and_then(|bundle| bundle.canonicalize().ok());
        allowed.extend(folder.and_then(|folder| Some(folder.parent()?.display().to_string())));
    }
    let settings = store::Settings {
        allowed,
        cache: model.cache_dir.clone().or_else(|| Some(cache::home()?.join("bundles"))),
        timeout: Duration::from_millis(model.fetch_timeout_ms),
        jitter: Duration::from_millis(model.fetch_jitter_ms),
        bytes_max: model.bytes_max,
        trusted_keys: trusted_keys(config),
    };
    Store::new(settings, stop)
        .map_err(|error| Fatal::Configuration(format!("`model.allowed_uris`: {error}")))
}

/// Who may sign bundles. None: nobody needs to.
pub fn trusted_keys(config: &Config) -> Vec<PublicKey> {
    config.model.trusted_keys.iter().map(|trusted| trusted.key().clone()).collect()
}

/// The gate as the configuration has it, for versions that `encoder` encodes for.
pub fn gate_settings(config: &Config, encoder: &Encoder) -> Settings {
    Settings {
        captures: encoder.captures().to_vec(),
        limits: Limits {
            event_bytes_max: config.batch.event_bytes_max,
            json_depth_max: config.batch.json_depth_max,
        },
        bytes_max: config.model.bytes_max,
        trusted_keys: trusted_keys(config),
        tile_rows: config.batch.tile_rows,
    }
}

/// The gate as tools use it that have no configuration: with all its defaults.
pub fn gate_settings_for_tools() -> Settings {
    let config = Config::default();
    gate_settings(&config, &Encoder::new("", &config.output))
}
