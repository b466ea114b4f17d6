//! Writes transactions outside any group: all of one is there, or nothing of it.

use super::Fatal;
use super::native::Outgoing;
use super::options::Options;
use super::producer::{Producer, Trouble, c_name};
use crate::config::Config;
use crate::record::{Header, Record};
use crate::stop::Stop;

/// The only one of its id: who opens a second one ends the first, whose open transaction is undone.
pub struct Writer {
    producer: Producer,
    id: String,
}

impl Writer {
    /// Opens a writer of this transactional id, for records of so many bytes, and settles what an earlier
    /// one left open.
    ///
    /// # Errors
    /// The brokers do not answer, or the id may not be used.
    pub fn open(
        config: &Config,
        id: &str,
        message_bytes_max: usize,
        stop: &Stop,
    ) -> Result<Self, Fatal> {
        let options = Options { message_bytes_max, ..Options::new(config) };
        let id = id.to_owned();
        match Producer::connect(&options, Some(&id), stop) {
            Ok(producer) => Ok(Self { producer, id }),
            Err(trouble) => Err(fatal(&id, trouble)),
        }
    }

    /// Queues a record as it is, the first one of a transaction opens it. It goes to its partition, where
    /// the topic has that one, else to the one that its key chooses; with `None`, so in any case. Its offset
    /// counts for nothing.
    ///
    /// # Errors
    /// The record is not taken, and the transaction is undone.
    pub fn write<'h>(
        &mut self,
        (topic, partition): (&str, Option<i32>),
        record: Record<'_>,
        headers: impl Iterator<Item = Header<'h>> + Clone,
    ) -> Result<(), Fatal> {
        let topic = c_name(topic);
        let Record { key, value, timestamp_ms, .. } = record;
        let record = Outgoing { topic: &topic, partition, key, value, timestamp_ms };
        let sent = self.producer.send(&record, headers);
        self.producer.poll();
        sent.map_err(|trouble| self.undo(trouble))
    }

    /// Waits until the brokers have everything that was written, and commits it.
    ///
    /// # Errors
    /// Nothing of it is there; or, where a broker did not answer, all of it may be.
    pub fn commit(&mut self) -> Result<(), Fatal> {
        let committed = self.producer.flush().and_then(|()| self.producer.commit_alone());
        committed.map_err(|trouble| self.undo(trouble))
    }

    fn undo(&mut self, trouble: Trouble) -> Fatal {
        if let Trouble::Abort(_) | Trouble::TooLong(_) = trouble {
            // Where it cannot be told, the next writer's start ends the transaction, or its time-out.
            let _ = self.producer.abort();
        }
        fatal(&self.id, trouble)
    }
}

fn fatal(id: &str, trouble: Trouble) -> Fatal {
    match trouble {
        Trouble::Fatal(fatal) => fatal,
        Trouble::Fenced(_) => Fatal::Unavailable(format!(
            "another program has begun to write as `{id}`, or the broker gave up waiting for this one; what was not committed is undone\n\nhint: let only one run at a time"
        )),
        Trouble::Abort(why) | Trouble::Unknown(why) | Trouble::TooLong(why) => {
            Fatal::Unavailable(format!("writing as `{id}`: {why}"))
        }
    }
}
