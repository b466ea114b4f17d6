//! `foretell evaluate`: how good predictions were, as their labels become known.
//!
//! One thread takes turns ([`round`]): it reads predictions and labels into the window, follows the control log, and
//! every few seconds measures, shows and decides. Nothing is stored: a start reads the window again.

mod judge;
mod log;
mod round;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::failure::Failure;
use super::{Configured, logging};
use crate::app;
use crate::bus::Fatal;
use crate::config::{Config, Listen};
use crate::observe::http;
use crate::observe::quality::board::Board;
use crate::observe::quality::{HeldReport, Kind, QualityReport, http as doors};
use crate::observe::reports::rfc3339;
use crate::stop::Stop;
use round::Round;

/// How long a stop waits for the turn in hand, and for the group to take its leave.
const DRAIN: Duration = Duration::from_secs(2);
/// And for the thread to come to its end.
const GRACE: Duration = Duration::from_secs(3);

pub fn run(configured: &Configured) -> Result<(), Failure> {
    let config = configured.load()?;
    logging::install(&config.log);
    let Some(labels) = config.evaluate.labels.clone() else {
        return Err(Failure::configuration(
            "`evaluate.labels` is not set: there is nothing to judge predictions by\n\nhint: set it to the topic of labels, {\"id\": …, \"label\": …} a record, keyed as the predictions",
        ));
    };
    let listener = app::bind(config.evaluate.listen, "evaluate.listen")?;
    let stop = Stop::default();
    let board = Board::new(first(&config));
    let round = Round::begin(&config, &labels, board.clone(), stop.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fatal::Bug(format!("starting the runtime: {error}")))?;
    Ok(runtime.block_on(supervise(round, listener, board, stop))?)
}

/// The report before anything is known.
fn first(config: &Config) -> QualityReport {
    let host = app::host();
    let group = group(config);
    let now = rfc3339(Timestamp::now());
    QualityReport {
        kind: Kind::Quality,
        evaluator: app::unique(&group, &host),
        host,
        at: now.clone(),
        started: now,
        model: config.model.name.clone(),
        group,
        ready: false,
        waits_for: vec!["the group has not said yet which partitions are ours".into()],
        partitions: Vec::new(),
        window_minutes: config.evaluate.window_minutes,
        held: HeldReport::default(),
        versions: Vec::new(),
        served: None,
        fault: None,
        asked: None,
    }
}

fn group(config: &Config) -> String {
    let own = config.evaluate.group_id.clone();
    own.unwrap_or_else(|| format!("{}-evaluate", config.consumer.group_id))
}

/// Until the evaluator ends, or somebody asks it to.
async fn supervise(
    round: Round,
    listener: Option<TcpListener>,
    board: Board,
    stop: Stop,
) -> Result<(), Fatal> {
    let (ended, mut endings) = unbounded_channel();
    let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let http = address.map_or(Listen::Off, Listen::At);
    let listener = listener.map(tokio::net::TcpListener::from_std).transpose();
    let listener = listener.map_err(|error| Fatal::Bug(format!("listening: {error}")))?;
    let report = board.report();
    app::spawn("evaluator".into(), ended, move || round.run())?;
    tracing::info!(evaluator = report.evaluator, group = report.group, %http, "started");
    let over = Arc::new(Notify::new());
    let faces = listener.map(|listener| {
        let (router, over) = (doors::router(board.clone()), Arc::clone(&over));
        let shutdown = async move { over.notified().await };
        tokio::spawn(http::serve(listener, router, http::Bounds::default(), shutdown))
    });
    let mut outcome = Ok(());
    let first = tokio::select! {
        ending = endings.recv() => ending,
        fatal = app::stuck(app::LOOK_EVERY, || board.faults(Instant::now())) => {
            app::note(("lookout".into(), Err(fatal)), &mut outcome);
            stop.request(DRAIN);
            last(&mut endings).await
        }
        () = app::signal() => {
            tracing::info!("stopping");
            stop.request(DRAIN);
            last(&mut endings).await
        }
    };
    over.notify_one();
    if let Some(faces) = faces {
        let _ = faces.await;
    }
    if let Some(ending) = first {
        app::note(ending, &mut outcome);
    }
    outcome
}

/// Waits for the thread, a little longer than it was given. Nothing is lost with it.
async fn last(endings: &mut UnboundedReceiver<app::Ended>) -> Option<app::Ended> {
    let ending = timeout(DRAIN + GRACE, endings.recv()).await;
    ending.unwrap_or_else(|_| {
        tracing::warn!("the evaluator did not end in time; it is left behind");
        None
    })
}
