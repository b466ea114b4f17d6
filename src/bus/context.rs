//! What librdkafka calls back with: recorded as facts, and decided on by the loop that polls.
//!
//! **Invariant**: nothing here waits, commits or calls another client function.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;

/// Facts from the callbacks of one worker's consumer and producer.
#[derive(Debug, Clone, Default)]
pub struct Facts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Set last, read first: the loop looks at one flag a record.
    rebalanced: AtomicBool,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    revoked: Vec<i32>,
    assigned: Vec<i32>,
    undelivered: Option<RDKafkaErrorCode>,
    last_error: Option<(RDKafkaErrorCode, String)>,
}

/// What a rebalance did since it was last asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rebalanced {
    pub revoked: Vec<i32>,
    pub assigned: Vec<i32>,
}

impl Facts {
    /// The rebalances since the last call; `None`, at the cost of one atomic load, if there were none.
    pub fn take_rebalanced(&self) -> Option<Rebalanced> {
        if !self.0.rebalanced.load(Ordering::Relaxed) {
            return None;
        }
        let mut notes = self.notes();
        self.0.rebalanced.store(false, Ordering::Relaxed);
        let revoked = std::mem::take(&mut notes.revoked);
        let assigned = std::mem::take(&mut notes.assigned);
        Some(Rebalanced { revoked, assigned })
    }

    /// Why a record could not be delivered, since the last call.
    pub fn take_undelivered(&self) -> Option<RDKafkaErrorCode> {
        self.notes().undelivered.take()
    }

    /// The last thing that went wrong between this client and the brokers, in librdkafka's words.
    pub fn last_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.notes().last_error.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // A panic elsewhere cannot leave these lists half written.
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The context of every client of this program.
#[derive(Debug, Clone, Default)]
pub struct Context {
    pub facts: Facts,
}

impl ClientContext for Context {
    /// librdkafka tells of every failed connection attempt; what counts arrives as an error too.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        // "All brokers are down" follows each real reason and names none.
        if let Some(code) = error.rdkafka_error_code()
            && code != RDKafkaErrorCode::AllBrokersDown
        {
            self.facts.notes().last_error = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut notes = self.facts.notes();
        match rebalance {
            Rebalance::Revoke(list) => {
                notes.revoked.extend(list.elements().iter().map(|element| element.partition()));
            }
            Rebalance::Assign(list) => {
                notes.assigned.extend(list.elements().iter().map(|element| element.partition()));
            }
            Rebalance::Error(_) => return,
        }
        self.facts.0.rebalanced.store(true, Ordering::Relaxed);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    /// Called for failures only (`delivery.report.only.error`).
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            self.facts.notes().undelivered.get_or_insert(code);
        }
    }
}
