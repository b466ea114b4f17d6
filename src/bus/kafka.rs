//! The bus on a real Kafka: one worker's consumer and producer.
//!
//! The first send opens the transaction; `settle` flushes, adds the batch's offsets and commits,
//! and when any of it fails finds out from the broker what is left to do. Read
//! [the contract](super) first.

use std::ffi::CString;
use std::time::{Duration, Instant};

use super::consumer::Consumer;
use super::native::Outgoing;
use super::options::Options;
use super::producer::{Producer, Trouble, c_name};
use super::{Bus, Fatal, Settled, Stand, admin, newest};
use crate::batch::Batch;
use crate::heart::Heart;
use crate::outbox::{Destination, Letter, Outbox};
use crate::stop::Stop;

/// How long `collect` waits for a first record before it lets its caller look around.
const IDLE: Duration = Duration::from_millis(50);
/// A poll's shortest wait: below a millisecond the client spins.
const TICK: Duration = Duration::from_millis(1);
/// One look at the consumer while a batch is in hand.
const ASIDE: Duration = Duration::from_millis(10);
/// A batch is held for so long at a time.
const HOLD: Duration = Duration::from_millis(100);
/// First wait after an abort; doubled each time in a row.
const BACK_OFF: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// librdkafka takes no smaller bound for a record.
const MESSAGE_BYTES_MIN: usize = 1_000;
/// So many fencings within [`FENCED_WINDOW`] are no accident.
const FENCED_MAX: usize = 3;
const FENCED_WINDOW: Duration = Duration::from_secs(30);

pub struct KafkaBus {
    options: Options,
    predictions: CString,
    dead_letters: CString,
    /// The topic of shadows, if there shall be one.
    shadow: Option<CString>,
    transactional_id: Option<String>,
    consumer: Option<Consumer>,
    producer: Option<Producer>,
    /// Records that were polled while a batch in hand was being settled again.
    spare: Batch,
    /// What went wrong while sending; `settle` deals with it.
    trouble: Option<Trouble>,
    failures_in_a_row: u32,
    /// When the first record was sent of what is not settled.
    began: Option<Instant>,
    /// When the last batch was settled.
    settled: Instant,
    fenced: Vec<Instant>,
    /// Beats before each step of the client.
    heart: Heart,
    stop: Stop,
}

impl KafkaBus {
    /// Joins the group with a producer of its own. `transactional_id` is unique among all workers
    /// of all instances; without one the bus is at-least-once.
    pub fn join(
        options: Options,
        transactional_id: Option<String>,
        heart: Heart,
        stop: Stop,
    ) -> Result<Self, Fatal> {
        let predictions = c_name(&options.topics.predictions);
        let dead_letters = c_name(&options.topics.dead_letters);
        let shadow = options.topics.shadow.as_deref().map(c_name);
        let mut bus = Self {
            predictions,
            dead_letters,
            shadow,
            transactional_id,
            consumer: None,
            producer: None,
            spare: Batch::default(),
            trouble: None,
            failures_in_a_row: 0,
            began: None,
            settled: Instant::now(),
            fenced: Vec::new(),
            heart,
            stop,
            options,
        };
        // The producer first: its start aborts what a predecessor left open.
        bus.renew_producer(&mut Batch::default())?;
        bus.consumer = Some(Consumer::join(&bus.options)?);
        Ok(bus)
    }

    fn consumer(&mut self) -> Result<&mut Consumer, Fatal> {
        self.consumer.as_mut().ok_or_else(|| Fatal::Bug("the bus is closed".into()))
    }

    fn producer(&mut self) -> Result<&mut Producer, Fatal> {
        self.producer.as_mut().ok_or_else(|| Fatal::Bug("the bus has no producer".into()))
    }

    /// Polls once into `batch` and forgets there, and among the spare records, what was revoked.
    fn poll(&mut self, timeout: Duration, batch: &mut Batch) -> Result<bool, Fatal> {
        let consumer = self.consumer()?;
        let came = consumer.poll(timeout, batch)?;
        if let Some(change) = consumer.take_rebalanced() {
            for partition in change.revoked {
                batch.forget(partition);
                self.spare.forget(partition);
            }
        }
        self.consumer()?.find_positions()?;
        Ok(came)
    }

