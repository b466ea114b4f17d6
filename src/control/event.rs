//! What happens in the loader, for those who tell it on.

use std::sync::Arc;

use super::message::Message;
use crate::compare::Comparison;
use crate::model::gate::{Refusal, Times};
use crate::serving::Served;

/// What the loader tells: for logs, metrics and reports.
#[derive(Debug, Clone)]
pub enum Event {
    /// The loader has come round once more.
    Round,
    /// A control record was read: its type, `unknown` or `malformed`.
    Message { offset: i64, kind: &'static str },
    /// A control record was passed over: unknown, malformed, or against what was said before.
    Skipped { offset: i64, why: String },
    /// The versions that have passed the gate and wait for `promote`, all of them.
    Candidates(Vec<String>),
    /// A version went through the gate: what each check took, what it failed if it did, and how it
    /// compared with what serves if it came so far.
    Judged {
        version: String,
        times: Times,
        refusal: Option<Refusal>,
        comparison: Option<Box<Comparison>>,
    },
    /// Another version serves.
    Swapped { served: Arc<Served> },
    /// What serves has another shadow, or none any more.
    Shadowed { served: Arc<Served> },
    /// This instance asks for something by itself; it has to be published.
    Asks(Message),
    /// The log has been read to the end it had at the start.
    CaughtUp { messages: u64 },
}
