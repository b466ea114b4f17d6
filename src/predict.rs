//! Scoring by request: a bounded queue, and the thread that answers what is in it.
//!
//! Requests of all clients stand in one queue. The thread takes what is there, as much as makes a tile,
//! and scores it in one call of the very [`Scorer`] that workers have; it waits for no more to come, so
//! that a request alone is answered at once. It has a thread of its own: neither a worker nor the
//! supervising thread ever scores a request.
//!
//! What is not known here: HTTP. [`crate::observe::predict`] turns requests into [`Question`]s.

pub mod events;
pub mod tensors;

use std::iter;
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::encode::{Encoder, Scored};
use crate::features::contract::ContractError;
use crate::features::decode::{Decoder, Limits};
use crate::model::version::Version;
use crate::reject::Reject;
use crate::score::{Scorer, Scores};
use crate::serving::{Served, Serving};
use crate::stop::Stop;

pub use tensors::{Metadata, metadata};

/// So many requests wait at most.
pub const QUEUE_MAX: usize = 48;
/// How soon a wish to stop is noticed when nobody asks.
const TICK: Duration = Duration::from_millis(100);

/// One request.
pub struct Question {
    pub form: Form,
    /// JSON, unread.
    pub body: Vec<u8>,
    /// Is told the answer, once. Dropped untold: there is nobody any more who would answer.
    pub reply: Box<dyn FnOnce(Reply) + Send>,
}

/// What a body holds.
#[derive(Debug)]
pub enum Form {
    /// An event, or an array of them.
    Events,
    /// A request of the Open Inference Protocol to a model and, if it says so, a version of it.
    Tensors { model: String, version: Option<String> },
}

pub type Reply = Result<Answer, Refusal>;

#[derive(Debug)]
pub struct Answer {
    /// JSON.
    pub body: Vec<u8>,
    pub predicted: usize,
    pub rejected: usize,
}

/// Why a request has no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    NothingServes,
    /// More requests wait than may, or the instance stops.
    Busy,
    Stopping,
    /// Another model or version was asked for than the one that serves, which is told.
    NotServed(String),
    /// What is wrong with the body.
    Malformed(String),
    /// More events than the bound, which is told.
    TooMany(usize),
    /// The one event of the request, or the row of its tensors, cannot be scored.
    Rejected {
        row: usize,
        reject: Reject,
    },
}

/// Makes the two ends of the queue.
pub fn queue(serving: Serving, stop: Stop) -> (Asker, Queue) {
    let (sender, receiver) = sync_channel(QUEUE_MAX);
    (
        Asker { sender, serving: serving.clone(), stop: stop.clone() },
        Queue { receiver, serving, stop },
    )
}

/// Where questions are asked. Cloning shares.
#[derive(Clone)]
pub struct Asker {
    sender: SyncSender<Question>,
    serving: Serving,
    stop: Stop,
}

impl Asker {
    /// Puts a question into the queue, without waiting.
    ///
    /// # Errors
    /// It is full, or closed.
    pub fn ask(&self, question: Question) -> Result<(), Refusal> {
        if self.stop.is_requested() {
            return Err(Refusal::Stopping);
        }
        self.sender.try_send(question).map_err(|_| Refusal::Busy)
    }

    /// What serves now.
    pub fn served(&self) -> Option<Arc<Served>> {
        self.serving.load()
    }
}

/// The other end.
pub struct Queue {
    receiver: Receiver<Question>,
    serving: Serving,
    stop: Stop,
}

impl Queue {
    /// The next question; `None`: there will be none.
    fn wait(&self) -> Option<Question> {
        loop {
            match self.receiver.recv_timeout(TICK) {
                Ok(question) => return Some(question),
                Err(RecvTimeoutError::Timeout) if !self.stop.is_requested() => {}
                Err(_) => return None,
            }
        }
    }
}

/// The thread's work.
pub struct Answerer {
    queue: Queue,
    encoder: Encoder,
    limits: Limits,
    /// A round is closed by the request that makes it so many events or more, and a request may have as many.
    tile_rows: usize,
    scorer: Scorer,
    flat: Option<Flat>,
}

/// The decoder of rows that tensors made, and whose version it is; it keeps no version in memory.
struct Flat {
    version: Weak<Version>,
    decoder: Result<Decoder, ContractError>,
}

/// Bytes, and where each event stands in them.
type Rows = (Vec<u8>, Vec<Range<usize>>);

/// A question that was read.
struct Asked {
    bytes: Vec<u8>,
    events: Vec<Range<usize>>,
    shape: Shape,
    reply: Box<dyn FnOnce(Reply) + Send>,
}

/// What the answer has to look like.
enum Shape {
    One,
    Many,
    Tensors(tensors::Wanted),
}

impl Asked {
    fn events(&self) -> impl Iterator<Item = &[u8]> {
        self.events.iter().map(|span| &self.bytes[span.clone()])
    }

    fn is_flat(&self) -> bool {
        matches!(&self.shape, Shape::Tensors(wanted) if wanted.is_flat)
    }
}

