//! A worker's producer: sends, and commits or forgets what was sent.
//!
//! Every call to the broker has a bound of [`PATIENCE`]: librdkafka calls some errors retriable
//! that never end (a coordinator that moved while it ended a transaction leaves the client hanging
//! for ever), and after it a new producer is quicker and surer than waiting (kafka-facts.md §0.3). One call
//! keeps no bound itself: [`Producer::send_offsets`].

use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaError};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::context::{Context, Undelivered, is_purge};
use super::native::{self, Outgoing};
use super::options::{self, Options};
use super::parting::Parting;
use super::refusal::{Operation, Resource, is_authorization};
use super::{Fatal, bounded, look};
use crate::record::Header;
use crate::stop::Stop;

/// How long one step of a transaction may take at most before its producer is given up.
const PATIENCE: Duration = Duration::from_secs(8);
/// Who keeps a bound comes back within this time of it.
const GRACE: Duration = Duration::from_secs(1);
/// How long an answer about topics may take.
const LOOK: Duration = Duration::from_millis(500);
/// How long a flush waits before reports of failures are looked at.
const FLUSH_STEP: Duration = Duration::from_millis(100);

/// A step of a transaction that did not succeed.
#[derive(Debug)]
pub enum Trouble {
    /// The transaction has to be aborted, and then nothing of it is visible.
    Abort(String),
    /// Nobody here knows what became of it: ask the broker, through a new producer.
    Unknown(String),
    /// As `Unknown`; another producer has taken this one's transactional id, or the broker has
    /// given up on the transaction. The two look the same from here.
    Fenced(String),
    /// As `Unknown`; the brokers take no records as long as ours.
    TooLong(String),
    /// No retry can help.
    Fatal(Fatal),
}

pub struct Producer {
    /// Shared with a call that has not come back, if there is one.
    client: Arc<Parting<BaseProducer<Context>>>,
    context: Context,
    transactional_id: Option<String>,
    /// How long the end of a transaction may take: the brokers give up those that are open for longer.
    patience: Duration,
    /// What is read in the transaction: for who has to be told which right is lacking.
    events: String,
    group: String,
    predictions: String,
    open: bool,
}

impl Producer {
    /// A producer ready to begin: with an id, the transaction that a predecessor with the same id
    /// left open is aborted first. Waits for the brokers as long as nobody asks to stop.
    pub fn connect(options: &Options, id: Option<&str>, stop: &Stop) -> Result<Self, Trouble> {
        let context = Context::default();
        let client: BaseProducer<Context> = options::producer(options, id)
            .create_with_context(context.clone())
            .map_err(|error| Trouble::Fatal(options::refused(&error)))?;
        let producer = Self {
            client: Arc::new(Parting::new(client)),
            context,
            transactional_id: id.map(Into::into),
            patience: PATIENCE.min(Duration::from_millis(options.delivery.transaction_timeout_ms)),
            events: options.topics.events.clone(),
            group: options.consumer.group_id.clone(),
            predictions: options.topics.predictions.clone(),
            open: false,
        };
        if producer.transactional_id.is_some() {
            producer.init_transactions(stop)?;
        }
        Ok(producer)
    }

    /// Sees that none of the topics it writes to was deleted.
    pub fn see_topics(&self, topics: &[&str]) -> Result<(), Fatal> {
        look::see_topics(self.client.client(), topics, Operation::Write, LOOK)
    }

    fn init_transactions(&self, stop: &Stop) -> Result<(), Trouble> {
        let until = Instant::now() + stop.remaining(PATIENCE);
        insist(&self.client, until, |timeout| self.client.init_transactions(timeout))
            .map_err(|error| self.classify(&error))
    }

