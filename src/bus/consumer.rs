//! A worker's consumer: a member of the group that knows where each of its partitions stands.

use std::collections::HashMap;
use std::ffi::CString;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::client::{Client, LIFE_SIGN};
use super::context::{Context, Rebalanced};
use super::options::{self, Options};
use super::producer::c_name;
use super::refusal::{Operation, Resource, is_authorization};
use super::reset::Reset;
use super::{Fatal, Lag, Stand, look, native};
use crate::batch::Batch;
use crate::record::{NextOffset, Record};
use crate::stop::Stop;

/// How long an answer about offsets may keep the loop from its other partitions.
const GLANCE: Duration = Duration::from_millis(200);
/// How long a commit of offsets alone may take.
const COMMIT: Duration = Duration::from_secs(8);
/// librdkafka repeats that it cannot connect every 30 s.
const CUT_OFF: Duration = Duration::from_secs(35);

pub struct Consumer {
    client: Client,
    options: Options,
    c_topic: CString,
    /// Where each assigned partition stands that has delivered something. A record below is
    /// dropped: after a resume, librdkafka can deliver one twice (kafka-facts.md §0.4).
    positions: HashMap<i32, NextOffset>,
    /// Where each partition stood, and where it ended, when the client said that it is read to its end.
    /// Between the two are markers of transactions, and what was aborted.
    read_to_end: HashMap<i32, (Option<NextOffset>, i64)>,
    assigned: Vec<i32>,
    paused: bool,
    reset: Reset,
    /// librdkafka repeats itself during an outage; we say each thing once in five seconds.
    said: Option<(RDKafkaErrorCode, Instant)>,
    /// The last sign that no broker can be reached, if none came since that one can.
    cut_off: Option<Instant>,
    rebalances: u64,
}

impl Consumer {
    /// Joins the group. What comes of it is seen by polling.
    pub fn join(options: &Options) -> Result<Self, Fatal> {
        Ok(Self {
            client: member(options)?,
            options: options.clone(),
            c_topic: c_name(&options.topics.events),
            positions: HashMap::new(),
            read_to_end: HashMap::new(),
            assigned: Vec::new(),
            paused: false,
            reset: Reset::new(options),
            said: None,
            cut_off: None,
            rebalances: 0,
        })
    }

    /// Polls once, for at most `timeout`: a record goes to the end of `batch`. Says whether there
    /// was one.
    pub fn poll(&mut self, mut timeout: Duration, batch: &mut Batch) -> Result<bool, Fatal> {
        loop {
            match self.client.poll(timeout)? {
                None => return self.see_membership().map(|()| false),
                Some(Ok(message)) => {
                    self.cut_off = None;
                    let partition = message.partition();
                    let offset = message.offset();
                    let known = self.positions.get(&partition);
                    if known.is_some_and(|next| next.covers(offset)) {
                        tracing::warn!(
                            partition,
                            offset,
                            "dropped a record that was delivered twice"
                        );
                        return Ok(true);
                    }
                    batch.push(record(&message), native::headers(&message));
                    self.positions.insert(partition, NextOffset::after(offset));
                    return Ok(true);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.reached_end(partition);
                    // It says nothing of the other partitions, which may all have been read to theirs.
                    timeout = Duration::ZERO;
                }
                Some(Err(error)) => return self.error(&error).map(|()| false),
            }
        }
    }

    /// A client that does not find back into its group does not by itself ("A consumer that stands still" in
    /// ARCHITECTURE.md): another takes its place.
    fn see_membership(&mut self) -> Result<(), Fatal> {
        let Some((signs, place)) = self.client.context().facts.adrift() else { return Ok(()) };
        let since = LIFE_SIGN.saturating_mul(signs.try_into().unwrap_or(u32::MAX));
        if since < self.options.joining_max() {
            return Ok(());
        }
        tracing::warn!(
            place,
            seconds = since.as_secs(),
            "librdkafka has not found back into the group though brokers can be reached; joining with a new client"
        );
        self.rejoin()
    }

    /// Leaves the group, as far as the client can, and joins it with a new one. What it had is revoked.
    pub fn rejoin(&mut self) -> Result<(), Fatal> {
        let client = member(&self.options)?;
        client.context().facts.revoked(&self.assigned);
        self.client = client;
        Ok(())
    }

