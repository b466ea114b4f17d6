//! Logs on stderr: lines for people, or JSON for programs.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Installs the logger. A second call in one process changes nothing.
pub fn install(log: &Log) {
    // What the client library has to say comes through our own contexts (`librdkafka`, below).
    let directives = format!("rdkafka=off,{}", log.level);
    // The configuration has checked the directives.
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = match log.format {
        LogFormat::Pretty => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