    /// Queues a record, opening the transaction if it is the first. Where the queue is full it
    /// waits for the brokers to take some. A partition that the topic lacks (of an event whose topic has
    /// grown since) is chosen by the key instead.
    pub fn send<'h>(
        &mut self,
        record: &Outgoing<'_>,
        headers: impl Iterator<Item = Header<'h>> + Clone,
    ) -> Result<(), Trouble> {
        self.begin()?;
        let mut record = *record;
        loop {
            match native::produce(&self.client, &record, headers.clone()) {
                Ok(()) => return Ok(()),
                Err(RDKafkaErrorCode::UnknownPartition) if record.partition.is_some() => {
                    record.partition = None;
                }
                Err(RDKafkaErrorCode::QueueFull) => self.client.poll(Duration::from_millis(1)),
                Err(code) => {
                    return Err(self.trouble(code, format!("a record was not taken: {code}")));
                }
            }
        }
    }

    fn begin(&mut self) -> Result<(), Trouble> {
        if self.transactional_id.is_some() && !self.open {
            self.client.begin_transaction().map_err(|error| self.classify(&error))?;
            self.open = true;
        }
        Ok(())
    }

    /// Has something been sent within a transaction that has not ended?
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Serves one report that has come back, if any, without waiting.
    pub fn poll(&self) {
        self.client.poll(Duration::ZERO);
    }

    /// Serves the reports that come within a moment.
    fn poll_all(&self) {
        self.client.poll(Duration::from_millis(1));
    }

    /// Waits until the brokers have everything that was sent.
    pub fn flush(&self) -> Result<(), Trouble> {
        let until = Instant::now() + PATIENCE;
        while !native::flush(&self.client, FLUSH_STEP) {
            // What could not be delivered counts as in flight until its report is served.
            self.poll_all();
            // What may not be written waits in the queue, for nothing.
            if self.context.facts.is_not_permitted() {
                break;
            }
            if Instant::now() >= until {
                let why = self.with_reason("the brokers do not take what was sent");
                return Err(Trouble::Unknown(why));
            }
        }
        match self.context.facts.take_undelivered() {
            // What an abort threw away is told late, when the next transaction is open already; after
            // a fatal error the commit fails as well.
            Some(lost) if is_purge(lost.code) && self.transactional_id.is_some() => Ok(()),
            Some(lost) => Err(self.undelivered(&lost)),
            None => Ok(()),
        }
    }

    /// Commits the offsets with everything that was sent and flushed since the transaction began.
    pub fn commit(
        &mut self,
        offsets: &TopicPartitionList,
        consumer: &BaseConsumer<Context>,
    ) -> Result<(), Trouble> {
        self.begin()?;
        let member = member_metadata(consumer)?;
        let until = Instant::now() + self.patience;
        self.send_offsets(offsets, member, until)?;
        self.commit_transaction(until)
    }

    /// Adds offsets to the transaction. librdkafka 2.12.1 does not look at the time it is given here: while
    /// a coordinator moves, it may stay for ever ("A call that does not come back" in ARCHITECTURE.md). The
    /// call is left behind then, and the client with it; the broker fences both when the next producer
    /// takes the transactional id.
    fn send_offsets(
        &self,
        offsets: &TopicPartitionList,
        member: ConsumerGroupMetadata,
        until: Instant,
    ) -> Result<(), Trouble> {
        let (client, offsets) = (self.client.clone(), offsets.clone());
        let answer = bounded::until(until + GRACE, move || {
            insist(&client, until, |timeout| {
                client.send_offsets_to_transaction(&offsets, &member, timeout)
            })
        });
        match answer {
            Some(result) => result.map_err(|error| self.classify(&error)),
            None => Err(Trouble::Unknown(
                self.with_reason("librdkafka does not come back from sending offsets"),
            )),
        }
    }

    /// Commits what was sent and flushed since the transaction began, if anything was, and no offsets:
    /// for a producer that goes with no member of a group.
    pub fn commit_alone(&mut self) -> Result<(), Trouble> {
        if !self.open {
            return Ok(());
        }
        self.commit_transaction(Instant::now() + self.patience)
    }

    fn commit_transaction(&mut self, until: Instant) -> Result<(), Trouble> {
        insist(&self.client, until, |timeout| self.client.commit_transaction(timeout))
            .map_err(|error| self.classify(&error))?;
        self.open = false;
        Ok(())
    }

    /// Forgets everything that was sent since the transaction began.
    pub fn abort(&mut self) -> Result<(), Trouble> {
        if !self.open {
            return Ok(());
        }
        let until = Instant::now() + PATIENCE;
        loop {
            // It waits for its own delivery reports, which only `poll` serves.
            let aborted = self.client.abort_transaction(Duration::from_millis(50));
            self.client.poll(Duration::from_millis(1));
            match aborted {
                Ok(()) => {
                    self.open = false;
                    let lost = self.context.facts.take_undelivered();
                    let forbidden = lost.filter(|lost| is_authorization(lost.code));
                    return forbidden.map_or(Ok(()), |lost| Err(self.undelivered(&lost)));
                }
                Err(error) if is_retriable(&error) && Instant::now() < until => {}
                Err(error) => return Err(Trouble::Unknown(self.with_reason(&error.to_string()))),
            }
        }
    }

    fn classify(&self, error: &KafkaError) -> Trouble {
        let text = self.with_reason(&error.to_string());
        match (error, error.rdkafka_error_code()) {
            (_, Some(code)) if is_authorization(code) || is_fencing(code) => {
                self.trouble(code, text)
            }
            (KafkaError::Transaction(error), _) if error.txn_requires_abort() => {
                Trouble::Abort(text)
            }
            _ => Trouble::Unknown(text),
        }
    }

    fn undelivered(&self, Undelivered { code, topic }: &Undelivered) -> Trouble {
        if *code == RDKafkaErrorCode::TopicAuthorizationFailed {
            let right = Operation::Write.on(Resource::Topic(topic));
            return Trouble::Fatal(right.is_lacking(&format!("writing to `{topic}`"), *code));
        }
        self.trouble(*code, self.with_reason(&format!("not delivered to `{topic}`: {code}")))
    }

    fn trouble(&self, code: RDKafkaErrorCode, text: String) -> Trouble {
        match code {
            code if is_authorization(code) => Trouble::Fatal(self.not_permitted(code)),
            // This producer takes nothing any more.
            RDKafkaErrorCode::Fatal => match self.client.client().fatal_error() {
                Some((code, _)) if is_authorization(code) => {
                    Trouble::Fatal(self.not_permitted(code))
                }
                _ => Trouble::Unknown(text),
            },
            // Of a batch of records, not of a single one: the client refuses that itself. The producer's
            // next transaction would fail for a sequence number that the brokers have not seen.
            RDKafkaErrorCode::MessageSizeTooLarge => Trouble::TooLong(text),
            code if is_fencing(code) => Trouble::Fenced(text),
            _ => Trouble::Abort(text),
        }
    }

    /// For want of which right a step fails. What a transaction may not write to is told by its records.
    fn not_permitted(&self, code: RDKafkaErrorCode) -> Fatal {
        let Self { events, group, predictions, transactional_id, .. } = self;
        let id = transactional_id.as_deref().unwrap_or_default();
        let (right, doing) = match code {
            RDKafkaErrorCode::TransactionalIdAuthorizationFailed => {
                (Operation::Write.on(Resource::TransactionalId(id)), "producing in a transaction")
            }
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                (Operation::Read.on(Resource::Group(group)), "settling events for the group")
            }
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                (Operation::Read.on(Resource::Topic(events)), "settling events")
            }
            // Kafka lets those write exactly once who may write to any topic at all.
            _ => (Operation::Write.on(Resource::Topic(predictions)), "producing"),
        };
        right.is_lacking(doing, code)
    }

    /// librdkafka's codes rarely say what is wrong; its last error event does.
    fn with_reason(&self, message: &str) -> String {
        match self.context.facts.last_reason() {
            Some(reason) => format!("{message} ({reason})"),
            None => message.to_owned(),
        }
    }
}