    fn reached_end(&mut self, partition: i32) {
        if let Some(end) = native::known_end(&self.client, &self.c_topic, partition) {
            let next = self.positions.get(&partition).copied();
            self.read_to_end.insert(partition, (next, end));
        }
    }

    fn error(&mut self, error: &KafkaError) -> Result<(), Fatal> {
        let mut code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        if let (RDKafkaErrorCode::Fatal, Some((cause, _))) =
            (code, self.client.client().fatal_error())
        {
            code = cause;
        }
        match (error, code) {
            (_, RDKafkaErrorCode::AutoOffsetReset) => self.reset.ask(),
            (_, code) if is_authorization(code) => {
                return Err(self.not_permitted(code));
            }
            (KafkaError::MessageConsumptionFatal(_), code) => {
                return Err(Fatal::Unavailable(format!(
                    "the consumer of `{}` cannot go on: {code}\n\nhint: another process may use the same member name",
                    self.topic()
                )));
            }
            (_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                look::see_topics(self.client.client(), &[self.topic()], Operation::Read, GLANCE)?;
                self.say(code);
            }
            _ => {
                let is_connection = code == RDKafkaErrorCode::BrokerTransportFailure;
                let is_worse = is_connection && self.cut_off.is_some();
                if code == RDKafkaErrorCode::AllBrokersDown || is_worse {
                    self.cut_off = Some(Instant::now());
                }
                self.say(code);
            }
        }
        Ok(())
    }