    /// Hands one letter to the producer, with the event's own key, time and partition.
    fn post(&mut self, batch: &Batch, outbox: &Outbox, letter: &Letter) -> Result<(), Trouble> {
        let Some(producer) = &mut self.producer else {
            return Err(Trouble::Unknown("there is no producer".into()));
        };
        let event = batch.record(letter.row);
        let (topic, keeps) = match letter.to {
            Destination::Predictions => (&self.predictions, self.options.keep_partition),
            Destination::DeadLetters(_) => (&self.dead_letters, self.options.keep_dead_partition),
            Destination::Shadow => match &self.shadow {
                Some(topic) => (topic, self.options.keep_shadow_partition),
                None => return Ok(()),
            },
        };
        let record = Outgoing {
            topic,
            partition: keeps.then_some(event.partition),
            key: outbox.key(batch, letter),
            value: outbox.value(batch, letter),
            timestamp_ms: event.timestamp_ms,
        };
        producer.send(&record, outbox.headers(batch, letter))
    }

    /// Flushes and commits; the error says what state that leaves.
    fn commit(&mut self, batch: &Batch) -> Result<(), Trouble> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        let (Some(producer), Some(consumer)) = (&mut self.producer, &mut self.consumer) else {
            return Err(Trouble::Unknown("there is no producer".into()));
        };
        producer.flush()?;
        self.heart.beat();
        let offsets = consumer.offsets(batch).map_err(Trouble::Fatal)?;
        if self.transactional_id.is_some() {
            return producer.commit(&offsets, consumer.client());
        }
        if let Err(error) = consumer.commit(&offsets) {
            // The predictions are delivered. Without the offsets the next owner repeats them: that
            // is what at-least-once means, and sending them again from here would add to it.
            tracing::warn!(%error, "offsets were not committed");
        }
        Ok(())
    }

    /// After a batch that was not committed: leaves no transaction open, and in `batch` what is
    /// ours and not settled.
    fn recover(&mut self, trouble: Trouble, batch: &mut Batch) -> Result<(), Fatal> {
        self.heart.beat();
        let has_outlived = self.has_outlived_its_transaction();
        let trouble = match trouble {
            Trouble::Abort(why) => {
                tracing::warn!(%why, rows = batch.len(), "aborting the transaction");
                self.producer()?.abort().err()
            }
            trouble => Some(trouble),
        };
        match trouble {
            None => self.back_off(batch)?,
            Some(trouble) => {
                let why = self.uncertain(trouble)?;
                tracing::warn!(%why, "the fate of a transaction is unknown; asking the brokers");
                self.producer = None;
                self.back_off(batch)?;
                self.renew_producer(batch)?;
                self.forget_settled(batch)?;
            }
        }
        self.failures_in_a_row += 1;
        self.see_topics()?;
        if has_outlived {
            self.lighten(batch);
        }
        self.began = None;
        self.consumer()?.resume();
        Ok(())
    }

    /// To a producer, a topic that was deleted is one whose brokers do not answer; no retry brings it
    /// back.
    fn see_topics(&self) -> Result<(), Fatal> {
        match &self.producer {
            Some(producer) => producer.see_topics(&self.options.written()),
            None => Ok(()),
        }
    }

    /// Someone has lowered `max.message.bytes` of a topic, or we could not ask for it at the start: from
    /// now on records are no longer than it is. If we may not ask now either, half as long as they were.
    fn shorten(&mut self, why: &str) -> Result<(), Fatal> {
        let bytes = self.options.message_bytes_max;
        let told = admin::message_bytes_max(&self.options.kafka, &self.options.written());
        let shorter = told.filter(|told| *told < bytes).unwrap_or(bytes / 2);
        if shorter < MESSAGE_BYTES_MIN {
            return Err(Fatal::Configuration(format!(
                "the brokers do not take records of {bytes} bytes: {why}\n\nhint: raise `max.message.bytes` of the topics {:?}",
                self.options.written()
            )));
        }
        tracing::warn!(
            %why, bytes, shorter,
            "the brokers take no records as long as ours; a longer prediction is a dead letter from now on"
        );
        self.options.message_bytes_max = shorter;
        Ok(())
    }

    /// Has the transaction been open for longer than the brokers allow?
    fn has_outlived_its_transaction(&self) -> bool {
        let timeout = Duration::from_millis(self.options.delivery.transaction_timeout_ms);
        self.transactional_id.is_some()
            && self.began.is_some_and(|began| began.elapsed() >= timeout)
    }

    /// A batch that takes longer than its transaction may be open would be sent again for ever: half of
    /// it goes back, to be collected next.
    fn lighten(&mut self, batch: &mut Batch) {
        let rows = batch.len();
        batch.halve(&mut self.spare);
        if batch.len() < rows {
            tracing::warn!(
                rows,
                "a transaction was open for longer than delivery.transaction_timeout_ms; half of its rows \
                 are tried next. If no broker was away, lower batch.rows_max or raise the time-out"
            );
        }
    }

    /// Why a new producer is needed, unless the trouble is one that no new producer ends.
    fn uncertain(&mut self, trouble: Trouble) -> Result<String, Fatal> {
        match trouble {
            Trouble::Fatal(fatal) => Err(fatal),
            Trouble::Abort(why) | Trouble::Unknown(why) => Ok(why),
            Trouble::TooLong(why) => self.shorten(&why).map(|()| why),
            Trouble::Fenced(why) => {
                self.fenced.retain(|when| when.elapsed() < FENCED_WINDOW);
                // An old transaction was given up by the brokers; nobody took the id.
                if !self.has_outlived_its_transaction() {
                    self.fenced.push(Instant::now());
                }
                match &self.options.delivery.instance_id {
                    Some(id) if self.fenced.len() >= FENCED_MAX => {
                        Err(Fatal::Unavailable(format!(
                            "another process uses the instance id `{id}`: {why}\n\nhint: give each instance its own `delivery.instance_id`, or none"
                        )))
                    }
                    _ => Ok(why),
                }
            }
        }
    }

    /// Waits, longer after each failure in a row, and polls meanwhile: the group must not lose
    /// sight of us, and what it takes from us is forgotten.
    fn back_off(&mut self, batch: &mut Batch) -> Result<(), Fatal> {
        let wait = BACK_OFF.saturating_mul(1 << self.failures_in_a_row.min(6)).min(BACK_OFF_MAX);
        let until = Instant::now() + self.stop.remaining(wait);
        loop {
            self.poll_aside(batch)?;
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    /// Polls with a batch in hand: what arrives is kept aside, and when that is full, delivery is
    /// paused.
    fn poll_aside(&mut self, batch: &mut Batch) -> Result<(), Fatal> {
        self.heart.beat();
        let mut spare = std::mem::take(&mut self.spare);
        if spare.is_full(&self.options.bounds) {
            self.consumer()?.pause();
        }
        let consumer = self.consumer()?;
        consumer.poll(ASIDE, &mut spare)?;
        if let Some(change) = consumer.take_rebalanced() {
            for partition in change.revoked {
                batch.forget(partition);
                spare.forget(partition);
            }
        }
        self.spare = spare;
        self.consumer()?.find_positions()
    }

    /// A new producer with the same id, where there is none any more: its start settles what the one before
    /// left open.
    fn renew_producer(&mut self, batch: &mut Batch) -> Result<(), Fatal> {
        loop {
            self.heart.beat();
            let id = self.transactional_id.as_deref();
            match Producer::connect(&self.options, id, &self.stop) {
                Ok(producer) => {
                    self.producer = Some(producer);
                    return Ok(());
                }
                Err(trouble) => {
                    let why = self.uncertain(trouble)?;
                    self.give_up_if_overdue(&why)?;
                    tracing::warn!(%why, "no producer yet; trying again");
                    if self.consumer.is_some() {
                        self.failures_in_a_row += 1;
                        self.back_off(batch)?;
                    }
                }
            }
        }
    }

    /// Drops from `batch` what the broker has as settled: the commit that seemed to fail may have
    /// gone through.
    fn forget_settled(&mut self, batch: &mut Batch) -> Result<(), Fatal> {
        loop {
            let partitions: Vec<i32> = batch.next_offsets().iter().map(|(p, _)| *p).collect();
            if partitions.is_empty() || self.transactional_id.is_none() {
                return Ok(());
            }
            self.heart.beat();
            match self.consumer()?.committed(&partitions) {
                Ok(settled) => {
                    for (partition, next) in settled {
                        let rows = batch.forget_settled(partition, next);
                        tracing::info!(partition, rows, next = next.get(), "already settled");
                    }
                    return Ok(());
                }
                Err(error) => {
                    self.give_up_if_overdue(&error.to_string())?;
                    self.poll_aside(batch)?;
                }
            }
        }
    }

    fn give_up_if_overdue(&self, why: &str) -> Result<(), Fatal> {
        if self.stop.is_overdue() {
            return Err(Fatal::Unavailable(format!("stopped with a batch unsettled: {why}")));
        }
        Ok(())
    }
}

impl Bus for KafkaBus {
    /// A batch closes when its first record is `age_max` old, and earlier when there is nothing more to
    /// take and half of that has passed since the one before it was settled: at a trickle a batch goes
    /// as soon as it came. Not at once after a commit: the brokers take some milliseconds more to end
    /// that transaction, and librdkafka tries in vain to begin the next one, then waits 20 ms. A backlog
    /// always has more to take, and fills its batches.
    fn collect(&mut self, batch: &mut Batch) -> Result<(), Fatal> {
        self.heart.beat();
        batch.clear();
        std::mem::swap(batch, &mut self.spare);
        // What was held may have filled the store behind it.
        self.consumer()?.resume();
        let opened = Instant::now();
        let due = self.settled + self.options.bounds.age_max / 2;
        let mut timeout = IDLE;
        let mut first = None;
        // What was kept aside may be a whole batch.
        while !batch.is_full(&self.options.bounds) {
            let came = self.poll(timeout, batch)?;
            if !came {
                self.heart.beat();
            }
            if self.stop.is_requested() {
                break;
            }
            let now = Instant::now();
            if batch.is_empty() {
                if now >= opened + IDLE {
                    return Ok(());
                }
                timeout = (opened + IDLE - now).max(TICK);
                continue;
            }
            let old = *first.get_or_insert(now) + self.options.bounds.age_max;
            if now >= old || (!came && now >= due) {
                break;
            }
            // When it is due, only what is there already.
            let left = due.saturating_duration_since(now).min(old - now);
            timeout = if left.is_zero() { left } else { left.max(TICK) };
        }
        Ok(())
    }

    fn send(&mut self, batch: &Batch, outbox: &Outbox) -> Result<(), Fatal> {
        self.heart.beat();
        self.began.get_or_insert_with(Instant::now);
        for letter in outbox.letters() {
            if self.trouble.is_some() {
                break;
            }
            if let Err(trouble) = self.post(batch, outbox, letter) {
                self.trouble = Some(trouble);
            }
        }
        if let Some(producer) = &self.producer {
            producer.poll();
        }
        Ok(())
    }

    fn settle(&mut self, batch: &mut Batch) -> Result<Settled, Fatal> {
        if batch.is_empty() {
            return Ok(Settled::Done);
        }
        self.heart.beat();
        match self.commit(batch) {
            Ok(()) => {
                (self.failures_in_a_row, self.began) = (0, None);
                self.settled = Instant::now();
                Ok(Settled::Done)
            }
            Err(trouble) => {
                let why = format!("{trouble:?}");
                self.recover(trouble, batch)?;
                self.give_up_if_overdue(&why)?;
                Ok(Settled::Again)
            }
        }
    }

    fn hold(&mut self, batch: &mut Batch) -> Result<(), Fatal> {
        let is_open = self.producer.as_ref().is_some_and(Producer::is_open);
        let aborts = is_open.then(|| Trouble::Abort("its batch is held".into()));
        if let Some(trouble) = self.trouble.take().or(aborts) {
            let why = format!("{trouble:?}");
            self.recover(trouble, batch)?;
            return self.give_up_if_overdue(&why);
        }
        let until = Instant::now() + HOLD;
        while Instant::now() < until && !batch.is_empty() && !self.stop.is_requested() {
            self.poll_aside(batch)?;
        }
        Ok(())
    }

    fn newest(&mut self, batch: &Batch, rows: usize, newest: &mut Batch) -> Result<(), Fatal> {
        let partitions: Vec<i32> = batch.next_offsets().iter().map(|(p, _)| *p).collect();
        if let Err(error) = newest::read(&self.options, &partitions, rows, newest) {
            tracing::debug!(%error, "the newest events are not known");
        }
        Ok(())
    }

    fn stand(&mut self) -> Stand {
        let mut stand = self.consumer.as_ref().map(Consumer::stand).unwrap_or_default();
        stand.add_unsettled(&self.spare);
        stand
    }

    fn rebalances(&self) -> u64 {
        self.consumer.as_ref().map_or(0, Consumer::rebalances)
    }

    fn letter_bytes_max(&self) -> usize {
        self.options.message_bytes_max
    }

    fn wants_shadow(&self) -> bool {
        self.shadow.is_some()
    }

    fn close(&mut self) {
        if let Some(mut producer) = self.producer.take()
            && let Err(trouble) = producer.abort()
        {
            tracing::warn!(?trouble, "a transaction is left to its time-out");
        }
        if let Some(consumer) = self.consumer.take() {
            consumer.close(&self.stop);
        }
    }
}
