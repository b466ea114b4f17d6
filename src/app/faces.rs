//! What an instance shows: HTTP, and reports on their topic.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::bus::publish::Publisher;
use crate::config::Config;
use crate::observe::http;
use crate::observe::predict::Counter;
use crate::observe::retrain::Desk;
use crate::observe::status::Status;
use crate::predict::Asker;

/// How often it is said that reports do not arrive.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// HTTP and reports, until everything is drained: probes hear that an instance is draining, and
/// the last report says where it stood.
pub async fn show(
    listener: Option<TcpListener>,
    status: Status,
    publisher: Publisher,
    config: Config,
    asker: Asker,
    drained: Arc<Notify>,
) {
    let over = async {
        drained.notified().await;
    };
    match listener {
        Some(listener) => {
            let counter = Counter::new(&config.http, asker, status.clone());
            let router = http::router(status.clone(), Desk::new(&config), counter);
            tokio::select! {
                () = http::serve(listener, router, http::Bounds::default(), over) => {}
                () = report(&status, &publisher, &config) => {}
            }
        }
        None => {
            tokio::select! {
                () = over => {}
                () = report(&status, &publisher, &config) => {}
            }
        }
    }
    publish_report(&status, &publisher, &config);
    if let Err(error) = publisher.flush(Duration::from_secs(1)) {
        tracing::warn!("the last report was not delivered: {error}");
    }
}

/// Publishes a report at every change, and every `reports.interval_ms`. Never ends: reports that do
/// not arrive, for want of a right too, are no reason to stop predicting. It is said, and said again.
async fn report(status: &Status, publisher: &Publisher, config: &Config) {
    let interval = Duration::from_millis(config.reports.interval_ms);
    let glance = Duration::from_millis(250).min(interval);
    let mut reported = None;
    let mut last = Instant::now();
    let mut said: Option<Instant> = None;
    loop {
        let revision = status.revision();
        if reported != Some(revision) || last.elapsed() >= interval {
            publish_report(status, publisher, config);
            reported = Some(revision);
            last = Instant::now();
        }
        if let Some(error) = publisher.given_up()
            && said.is_none_or(|said| said.elapsed() >= SAY_AGAIN)
        {
            tracing::warn!("reports do not arrive: {error}");
            said = Some(Instant::now());
        }
        sleep(glance).await;
    }
}

fn publish_report(status: &Status, publisher: &Publisher, config: &Config) {
    let report = status.report(jiff::Timestamp::now());
    let key = report.instance.as_bytes();
    // A report is made of text and numbers: it is JSON.
    let Ok(value) = serde_json::to_vec(&report) else { return };
    if let Err(error) = publisher.send(&config.topics.reports, Some(key), &value) {
        tracing::warn!("a report was not sent: {error}");
    }
}
