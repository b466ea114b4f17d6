//! The program: built whole, then started, then drained.
//!
//! `build` opens what can fail and joins nothing; `run` starts the threads (one a worker, one for the
//! control loader) and, on its own thread, a small runtime for HTTP, signals and timers. Whatever
//! ends first, everything else is drained under one deadline.

use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::bus::Fatal;
use crate::bus::admin;
use crate::bus::kafka::KafkaBus;
use crate::bus::options::Options;
use crate::bus::tail::Tail;
use crate::config::{Config, Listen};
use crate::control::loader::{Event, Loader};
use crate::encode::Encoder;
use crate::features::decode::Limits;
use crate::model::gate::{self, Admitted, Expected, Refusal, Settings};
use crate::model::version::Version;
use crate::outbox::Outbox;
use crate::serving::Serving;
use crate::stop::Stop;
use crate::worker::Worker;

/// An instance, ready to start.
pub struct App {
    config: Config,
    options: Options,
    encoder: Encoder,
    settings: Settings,
    configured: Option<Arc<Version>>,
    serving: Serving,
    listener: Option<TcpListener>,
    stop: Stop,
}

/// How a thread ended: its name and its result.
type Ended = (String, Result<(), Fatal>);

impl App {
    /// Looks at brokers, topics, the configured bundle and the HTTP port. Joins and writes nothing.
    ///
    /// # Errors
    /// Whatever would keep the instance from serving and will not mend itself.
    pub fn build(config: Config) -> Result<Self, Fatal> {
        let listener = bind(config.http.listen)?;
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
        let mut options = Options::new(&config);
        admin::preflight(&mut options)?;
        Ok(Self {
            config,
            options,
            encoder,
            settings,
            configured,
            serving: Serving::default(),
            listener,
            stop: Stop::default(),
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
        let _listener = self.listener.take();
        let mut running = self.spawn(&ended)?;
        drop(ended);
        tracing::info!(workers = running - 1, group = %self.config.consumer.group_id, "started");
        let first = tokio::select! {
            first = endings.recv() => first,
            () = signal(), if signals => None,
            () = wished(&stop) => None,
        };
        stop.request(drain);
        tracing::info!(timeout_ms = drain.as_millis() as u64, "draining");
        let mut outcome = Ok(());
        if let Some(ending) = first {
            running -= 1;
            note(ending, &mut outcome);
        }
        drain_all(&mut endings, running, drain, &mut outcome).await;
        outcome
    }

    /// One thread a worker, one for the loader; says how many.
    fn spawn(&self, ended: &UnboundedSender<Ended>) -> Result<usize, Fatal> {
        let workers = match self.config.run.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let instance = instance_name(&self.config);
        for index in 0..workers {
            let work = self.worker(format!("{instance}-{index}"));
            spawn(format!("worker-{index}"), ended.clone(), work)?;
        }
        let load = self.loader();
        spawn("loader".into(), ended.clone(), load)?;
        Ok(workers + 1)
    }

    /// What a worker's thread does.
    fn worker(&self, name: String) -> impl FnOnce() -> Result<(), Fatal> + Send + use<> {
        let stop = self.stop.clone();
        let serving = self.serving.clone();
        let options = self.options.clone();
        let encoder = self.encoder.clone();
        let outbox = Outbox::forwarding(&self.config.output.forward_headers);
        let tile_rows = self.config.batch.tile_rows;
        move || {
            // Nothing is consumed before the control log is read and a version serves.
            if !serving.wait(&stop) {
                return Ok(());
            }
            let id = options.is_exactly_once().then(|| format!("foretell-{name}"));
            let bus = KafkaBus::join(options, id, stop.clone())?;
            let mut worker = Worker::new(bus, serving, encoder, outbox, tile_rows);
            let mut outcome = Ok(());
            while outcome.is_ok() && !stop.is_requested() {
                outcome = worker.turn().map(|_turn| ());
            }
            worker.close();
            outcome
        }
    }

    /// What the loader's thread does.
    fn loader(&self) -> impl FnOnce() -> Result<(), Fatal> + Send + use<> {
        let stop = self.stop.clone();
        let config = self.config.clone();
        let settings = self.settings.clone();
        let serving = self.serving.clone();
        let configured = self.configured.clone();
        move || {
            let tail = Tail::open(&config.kafka, &config.topics.control)?;
            let tell = |event: Event| tracing::info!(?event, "control");
            Loader::new(&config.model.name, configured, tail, settings, serving, tell).run(&stop)
        }
    }
}

/// Runs `work` on a thread of its own; its end is told, even by a panic.
fn spawn(
    name: String,
    ended: UnboundedSender<Ended>,
    work: impl FnOnce() -> Result<(), Fatal> + Send + 'static,
) -> Result<(), Fatal> {
    let thread = thread::Builder::new().name(name.clone());
    let run = move || {
        let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let what = what.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Fatal::Bug(format!("{name} panicked: {}", what.unwrap_or_default())))
        });
        // Nobody listens only if the process is past its drain.
        let _ = ended.send((name, outcome));
    };
    thread.spawn(run).map_err(|error| Fatal::Bug(format!("starting a thread: {error}")))?;
    Ok(())
}

