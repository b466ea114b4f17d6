//! The loader without a broker: the control log is a channel, the store an HTTP server whose mood
//! a test decides, and a restart is another loader on the same log and cache.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use foretell::app::gate_settings_for_tools;
use foretell::bus::tail::{Record, Step};
use foretell::config::{Drift, Gate, Probation};
use foretell::control::event::Event;
use foretell::control::loader::{Loader, Setup};
use foretell::control::message::Message;
use foretell::control::registry::Registry;
use foretell::model::store::{Settings, Store};
use foretell::recent::Recent;
use foretell::serving::Serving;
use foretell::stop::Stop;
use serde_json::json;

use crate::kafka::model;
use crate::store::server::{Server, whole};

/// Long enough for a store to be asked again some times.
const PATIENCE: Duration = Duration::from_secs(60);
/// Whatever is fetched of it, something is wrong with this one.
const DAMAGED: u32 = 4;

/// How a store answers for a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mood {
    #[default]
    Whole,
    Away,
    /// It answers when it is in another mood.
    Hangs,
}

#[derive(Default)]
struct Moods {
    of: Mutex<BTreeMap<u32, Mood>>,
    changed: Condvar,
}

/// A store of tiny models, at `/models/VERSION`.
struct Shelf {
    server: Server,
    moods: Arc<Moods>,
}

impl Shelf {
    fn open() -> Self {
        let moods = Arc::new(Moods::default());
        let seen = Arc::clone(&moods);
        let server = Server::start(move |path, _, stream| seen.answer(path, stream));
        Self { server, moods }
    }

    fn set(&self, version: u32, mood: Mood) {
        self.moods.of.lock().unwrap().insert(version, mood);
        self.moods.changed.notify_all();
    }

    /// Waits until a request has come after `before` others.
    fn is_asked(&self, before: usize) {
        let until = Instant::now() + PATIENCE;
        while self.server.requests() <= before {
            assert!(Instant::now() < until, "the store is not asked");
            thread::yield_now();
        }
    }

    fn announcement(&self, version: u32, rollout: &str) -> String {
        json!({
            "type": "retrain-complete", "model": model::NAME, "version": version.to_string(),
            "uri": self.server.url(&format!("/models/{version}")),
            "digest": model::digest(&model::bundle(version)), "rollout": rollout,
        })
        .to_string()
    }
}

impl Moods {
    fn answer(&self, path: &str, stream: &mut TcpStream) {
        let (version, file) = path.trim_start_matches("/models/").split_once('/').unwrap();
        let version: u32 = version.parse().unwrap();
        let hangs = |of: &mut BTreeMap<u32, Mood>| of.get(&version) == Some(&Mood::Hangs);
        let moods = self.changed.wait_while(self.of.lock().unwrap(), hangs).unwrap();
        let mood = moods.get(&version).copied().unwrap_or_default();
        drop(moods);
        match fs::read(model::bundle(version).join(file)) {
            Ok(mut bytes) if mood == Mood::Whole => {
                if version == DAMAGED && file == "model.txt" {
                    *bytes.last_mut().unwrap() ^= 1;
                }
                whole(stream, "200 OK", &bytes);
            }
            _ => whole(stream, "404 Not Found", b"no such file"),
        }
    }
}

/// A loader that runs.
struct Instance {
    log: Sender<Step>,
    events: Receiver<Event>,
    serving: Serving,
    stop: Stop,
    next_offset: i64,
    thread: JoinHandle<()>,
}

impl Instance {
    /// Starts where the log holds what was `said`.
    fn start(shelf: &Shelf, said: &[String], cache: Option<&Path>, kept_bytes_max: u64) -> Self {
        let stop = Stop::default();
        let settings = Settings {
            allowed: vec![shelf.server.url("/models")],
            cache: cache.map(Path::to_owned),
            timeout: PATIENCE,
            jitter: Duration::ZERO,
            bytes_max: 1 << 20,
            trusted_keys: Vec::new(),
        };
        let store = Store::new(settings, stop.clone()).unwrap();
        let setup = Setup {
            model: model::NAME.into(),
            configured: None,
            settings: gate_settings_for_tools(),
            gate: Gate::default(),
            probation: Probation::default(),
            drift: Drift::default(),
            kept_bytes_max,
            stop: stop.clone(),
        };
        let (log, steps) = channel();
        let next = move |wait: Duration| {
            let step = steps.recv_timeout(wait);
            assert_ne!(step.as_ref().err(), Some(&RecvTimeoutError::Disconnected));
            Ok(step.unwrap_or(Step::Nothing))
        };
        let (told, events) = channel();
        let tell = move |event| {
            let _ = told.send(event);
        };
        let serving = Serving::default();
        let loader = Loader::new(setup, next, store, serving.clone(), Recent::new(100), tell);
        let thread = thread::spawn(move || loader.run().unwrap());
        let mut instance = Self { log, events, serving, stop, next_offset: 0, thread };
        said.iter().for_each(|message| instance.say(message));
        instance.log.send(Step::End).unwrap();
        instance
    }