fn is_fencing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
    matches!(code, Fenced | InvalidProducerEpoch | ProducerFenced)
}

/// Offsets are sent in the name of a member in good standing only; see [`native::is_member`]. The
/// metadata is read before it is judged, so that it is never newer than the judgement.
fn member_metadata(consumer: &BaseConsumer<Context>) -> Result<ConsumerGroupMetadata, Trouble> {
    let metadata = consumer.group_metadata();
    match metadata {
        Some(metadata) if native::is_member(consumer) && !consumer.assignment_lost() => {
            Ok(metadata)
        }
        _ => Err(Trouble::Abort("this worker is no longer a member of its group".into())),
    }
}

/// Repeats a call while librdkafka says that it may be repeated, until the time is over.
fn insist(
    client: &BaseProducer<Context>,
    until: Instant,
    call: impl Fn(Duration) -> Result<(), KafkaError>,
) -> Result<(), KafkaError> {
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(10));
        match call(left.min(Duration::from_secs(1))) {
            Err(error) if is_retriable(&error) && Instant::now() < until => {
                client.poll(Duration::ZERO);
            }
            ended => return ended,
        }
    }
}

/// May the very same call be made again?
fn is_retriable(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => RDKafkaError::is_retriable(error) && !error.is_fatal(),
        KafkaError::Flush(code) => *code == RDKafkaErrorCode::OperationTimedOut,
        _ => false,
    }
}

/// A topic's name as librdkafka takes it.
pub fn c_name(topic: &str) -> CString {
    // Kafka's topic names are letters, digits, `.`, `_` and `-`; the preflight has seen it exist.
    CString::new(topic.replace('\0', "")).unwrap_or_default()
}
