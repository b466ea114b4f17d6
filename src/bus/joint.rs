//! Two topics whose partitions belong together, shared by the members of a group: predictions and their labels.
//!
//! The group says which partitions are whose, and nothing else: its member is subscribed to the predictions, is
//! paused, and commits nothing. Partition *i* of both topics is then read by two clients outside any group, from as
//! far back as was asked for. So both protocols of a group will do, the partitions of both topics need no assignor that
//! pairs them, and who takes a partition over begins where the window begins: nothing has to be stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::client::Client;
use super::consumer::{Consumer, record};
use super::context::Rebalanced;
use super::options::{self, Options};
use super::range::{self, Edge};
use super::refusal::{Operation, Resource, is_authorization};
use super::{Fatal, admin, look, tail};
use crate::batch::Batch;
use crate::config::{Config, Kafka};
use crate::record::{NextOffset, Record};
use crate::stop::Stop;

/// How long an answer about offsets may take, and until it is asked again.
const ANSWER: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(1);
/// How long an answer about the topic may take.
const LOOK: Duration = Duration::from_millis(500);
/// Records of one topic that are taken at a time, so that neither keeps the other waiting.
const TURN: usize = 1_000;
/// How long it waits for more where there was nothing.
const WAIT: Duration = Duration::from_millis(20);

/// One of the two topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Prediction,
    Label,
}

impl Side {
    pub const ALL: [Self; 2] = [Self::Prediction, Self::Label];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prediction => "prediction",
            Self::Label => "label",
        }
    }
}

/// A member of the group, and what it reads.
pub struct Joint {
    member: Consumer,
    /// What the member would have polled: nothing, it is paused.
    nothing: Batch,
    predictions: Reader,
    labels: Reader,
    assigned: BTreeSet<i32>,
    has_joined: bool,
    /// Since when partitions wait for a place to read from, and when it is looked for next.
    look_at: Option<Instant>,
}

impl Joint {
    /// Joins the group. Which partitions are ours is heard later.
    ///
    /// # Errors
    /// The brokers do not answer within `kafka.connect_timeout_ms`, a topic is not there, or the two have not
    /// equally many partitions.
    pub fn join(config: &Config, labels: &str, group: &str) -> Result<Self, Fatal> {
        let Config { kafka, topics, .. } = config;
        let predictions = topics.predictions.as_str();
        let count =
            |topic: &str, hint: &str| admin::partitions(kafka, topic, Operation::Read, hint);
        let of_predictions = count(predictions, "`foretell init` creates it")?;
        let of_labels = count(
            labels,
            &format!(
                "create it, or see `evaluate.labels`: keyed as the predictions, with as many partitions ({of_predictions})"
            ),
        )?;
        agree((predictions, of_predictions), (labels, of_labels))?;
        let mut options = Options::new(config);
        options.topics.events = predictions.into();
        options.consumer.group_id = group.into();
        let mut member = Consumer::join(&options)?;
        member.pause();
        Ok(Self {
            member,
            nothing: Batch::default(),
            predictions: Reader::open(kafka, predictions)?,
            labels: Reader::open(kafka, labels)?,
            assigned: BTreeSet::new(),
            has_joined: false,
            look_at: None,
        })
    }

    /// Hears what the group says. `from_ms`: where a partition begins that is new here, milliseconds since the
    /// epoch. The caller forgets what it has of revoked partitions before it reads on: one may have come back.
    ///
    /// # Errors
    /// The group may not be joined, or the two topics have no longer equally many partitions.
    pub fn hear(&mut self, from_ms: i64) -> Result<Option<Rebalanced>, Fatal> {
        self.member.poll(Duration::ZERO, &mut self.nothing)?;
        self.nothing.clear();
        let change = self.member.take_rebalanced();
        if let Some(Rebalanced { revoked, assigned }) = &change {
            self.has_joined = true;
            for partition in revoked {
                self.assigned.remove(partition);
                self.predictions.places.remove(partition);
                self.labels.places.remove(partition);
            }
            self.assigned.extend(assigned);
            self.look_at = Some(Instant::now());
        }
        if self.predictions.is_lost || self.labels.is_lost {
            self.look_at.get_or_insert(Instant::now() + AGAIN);
        }
        if self.look_at.is_some_and(|at| Instant::now() >= at) {
            self.find_places(from_ms)?;
        }
        Ok(change)
    }