    /// Appends to the log.
    fn say(&mut self, message: &str) {
        let record = Record {
            partition: 0,
            offset: self.next_offset,
            timestamp_ms: None,
            key: None,
            value: Some(message.as_bytes().to_vec()),
            headers: Vec::new(),
        };
        self.next_offset += 1;
        self.log.send(Step::Record(record)).unwrap();
    }

    /// What happens next that `is` it, and all before.
    fn until<T>(&self, what: &str, mut is: impl FnMut(Event) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left);
            let event = event.unwrap_or_else(|error| panic!("{what}: {error}"));
            if let Some(found) = is(event) {
                return found;
            }
        }
    }

    fn until_swapped(&self, version: u32, control_offset: i64) {
        let version = version.to_string();
        self.until(&format!("{version} serves"), |event| match event {
            Event::Swapped { served } if served.version.version == version => {
                assert_eq!(served.control_offset, Some(control_offset));
                Some(())
            }
            _ => None,
        });
    }

    /// Waits until a version has been through the gate, and says why it did not pass.
    fn until_judged(&self, wanted: u32) -> Option<bool> {
        self.until(&format!("{wanted} is judged"), |event| match event {
            Event::Judged { version, refusal, .. } if version == wanted.to_string() => {
                Some(refusal.map(|refusal| refusal.is_transient))
            }
            _ => None,
        })
    }

    /// Version and control offset.
    fn serves(&self) -> Option<(String, Option<i64>)> {
        let served = self.serving.load()?;
        Some((served.version.version.clone(), served.control_offset))
    }

    fn end(self) {
        self.stop.request(Duration::ZERO);
        self.thread.join().unwrap();
    }
}

fn rollback(from: u32, to: Option<u32>) -> String {
    let (from, to) = (from.to_string(), to.map(|to| to.to_string()));
    json!({"type": "rollback", "model": model::NAME, "from": from, "to": to}).to_string()
}

fn promote(version: u32) -> String {
    json!({"type": "promote", "model": model::NAME, "version": version.to_string()}).to_string()
}

#[test]
fn a_store_that_is_away_at_start_is_asked_again_and_holds_up_no_message() {
    let shelf = Shelf::open();
    shelf.set(1, Mood::Away);
    let mut instance =
        Instance::start(&shelf, &[shelf.announcement(1, "immediate")], None, 1 << 20);
    assert_eq!(instance.until_judged(1), Some(true), "a refusal that may mend itself");
    instance.say(r#"{"type":"canary"}"#);
    instance.until("an unknown message is counted", |event| {
        matches!(event, Event::Message { offset: 1, kind: "unknown" }).then_some(())
    });
    assert_eq!(instance.serves(), None);
    shelf.set(1, Mood::Whole);
    instance.until_swapped(1, 0);
    instance.end();
}

#[test]
fn a_store_that_hangs_keeps_nobody_from_going_back() {
    let shelf = Shelf::open();
    let said = [1, 2].map(|version| shelf.announcement(version, "immediate"));
    let mut instance = Instance::start(&shelf, &said, None, 1 << 20);
    instance.until_swapped(2, 1);
    assert_eq!(instance.until_judged(1), None, "what a rollback would go to stands by");
    shelf.set(3, Mood::Hangs);
    let before = shelf.server.requests();
    instance.say(&shelf.announcement(3, "immediate"));
    shelf.is_asked(before);
    assert_eq!(instance.serves(), Some(("2".into(), Some(1))));
    instance.say(&rollback(3, Some(1)));
    instance.until_swapped(1, 3);
    // What comes too late is let go.
    shelf.set(3, Mood::Whole);
    instance.say(&promote(2));
    instance.until_swapped(2, 4);
    instance.end();
}

#[test]
fn what_was_rolled_back_serves_no_longer_than_it_must() {
    let shelf = Shelf::open();
    let bytes = fs::metadata(model::bundle(1).join("model.txt")).unwrap().len();
    let mut instance = Instance::start(&shelf, &[], None, bytes * 3 / 2);
    for version in [1, 2, 3] {
        instance.say(&shelf.announcement(version, "immediate"));
        instance.until_swapped(version, i64::from(version) - 1);
    }
    // 2 is in memory, 1 was too much to keep.
    shelf.set(1, Mood::Hangs);
    instance.say(&rollback(3, Some(1)));
    instance.until_swapped(2, 1);
    shelf.set(1, Mood::Whole);
    instance.until_swapped(1, 3);
    instance.end();
}

/// More than the cache keeps come and go meanwhile.
#[test]
fn what_serves_stays_in_the_cache() {
    let (shelf, cache) = (Shelf::open(), tempfile::tempdir().unwrap());
    let mut said = vec![shelf.announcement(1, "immediate")];
    let mut instance = Instance::start(&shelf, &said, Some(cache.path()), 1 << 20);
    instance.until_swapped(1, 0);
    for version in (2..).filter(|version| *version != DAMAGED).take(18) {
        said.push(shelf.announcement(version, "hold"));
        instance.say(said.last().unwrap());
        assert_eq!(instance.until_judged(version), None);
    }
    instance.end();
    (1..=20).for_each(|version| shelf.set(version, Mood::Away));
    let again = Instance::start(&shelf, &said, Some(cache.path()), 1 << 20);
    again.until_swapped(1, 0);
    again.end();
}

/// Whatever is said, whatever the stores do and however often an instance starts again: each
/// version serves under a message that chose it, and in the end the one that the log wants.
#[test]
fn by_chance_every_instance_ends_with_what_the_log_wants() {
    const SEEDS: u64 = 100;
    const AT_A_TIME: usize = 8;
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        return;
                    }
                    play(seed);
                }
            });
        }
    });
}

