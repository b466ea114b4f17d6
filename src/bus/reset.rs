//! Where a partition begins that librdkafka has no place for.
//!
//! `auto.offset.reset` is `error` towards librdkafka, so that it asks us. It must: it also asks
//! when it has *forgotten* a committed offset, because a dead member's transaction was open while
//! the assignment changed. `earliest` would double the whole partition, `latest` lose what was not
//! read (kafka-facts.md §0.1). So the broker's committed offset decides, and only where there is
//! none does the user's policy.
//!
//! The questions go through a client of their own, for as long as there are any: on the connection
//! that fetches, an answer waits until the broker has new events or half a second is over, and with
//! it would wait the loop.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Fatal;
use super::context::Context;
use super::options::{self, Options};
use super::parting::Parting;
use crate::config::{OutOfRange, StartFrom};
use crate::record::NextOffset;

/// How long to wait before the broker is asked again: a dead member's transaction is open until it
/// times out, and until then the offsets under it are not stable.
const AGAIN: Duration = Duration::from_secs(1);

/// librdkafka tells of each partition by itself; they are looked at together.
const GATHER: Duration = Duration::from_millis(50);

/// How often it is said that a partition stands still.
const SAY_AGAIN: Duration = Duration::from_secs(30);

pub struct Reset {
    start_from: StartFrom,
    out_of_range: OutOfRange,
    /// When to ask the broker, if anything may be without a place.
    due: Option<Instant>,
    /// librdkafka has told that something is. It does not say which: all are placed anew.
    is_told: bool,
    bystander: ClientConfig,
    /// Asks the broker; kept from question to question.
    asker: Option<Parting<BaseConsumer<Context>>>,
    /// After so long without an answer, none will come by itself.
    patience: Duration,
    waits_since: Option<Instant>,
    said: Option<Instant>,
}

impl Reset {
    pub fn new(options: &Options) -> Self {
        Self {
            start_from: options.consumer.start_from,
            out_of_range: options.consumer.out_of_range,
            due: None,
            is_told: false,
            bystander: options::bystander(options),
            asker: None,
            patience: options.patience(),
            waits_since: None,
            said: None,
        }
    }

    /// librdkafka has told that some partition has no place to read from.
    pub fn ask(&mut self) {
        self.due = Some(Instant::now() + GATHER);
        self.is_told = true;
        self.waits_since.get_or_insert_with(Instant::now);
    }

