//! Puts a control message onto the log.

use super::message::Message;
use crate::bus::Fatal;
use crate::bus::publish::Publisher;

/// Queues a message for the topic `control`, keyed by its model; says how it reads. Delivery is
/// asked for by [`Publisher::flush`].
///
/// # Errors
/// It is too long for a record.
pub fn say(publisher: &Publisher, control: &str, message: &Message) -> Result<String, Fatal> {
    let value = serde_json::to_string(message)
        .map_err(|error| Fatal::Bug(format!("writing a control message: {error}")))?;
    publisher.send(control, Some(message.model().as_bytes()), value.as_bytes())?;
    Ok(value)
}