fn play(seed: u64) {
    const ACTS: usize = 30;
    const VERSIONS: u32 = 5;
    let mut rng = fastrand::Rng::with_seed(seed);
    let (shelf, cache) = (Shelf::open(), tempfile::tempdir().unwrap());
    let cache = rng.bool().then_some(cache.path());
    let kept_bytes_max = rng.u64(0..4_000);
    let mut said: Vec<String> = Vec::new();
    let mut instance = Instance::start(&shelf, &said, cache, kept_bytes_max);
    for _ in 0..ACTS {
        let version = rng.u32(1..=VERSIONS);
        let message = match rng.u32(0..12) {
            0..=2 => shelf.announcement(version, "immediate"),
            3 => shelf.announcement(version, "hold"),
            4 => shelf.announcement(version, "shadow"),
            5 => promote(version),
            6 | 7 => rollback(version, rng.bool().then(|| rng.u32(1..=VERSIONS))),
            8 | 9 => {
                let mood = *rng.choice(&[Mood::Whole, Mood::Away, Mood::Hangs]).unwrap();
                shelf.set(version, mood);
                continue;
            }
            10 => {
                instance.end();
                instance = Instance::start(&shelf, &said, cache, kept_bytes_max);
                continue;
            }
            _ => {
                // It comes round some times before more is said.
                let rounds = rng.usize(1..4);
                let mut seen = 0;
                instance.until("the loader comes round", |event| {
                    check(seed, &event, &said);
                    seen += usize::from(matches!(event, Event::Round));
                    (seen >= rounds).then_some(())
                });
                continue;
            }
        };
        instance.say(&message);
        said.push(message);
    }
    (1..=VERSIONS).for_each(|version| shelf.set(version, Mood::Whole));
    let registry = registry(&said);
    let wanted = registry.wanted().find(|wanted| wanted.version != DAMAGED.to_string());
    let wanted = wanted.map(|wanted| (wanted.version.to_owned(), wanted.control_offset));
    let fresh = Instance::start(&shelf, &said, None, kept_bytes_max);
    for instance in [instance, fresh] {
        while wanted.is_some() && instance.serves() != wanted {
            let what = format!("seed {seed}: {wanted:?} serves, after {said:#?}");
            instance.until(&what, |event| {
                check(seed, &event, &said);
                matches!(event, Event::Swapped { .. }).then_some(())
            });
        }
        instance.end();
    }
}

/// What serves was chosen by the message that it names.
fn check(seed: u64, event: &Event, said: &[String]) {
    let Event::Swapped { served } = event else { return };
    let version = &served.version.version;
    let offset = served.control_offset.unwrap();
    let registry = registry(&said[..=usize::try_from(offset).unwrap()]);
    let wanted = registry.wanted().next().map(|wanted| (wanted.version, wanted.control_offset));
    assert_eq!(wanted, Some((version.as_str(), Some(offset))), "seed {seed}");
    assert_ne!(*version, DAMAGED.to_string(), "seed {seed}");
}

fn registry(said: &[String]) -> Registry {
    let mut registry = Registry::new(model::NAME, None);
    for (message, offset) in said.iter().zip(0..) {
        // A contradiction changes nothing.
        let _ = registry.apply(offset, &Message::parse(message.as_bytes()).unwrap());
    }
    registry
}