    /// Partitions were assigned. librdkafka asks for their places itself, and says nothing as long as
    /// it gets no answer: should it take too long, we ask, too.
    pub fn watch(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + self.patience);
        self.waits_since = Some(Instant::now());
    }

    /// The broker has answered.
    pub fn answered(&mut self) {
        (self.waits_since, self.said) = (None, None);
    }

    /// The broker does not say what is settled for `partitions` of `topic`. When that has lasted too
    /// long for a transaction that ends, it is said, with what to do.
    pub fn unanswered(&mut self, topic: &str, partitions: &[i32], error: &KafkaError) {
        let waited = self.waits_since.get_or_insert_with(Instant::now).elapsed();
        if waited < self.patience || self.said.is_some_and(|said| said.elapsed() < SAY_AGAIN) {
            return;
        }
        self.said = Some(Instant::now());
        tracing::error!(
            ?partitions, %error, waited_seconds = waited.as_secs(),
            "these partitions of `{topic}` stand still: the brokers do not say up to where the group \
             has settled them. If they can be reached, a transaction over these offsets does not end: \
             `kafka-transactions.sh find-hanging --max-transaction-timeout 1` names it, and \
             \"A partition stands still\" in README.md says what to do"
        );
    }

    pub fn is_due(&self) -> bool {
        self.due.is_some_and(|due| Instant::now() >= due)
    }

    /// Gives each assigned partition that may have no place one, and says which stand where now.
    /// What the broker does not answer within `patience` is asked again in a second.
    ///
    /// # Errors
    /// Events are gone that the group had not read, and the policy is to stop.
    pub fn resolve(
        &mut self,
        client: &BaseConsumer<Context>,
        topic: &str,
        assigned: &[i32],
        positions: &HashMap<i32, NextOffset>,
        patience: Duration,
    ) -> Result<Vec<(i32, NextOffset)>, Fatal> {
        self.due = None;
        let is_told = std::mem::take(&mut self.is_told);
        let lacks_place = |partition: &&i32| is_told || !positions.contains_key(partition);
        let wanting: Vec<i32> = assigned.iter().filter(lacks_place).copied().collect();
        if wanting.is_empty() {
            self.answered();
            return Ok(Vec::new());
        }
        let partitions = match self.look(client, topic, assigned, &wanting, positions, patience) {
            Ok(partitions) => partitions,
            Err(error) => {
                tracing::debug!(%error, "where to read from is not known yet; asking again");
                self.due = Some(Instant::now() + AGAIN);
                self.is_told = is_told;
                self.unanswered(topic, &wanting, &error);
                return Ok(Vec::new());
            }
        };
        self.answered();
        let mut moved = Vec::new();
        for partition in &partitions {
            if self.waits_for_the_beginning(partition) {
                self.due = Some(Instant::now() + AGAIN);
            } else {
                let place = self.place(topic, partition)?;
                move_to(client, topic, partition.number, place);
                moved.push((partition.number, place));
            }
        }
        if self.due.is_none() {
            self.asker = None;
        }
        Ok(moved)
    }

    /// The partitions in question, as the broker and the client see them.
    fn look(
        &mut self,
        client: &BaseConsumer<Context>,
        topic: &str,
        assigned: &[i32],
        wanting: &[i32],
        positions: &HashMap<i32, NextOffset>,
        patience: Duration,
    ) -> Result<Vec<Partition>, KafkaError> {
        let asker = match self.asker.take() {
            Some(asker) => asker,
            None => Parting::new(self.bystander.create_with_context(Context::default())?),
        };
        let asker = &*self.asker.insert(asker);
        let committed =
            asker.committed_offsets(all_partitions(asker, topic, patience)?, patience)?;
        let mut settled = HashMap::new();
        for element in committed.elements() {
            element.error()?;
            if let Offset::Offset(at) = element.offset() {
                settled.insert(element.partition(), NextOffset::at(at));
            }
        }
        if settled.is_empty() && self.start_from == StartFrom::Latest {
            settled = begin_at_the_ends(client, asker, assigned, topic, patience)?;
        }
        let partition = |number: i32| {
            let (low, high) = asker.fetch_watermarks(topic, number, patience)?;
            Ok(Partition {
                number,
                wanted: positions.get(&number).or(settled.get(&number)).copied(),
                low,
                high,
                group_is_new: settled.is_empty(),
            })
        };
        wanting.iter().map(|&number| partition(number)).collect()
    }

    /// The member that has the first partition says where a new group begins, for all of them.
    fn waits_for_the_beginning(&self, partition: &Partition) -> bool {
        let Partition { wanted, group_is_new, .. } = *partition;
        wanted.is_none() && group_is_new && self.start_from == StartFrom::Latest
    }

    /// Where to go on.
    fn place(&self, topic: &str, partition: &Partition) -> Result<NextOffset, Fatal> {
        let Partition { number, wanted, low, high, .. } = *partition;
        let Some(wanted) = wanted else {
            // Of a new group, or added to the topic since the group began: nothing of it was read.
            return Ok(NextOffset::at(low));
        };
        let at = wanted.get();
        if (low..=high).contains(&at) {
            return Ok(wanted);
        }
        let what = if at < low {
            format!("{} events that the group had not read are deleted", low - at)
        } else {
            "the topic is shorter than what the group has read; was it created anew?".into()
        };
        let told = format!(
            "`{topic}` partition {number}: the group stands at {at}, the topic holds {low} to {high}: {what}"
        );
        match self.out_of_range {
            OutOfRange::Earliest => {
                tracing::error!(partition = number, "{told}; going on at {low}");
                Ok(NextOffset::at(low))
            }
            OutOfRange::Stop => Err(Fatal::Data(format!(
                "{told}\n\nhint: set `consumer.out_of_range` to \"earliest\" to go on at the oldest event that is kept"
            ))),
        }
    }
}

/// One assigned partition, as the broker and the client see it.
struct Partition {
    number: i32,
    /// What was read up to: by us, else as committed.
    wanted: Option<NextOffset>,
    low: i64,
    high: i64,
    /// Nothing was ever committed for any partition of the topic.
    group_is_new: bool,
}

/// Commits the ends of all partitions as the place where the group begins, so that all its members,
/// now and after a restart, agree on what came before it. Only the member that has the first
/// partition does; to the others it says nothing.
fn begin_at_the_ends(
    client: &BaseConsumer<Context>,
    asker: &BaseConsumer<Context>,
    assigned: &[i32],
    topic: &str,
    patience: Duration,
) -> Result<HashMap<i32, NextOffset>, KafkaError> {
    let mut ends = HashMap::new();
    if !assigned.contains(&0) {
        return Ok(ends);
    }
    let mut list = all_partitions(asker, topic, patience)?;
    let numbers: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
    for number in numbers {
        let (_, end) = asker.fetch_watermarks(topic, number, patience)?;
        list.set_partition_offset(topic, number, Offset::Offset(end))?;
        ends.insert(number, NextOffset::at(end));
    }
    client.commit(&list, CommitMode::Sync)?;
    tracing::info!("a new group: it begins at the latest event of each partition");
    Ok(ends)
}

fn all_partitions(
    client: &BaseConsumer<Context>,
    topic: &str,
    patience: Duration,
) -> Result<TopicPartitionList, KafkaError> {
    let metadata = client.fetch_metadata(Some(topic), patience)?;
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        list.add_partition(topic, partition.id());
    }
    Ok(list)
}

/// A partition that is not fetching cannot be sought; it is taken away and given back at `place`.
fn move_to(client: &BaseConsumer<Context>, topic: &str, partition: i32, place: NextOffset) {
    let mut list = TopicPartitionList::new();
    let moved = list
        .add_partition_offset(topic, partition, Offset::Offset(place.get()))
        .and_then(|()| client.incremental_unassign(&list))
        .and_then(|()| client.incremental_assign(&list));
    match moved {
        Ok(()) => tracing::info!(partition, ?place, "reading from"),
        // It was revoked a moment ago: its next owner asks for itself.
        Err(error) => tracing::info!(partition, %error, "not placed"),
    }
}