impl Answerer {
    pub fn new(queue: Queue, encoder: Encoder, limits: Limits, tile_rows: usize) -> Self {
        // A round is below its bound before the last request is taken in.
        let scorer = Scorer::new(2 * tile_rows);
        Self { queue, encoder, limits, tile_rows, scorer, flat: None }
    }

    /// Answers until the stop is asked for and the queue is empty.
    pub fn run(mut self) {
        while let Some(first) = self.queue.wait() {
            self.round(first);
        }
    }

    /// Answers what is in the queue by now, all of it by one version.
    fn round(&mut self, first: Question) {
        let Some(served) = self.queue.serving.load() else {
            return (first.reply)(Err(Refusal::NothingServes));
        };
        let (mut round, mut rows) = (Vec::new(), 0);
        let waiting = iter::from_fn(|| self.queue.receiver.try_recv().ok());
        // Those that are refused make no rows: without a bound they could put off the others for ever.
        for Question { form, body, reply } in iter::once(first).chain(waiting).take(QUEUE_MAX) {
            match read(form, body, &served.version, self.tile_rows) {
                Ok(((bytes, events), shape)) => {
                    rows += events.len();
                    round.push(Asked { bytes, events, shape, reply });
                }
                Err(refusal) => reply(Err(refusal)),
            }
            if rows >= self.tile_rows {
                break;
            }
        }
        let (flat, plain): (Vec<_>, Vec<_>) = round.into_iter().partition(Asked::is_flat);
        if !plain.is_empty() {
            self.score(&served, &served.version.decoder, plain);
        }
        if !flat.is_empty() {
            self.score_flat(&served, flat);
        }
    }

    fn score_flat(&mut self, served: &Served, asked: Vec<Asked>) {
        let version = &served.version;
        let known = self.flat.take().filter(|flat| flat.version.as_ptr() == Arc::as_ptr(version));
        let flat = known.unwrap_or_else(|| Flat {
            version: Arc::downgrade(version),
            decoder: Decoder::new(&tensors::flat(&version.contract), &[], self.limits),
        });
        match &flat.decoder {
            Ok(decoder) => self.score(served, decoder, asked),
            Err(error) => {
                let why = format!("this contract has no tensors: {error}");
                asked.into_iter().for_each(|asked| {
                    (asked.reply)(Err(Refusal::Malformed(why.clone())));
                });
            }
        }
        self.flat = Some(flat);
    }

    fn score(&mut self, served: &Served, decoder: &Decoder, asked: Vec<Asked>) {
        let version = &*served.version;
        let events: Vec<&[u8]> = asked.iter().flat_map(Asked::events).collect();
        self.scorer.decode_by(decoder, version, events.into_iter());
        let scores = self.scorer.predict(version);
        let control_offset = served.control_offset;
        let scored = Scored { scores: &scores, version, control_offset, is_shadow: false };
        let mut from = 0;
        let answer = |asked| {
            let Asked { bytes, events, shape, .. }: &Asked = asked;
            let rows = from..from + events.len();
            from = rows.end;
            match shape {
                Shape::One => events::answer_one(&self.encoder, bytes, rows.start, scored),
                Shape::Many => events::answer(&self.encoder, asked.events(), rows.start, scored),
                Shape::Tensors(wanted) => tensors::answer(wanted, rows, scored),
            }
        };
        let replies: Vec<Reply> = asked.iter().map(answer).collect();
        asked.into_iter().zip(replies).for_each(|(asked, reply)| (asked.reply)(reply));
    }
}

fn read(
    form: Form,
    body: Vec<u8>,
    version: &Version,
    rows_max: usize,
) -> Result<(Rows, Shape), Refusal> {
    match form {
        Form::Events => match events::split(&body, rows_max)? {
            Some(events) => Ok(((body, events), Shape::Many)),
            None => {
                let whole = 0..body.len();
                Ok(((body, vec![whole]), Shape::One))
            }
        },
        Form::Tensors { model, version: wanted } => {
            is_meant(version, &model, wanted.as_deref())?;
            let (rows, wanted) =
                tensors::read(&body, &version.contract, &tensors::outputs(version), rows_max)?;
            Ok((rows, Shape::Tensors(wanted)))
        }
    }
}

/// Is what serves the model, and the version if one is named, that somebody asks for?
pub fn is_meant(version: &Version, model: &str, wanted: Option<&str>) -> Result<(), Refusal> {
    let Version { model: serves, version, .. } = version;
    if model == serves && wanted.is_none_or(|wanted| wanted == version) {
        return Ok(());
    }
    Err(Refusal::NotServed(format!("`{serves}` version `{version}` serves")))
}

/// The outputs of each row, or the first reject among them.
fn all_outputs<'s>(scores: &'s Scores<'_>, rows: Range<usize>) -> Result<Vec<&'s [f64]>, Refusal> {
    let first = rows.start;
    rows.map(|row| {
        let rejected =
            |reject: &Reject| Refusal::Rejected { row: row - first, reject: reject.clone() };
        scores.outputs(row).map_err(rejected)
    })
    .collect()
}

#[cfg(test)]
mod tests;