/// Waits for the threads that still run, a little longer than they were given.
async fn drain_all(
    endings: &mut UnboundedReceiver<Ended>,
    mut running: usize,
    drain: Duration,
    outcome: &mut Result<(), Fatal>,
) {
    let grace = Duration::from_secs(2);
    let until = tokio::time::Instant::now() + drain + grace;
    while running > 0 {
        match tokio::time::timeout_at(until, endings.recv()).await {
            Ok(Some(ending)) => {
                running -= 1;
                note(ending, outcome);
            }
            Ok(None) => return,
            Err(_) => {
                let message = format!(
                    "{running} threads did not end within {drain:?}; what they held goes to the next owner"
                );
                note(("drain".into(), Err(Fatal::Unavailable(message))), outcome);
                return;
            }
        }
    }
}

/// The first failure is the one that counts.
fn note((name, ended): Ended, outcome: &mut Result<(), Fatal>) {
    match ended {
        Ok(()) => tracing::debug!(%name, "ended"),
        Err(error) => {
            tracing::error!(%name, "{error}");
            if outcome.is_ok() {
                *outcome = Err(error);
            }
        }
    }
}

/// SIGTERM or SIGINT; a second one ends the process on the spot.
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("signals cannot be caught; only a kill will end this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("asked twice; leaving at once");
        std::process::exit(130);
    });
}

async fn wished(stop: &Stop) {
    while !stop.is_requested() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Binds before anything is joined: a port in use is a fault of the configuration.
fn bind(listen: Listen) -> Result<Option<TcpListener>, Fatal> {
    let Listen::At(address) = listen else { return Ok(None) };
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    match bound {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => Err(Fatal::Configuration(format!(
            "cannot listen on {address}: {error}\n\nhint: set `http.listen` to a free address, or to \"off\""
        ))),
    }
}

/// Unique among all instances: the configured name, or host, process and time of start.
fn instance_name(config: &Config) -> String {
    if let Some(id) = &config.delivery.instance_id {
        return format!("{}-{id}", config.consumer.group_id);
    }
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "host".into());
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("{}-{host}-{}-{now:x}", config.consumer.group_id, std::process::id())
}

/// Lets the bundle that the configuration names through the gate.
pub fn configured_bundle(config: &Config, folder: &Path) -> Result<Admitted, Refusal> {
    let encoder = Encoder::new(&config.topics.events, &config.output);
    let expected = Expected { model: Some(&config.model.name), ..Expected::default() };
    gate::admit(folder, expected, &gate_settings(config, &encoder))
}

fn gate_settings(config: &Config, encoder: &Encoder) -> Settings {
    Settings {
        captures: encoder.captures().to_vec(),
        limits: Limits {
            event_bytes_max: config.batch.event_bytes_max,
            json_depth_max: config.batch.json_depth_max,
        },
        bytes_max: config.model.bytes_max,
        tile_rows: config.batch.tile_rows,
    }
}

/// The gate as tools use it that have no configuration: with all its defaults.
pub fn gate_settings_for_tools() -> Settings {
    let config = Config::default();
    gate_settings(&config, &Encoder::new("", &config.output))
}