    /// Reads some records of both topics, or waits for a moment.
    ///
    /// # Errors
    /// A topic may not be read, or is gone.
    pub fn read(&mut self, mut take: impl FnMut(Side, Record<'_>)) -> Result<(), Fatal> {
        let mut read = self.predictions.read(Duration::ZERO, |it| take(Side::Prediction, it))?;
        read += self.labels.read(Duration::ZERO, |it| take(Side::Label, it))?;
        if read == 0 {
            self.predictions.read(WAIT, |it| take(Side::Prediction, it))?;
        }
        Ok(())
    }

    fn find_places(&mut self, from_ms: i64) -> Result<(), Fatal> {
        let Self { predictions, labels, assigned, look_at, .. } = self;
        *look_at = None;
        for reader in [predictions, labels] {
            match reader.place(assigned, from_ms) {
                Ok(()) => {}
                Err(error) if is_unknown(&error) => {
                    return Err(Fatal::Configuration(format!(
                        "`{}` lacks one of the partitions {assigned:?}: predictions and labels have to have equally many\n\nhint: give the labels topic as many partitions as the predictions have",
                        reader.topic
                    )));
                }
                Err(error) => {
                    tracing::debug!(topic = reader.topic, %error, "where to begin is not known yet");
                    *look_at = Some(Instant::now() + AGAIN);
                }
            }
        }
        Ok(())
    }

    /// The partitions that this member has.
    pub fn partitions(&self) -> &BTreeSet<i32> {
        &self.assigned
    }

    /// Has the group said which partitions are ours, be it none?
    pub fn has_joined(&self) -> bool {
        self.has_joined
    }

    /// Has everything been read that stood on the partitions when they came?
    pub fn is_level(&self) -> bool {
        let Self { predictions, labels, assigned, look_at, .. } = self;
        let is_level = |reader: &Reader| {
            assigned.iter().all(|it| reader.places.get(it).is_some_and(|place| place.was_at_end))
        };
        look_at.is_none() && is_level(predictions) && is_level(labels)
    }

    /// Can no broker be reached?
    pub fn is_cut_off(&self) -> bool {
        self.member.stand().is_cut_off
    }

    /// Leaves the group, within the time that `stop` leaves.
    pub fn close(self, stop: &Stop) {
        self.member.close(stop);
    }
}

/// Sees that what belongs together can be read together.
fn agree(
    (predictions, of_predictions): (&str, usize),
    (labels, of_labels): (&str, usize),
) -> Result<(), Fatal> {
    if of_predictions == of_labels {
        return Ok(());
    }
    Err(Fatal::Configuration(format!(
        "`{predictions}` has {of_predictions} partitions and `{labels}` {of_labels}: a prediction and its label have to stand on partitions of the same number\n\nhint: create the labels topic with {of_predictions} partitions, and key its records as the events are keyed"
    )))
}

fn is_unknown(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition)
}

/// A client that reads some partitions of one topic, outside any group.
struct Reader {
    client: Client,
    topic: String,
    places: BTreeMap<i32, Place>,
    /// What comes next in some partition is gone: retention was quicker.
    is_lost: bool,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    next: NextOffset,
    /// Its end has been seen since it was assigned.
    was_at_end: bool,
}

impl Reader {
    fn open(kafka: &Kafka, topic: &str) -> Result<Self, Fatal> {
        let (client, _) = tail::connect(kafka, topic, &options::bulk_reader(kafka))?;
        Ok(Self { client, topic: topic.into(), places: BTreeMap::new(), is_lost: false })
    }

    /// Reads just these partitions from now on: those that were read go on, the others begin at `from_ms`.
    fn place(&mut self, assigned: &BTreeSet<i32>, from_ms: i64) -> KafkaResult<()> {
        let fresh: BTreeSet<i32> =
            assigned.iter().copied().filter(|it| !self.places.contains_key(it)).collect();
        let known: BTreeMap<i32, i64> =
            self.places.iter().map(|(partition, place)| (*partition, place.next.get())).collect();
        let retained = known.keys().copied().collect();
        let mut places = BTreeMap::new();
        for (partitions, from) in [(fresh, Edge::Time(from_ms)), (retained, Edge::Offsets(known))] {
            let spans = range::resolve(
                &self.client,
                &self.topic,
                &partitions,
                (&from, &Edge::End),
                ANSWER,
            )?;
            for (partition, span) in spans {
                let before = self.places.get(&partition);
                let was_at_end = before.is_some_and(|place| place.was_at_end);
                let place = Place { next: NextOffset::at(span.first), was_at_end };
                places.insert(partition, place);
            }
        }
        let mut list = TopicPartitionList::new();
        for (&partition, place) in &places {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(place.next.get()))?;
        }
        self.client.assign(&list)?;
        (self.places, self.is_lost) = (places, false);
        Ok(())
    }

    /// Takes what is there, some of it, having waited for at most `wait`; says how much that was.
    fn read(&mut self, wait: Duration, mut take: impl FnMut(Record<'_>)) -> Result<usize, Fatal> {
        for taken in 0..TURN {
            match self.client.poll(if taken == 0 { wait } else { Duration::ZERO })? {
                None => return Ok(taken),
                Some(Ok(message)) => {
                    // One that was taken from us may have been on its way.
                    if let Some(place) = self.places.get_mut(&message.partition())
                        && !place.next.covers(message.offset())
                    {
                        place.next = NextOffset::after(message.offset());
                        take(record(&message));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(place) = self.places.get_mut(&partition) {
                        place.was_at_end = true;
                    }
                }
                Some(Err(error)) => {
                    self.error(&error)?;
                    return Ok(taken);
                }
            }
        }
        Ok(TURN)
    }

    fn error(&mut self, error: &KafkaError) -> Result<(), Fatal> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset) => self.is_lost = true,
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                look::see_topics(self.client.client(), &[&self.topic], Operation::Read, LOOK)?;
            }
            Some(code)
                if is_authorization(code) && code != RDKafkaErrorCode::GroupAuthorizationFailed =>
            {
                let topic = self.topic.as_str();
                let right = Operation::Read.on(Resource::Topic(topic));
                return Err(right.is_lacking(&format!("reading `{topic}`"), code));
            }
            // An outage, which the member tells of: the client reconnects by itself.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_cannot_be_joined_partition_by_partition_are_refused() {
        assert_eq!(agree(("p", 3), ("l", 3)), Ok(()));
        let Err(Fatal::Configuration(refused)) = agree(("p", 3), ("l", 4)) else {
            panic!("expected a refusal");
        };
        assert!(refused.contains("`p` has 3 partitions and `l` 4"), "{refused}");
    }
}
