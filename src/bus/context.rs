//! What librdkafka calls back with: recorded as facts, and decided on by the loop that polls.
//!
//! **Invariant**: nothing here waits, commits or calls another client function.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;

use super::refusal::{Refused, is_authorization};
use super::statistics;

/// Facts from the callbacks of one worker's consumer and producer.
#[derive(Debug, Clone, Default)]
pub struct Facts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Set last, read first: the loop looks at one flag a record.
    rebalanced: AtomicBool,
    signs: AtomicU64,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    revoked: Vec<i32>,
    assigned: Vec<i32>,
    undelivered: Option<Undelivered>,
    delivered_at: Option<i64>,
    refused: Option<Refused>,
    last_reason: Option<String>,
    adrift: Option<(u64, String)>,
}

/// Why a record could not be delivered, and to which topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    pub code: RDKafkaErrorCode,
    pub topic: String,
}

impl Notes {
    fn went_wrong(&mut self, code: Option<RDKafkaErrorCode>, reason: &str) {
        if let Some(refused) = Refused::of(code, reason) {
            self.refused = Some(refused);
        }
        self.last_reason = Some(reason.to_owned());
    }

    fn undelivered(&mut self, code: RDKafkaErrorCode, topic: &str) {
        // A purge follows from another failure: that one is worth more.
        if self.undelivered.as_ref().is_none_or(|known| is_purge(known.code)) {
            self.undelivered = Some(Undelivered { code, topic: topic.to_owned() });
        }
    }
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

    /// How many signs of life have come from librdkafka's own thread; see [`super::client`].
    pub fn signs(&self) -> u64 {
        self.0.signs.load(Ordering::Relaxed)
    }

    /// With how many signs of life in a row the member said that it is not in its group although a broker can be
    /// reached, and where it is.
    pub fn adrift(&self) -> Option<(u64, String)> {
        self.notes().adrift.clone()
    }

    /// Notes a rebalance that no callback tells of.
    pub fn revoked(&self, partitions: &[i32]) {
        if partitions.is_empty() {
            return;
        }
        self.notes().revoked.extend(partitions);
        self.0.rebalanced.store(true, Ordering::Relaxed);
    }

    /// Why a record could not be delivered, since the last call.
    pub fn take_undelivered(&self) -> Option<Undelivered> {
        self.notes().undelivered.take()
    }

    /// Is anything undelivered that never will be delivered, for want of a right?
    pub fn is_not_permitted(&self) -> bool {
        self.notes().undelivered.as_ref().is_some_and(|known| is_authorization(known.code))
    }

    /// The offset of the last record that was delivered, where the client reports successes.
    pub fn delivered_at(&self) -> Option<i64> {
        self.notes().delivered_at
    }

    /// Why this client and the brokers refuse each other, if they ever did.
    pub fn refused(&self) -> Option<Refused> {
        self.notes().refused.clone()
    }

    /// The last thing that went wrong between this client and the brokers, in librdkafka's words,
    /// which say more than any code.
    pub fn last_reason(&self) -> Option<String> {
        self.notes().last_reason.clone()
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
    /// It is a member of a group after KIP-848.
    pub is_assigned_by_brokers: bool,
}

impl ClientContext for Context {
    /// librdkafka tells of every failed connection attempt: worth keeping the last, not worth a
    /// line each.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
        // Without the name of librdkafka's thread.
        let message = message.split_once("]: ").map_or(message, |(_, message)| message);
        match facility {
            "FAIL" => self.facts.notes().went_wrong(None, message),
            // The one way in which it tells which topic a transaction may not write to; the records
            // wait in its queue meanwhile.
            "ADDPARTS" if message.contains("Topic authorization failed") => {
                let topic = message.split('"').nth(1).unwrap_or_default();
                let code = RDKafkaErrorCode::TopicAuthorizationFailed;
                self.facts.notes().undelivered(code, topic);
            }
            _ => {}
        }
    }

    fn stats_raw(&self, told: &[u8]) {
        self.facts.0.signs.fetch_add(1, Ordering::Relaxed);
        let mut notes = self.facts.notes();
        let before = notes.adrift.take().map_or(0, |(signs, _)| signs);
        notes.adrift =
            statistics::adrift(told, self.is_assigned_by_brokers).map(|place| (before + 1, place));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        // "All brokers are down" follows each real reason and names none.
        if let Some(code) = error.rdkafka_error_code()
            && code != RDKafkaErrorCode::AllBrokersDown
        {
            self.facts.notes().went_wrong(Some(code), reason);
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

/// Thrown away by the client itself: at an abort, or after a fatal error.
pub fn is_purge(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    /// A worker's producer reports failures only (`delivery.report.only.error`).
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => self.facts.notes().delivered_at = Some(message.offset()),
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                self.facts.notes().undelivered(code, message.topic());
            }
        }
    }
}