    fn not_permitted(&self, code: RDKafkaErrorCode) -> Fatal {
        let resource = match code {
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                Resource::Group(&self.options.consumer.group_id)
            }
            _ => Resource::Topic(self.topic()),
        };
        let doing = format!(
            "reading `{}` as a member of group `{}`",
            self.topic(),
            self.options.consumer.group_id
        );
        Operation::Read.on(resource).is_lacking(&doing, code)
    }

    fn say(&mut self, code: RDKafkaErrorCode) {
        let again = self
            .said
            .is_some_and(|(said, when)| said == code && when.elapsed() < Duration::from_secs(5));
        if !again {
            let reason = self.client.context().facts.last_reason();
            tracing::warn!(%code, reason, "the consumer has trouble; it goes on by itself");
            self.said = Some((code, Instant::now()));
        }
    }

    /// What the group has changed since the last call. The caller forgets the records of revoked
    /// partitions.
    pub fn take_rebalanced(&mut self) -> Option<Rebalanced> {
        let change = self.client.context().facts.take_rebalanced()?;
        self.rebalances += 1;
        for partition in &change.revoked {
            self.positions.remove(partition);
            self.read_to_end.remove(partition);
        }
        self.assigned.retain(|partition| !change.revoked.contains(partition));
        self.assigned.extend(&change.assigned);
        self.assigned.sort_unstable();
        self.assigned.dedup();
        if !change.assigned.is_empty() {
            self.welcome(&change.assigned);
        }
        tracing::info!(
            assigned = ?change.assigned, revoked = ?change.revoked, now = ?self.assigned, "rebalanced"
        );
        Some(change)
    }

    fn welcome(&mut self, assigned: &[i32]) {
        if self.paused {
            // Newly assigned partitions come unpaused,
            self.pause_all();
        } else {
            // unless they were taken from us while they were paused: librdkafka remembers that.
            self.resume_partitions(assigned);
        }
        self.reset.watch();
    }

    /// Finds a place for partitions that have none, if any is waiting and it is time to ask.
    pub fn find_positions(&mut self) -> Result<(), Fatal> {
        if self.reset.is_due() {
            let Self { client, options, assigned, positions, .. } = self;
            let topic = &options.topics.events;
            let moved = self.reset.resolve(client, topic, assigned, positions, GLANCE)?;
            self.positions.extend(moved);
        }
        Ok(())
    }

    /// Stops delivery while a batch in hand cannot be settled and no more can be held. Polling goes on:
    /// a group that waits for a member which does not poll stands still.
    pub fn pause(&mut self) {
        if !self.paused {
            self.paused = true;
            self.pause_all();
        }
    }

    pub fn resume(&mut self) {
        if self.paused {
            self.paused = false;
            self.resume_partitions(&self.assigned);
        }
    }

    fn pause_all(&self) {
        if let Err(error) = self.client.pause(&self.list(&self.assigned)) {
            tracing::warn!(%error, partitions = ?self.assigned, "not paused");
        }
    }

    fn resume_partitions(&self, partitions: &[i32]) {
        if let Err(error) = self.client.resume(&self.list(partitions)) {
            tracing::warn!(%error, ?partitions, "not resumed");
        }
    }

    fn list(&self, partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(self.topic(), partition);
        }
        list
    }

    /// What the broker has as settled for these partitions; an error or time-out says nothing.
    pub fn committed(&mut self, partitions: &[i32]) -> Result<Vec<(i32, NextOffset)>, KafkaError> {
        let answer = self.ask_committed(partitions);
        match &answer {
            Ok(_) => self.reset.answered(),
            Err(error) => self.reset.unanswered(&self.options.topics.events, partitions, error),
        }
        answer
    }

    fn ask_committed(&self, partitions: &[i32]) -> Result<Vec<(i32, NextOffset)>, KafkaError> {
        let answer =
            self.client.committed_offsets(self.list(partitions), Duration::from_secs(2))?;
        answer
            .elements()
            .iter()
            .filter_map(|element| match (element.error(), element.offset()) {
                (Err(error), _) => Some(Err(error)),
                (Ok(()), Offset::Offset(at)) => Some(Ok((element.partition(), NextOffset::at(at)))),
                (Ok(()), _) => None,
            })
            .collect()
    }

    /// The offsets of a batch as librdkafka takes them.
    pub fn offsets(&self, batch: &Batch) -> Result<TopicPartitionList, Fatal> {
        let mut list = TopicPartitionList::new();
        for (partition, next) in batch.next_offsets() {
            list.add_partition_offset(self.topic(), partition, Offset::Offset(next.get()))
                .map_err(|error| Fatal::Bug(format!("offset {}: {error}", next.get())))?;
        }
        Ok(list)
    }

    /// At-least-once: commits offsets by themselves, after their predictions were delivered.
    pub fn commit(&self, offsets: &TopicPartitionList) -> Result<(), KafkaError> {
        let late = KafkaError::ConsumerCommit(RDKafkaErrorCode::OperationTimedOut);
        self.client.commit_within(offsets, COMMIT).unwrap_or(Err(late))
    }

    pub fn client(&self) -> &BaseConsumer<Context> {
        &self.client
    }

    fn topic(&self) -> &str {
        &self.options.topics.events
    }

    pub fn rebalances(&self) -> u64 {
        self.rebalances
    }

    /// How far each assigned partition is behind its end, where both are known: a partition that
    /// waits for its place must not look as if nothing waited in it. One of which neither is known
    /// has not been fetched from: it has no place yet.
    pub fn stand(&self) -> Stand {
        let is_cut_off = self.cut_off.is_some_and(|when| when.elapsed() < CUT_OFF);
        let mut stand = Stand { is_cut_off, ..Stand::default() };
        for &partition in &self.assigned {
            let end = native::known_end(&self.client, &self.c_topic, partition);
            match (end, self.positions.get(&partition).copied()) {
                (Some(end), Some(next)) => {
                    let is_read = self.read_to_end.get(&partition) == Some(&(Some(next), end));
                    let left = if is_read { 0 } else { end - next.get() };
                    let events = u64::try_from(left).unwrap_or(0);
                    stand.lags.push(Lag { partition, next, events });
                }
                (None, None) => stand.placeless.push(partition),
                _ => {}
            }
        }
        stand
    }

    /// Leaves the group, within the time that `stop` leaves. A client that does not let go by then
    /// is left to the end of the process: its destructor would wait without bound.
    pub fn close(self, stop: &Stop) {
        let until = Instant::now() + stop.remaining(Duration::from_secs(5));
        if self.client.close_queue().is_ok() {
            while !self.client.closed() && Instant::now() < until {
                if self.client.poll(Duration::from_millis(20)).is_err() {
                    break;
                }
            }
        }
        if !self.client.closed() {
            tracing::warn!("the group did not take our leave in time; it will notice by itself");
            std::mem::forget(self.client);
        }
    }
}

/// A client that is to be a member of the group.
fn member(options: &Options) -> Result<Client, Fatal> {
    let client = Client::create(&options::consumer(options));
    let client = client.map_err(|error| options::refused(&error))?;
    let subscribed = client.subscribe(&[&options.topics.events]);
    subscribed.map_err(|error| Fatal::Configuration(error.to_string()))?;
    Ok(client)
}

/// A message as batches take it.
pub fn record<'m>(message: &'m BorrowedMessage<'_>) -> Record<'m> {
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
    }
}
