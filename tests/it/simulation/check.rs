//! The judge: reads what a run left on the output topics as any other program would, and finds
//! every way in which it is not what it has to be.

use std::collections::BTreeMap;

use foretell::bus::memory::Client;
use foretell::bus::memory::log::{Output, Stored};
use foretell::bus::memory::transactions::Transaction;
use foretell::reject::Reason;
use serde_json::{Value, json};

use super::events::{Fate, Input, LETTER_BYTES_MAX};
use super::run::{Left, TOPIC};
use super::versions::value;

/// Where an event stands.
type Place = (i32, i64);
type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Everything that is wrong, each in a line; nothing: the run is as it has to be.
pub fn check(left: &Left) -> Vec<String> {
    let mut faults = Vec::new();
    if !left.is_settled {
        faults.push("stuck: not everything was settled".into());
    }
    let mut judge = Judge { left, outcomes: BTreeMap::new(), faults };
    judge.predictions();
    judge.dead_letters();
    judge.one_in_one_out();
    judge.versions();
    judge.shadows();
    judge.counts();
    judge.faults
}

struct Judge<'a> {
    left: &'a Left,
    /// How many committed outcomes each event has.
    outcomes: BTreeMap<Place, usize>,
    faults: Vec<String>,
}

impl Judge<'_> {
    fn expect(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(fault());
        }
    }

    fn input(&mut self, place: Place) -> Option<&Input> {
        let inputs = &self.left.inputs;
        inputs.iter().find(|input| (input.partition, input.offset) == place)
    }

    /// Notes an outcome, and that those of a partition come in the order of its events.
    fn note(&mut self, place: Place, output: &Output, last: &mut BTreeMap<i32, i64>) {
        *self.outcomes.entry(place).or_default() += 1;
        let before = last.insert(output.partition, place.1);
        self.expect(output.partition == place.0, || {
            format!("{place:?}: in partition {}", output.partition)
        });
        self.expect(before.is_none_or(|before| before < place.1), || {
            format!("disorder: {place:?} comes after {before:?}")
        });
    }

    fn predictions(&mut self) {
        let mut last = BTreeMap::new();
        for (output, _) in &self.left.predictions {
            let prediction = prediction(output);
            let place = place(&prediction);
            self.note(place, output, &mut last);
            let Some(input) = self.input(place).cloned() else {
                self.faults.push(format!("{place:?}: a prediction of no event"));
                continue;
            };
            let Fate::Prediction { x, id } = &input.fate else {
                self.faults.push(format!("{place:?}: a prediction of an event without one"));
                continue;
            };
            let event: Value =
                serde_json::from_slice(&input.event.value.clone().unwrap_or_default())
                    .expect("a good event is JSON");
            let version = prediction["version"].as_str().and_then(|version| version.parse().ok());
            let expected = json!({
                "id": id, "model": "tiny",
                "prediction": version.map(|version| value(version, *x)),
                "version": prediction["version"], "control_offset": prediction["control_offset"],
                "input": {"topic": TOPIC, "partition": place.0, "offset": place.1},
                "carry": {"tag": event["tag"], "twin": event["tag"]},
            });
            self.expect(prediction == expected, || format!("{prediction} is not {expected}"));
            self.kept(place, &input.event, &output.record);
            let forwarded = input.event.headers.iter().filter(|(name, _)| name == b"traceparent");
            let forwarded: Vec<_> = forwarded.cloned().collect();
            self.expect(output.record.headers == forwarded, || {
                format!("{place:?}: has headers {}", told(&output.record.headers))
            });
        }
    }

    fn dead_letters(&mut self) {
        let mut last = BTreeMap::new();
        for (output, _) in &self.left.dead_letters {
            let letter = &output.record;
            let number = |name| text(letter, name).parse().unwrap_or(-1);
            let partition = number("__connect.errors.partition");
            let place = (partition as i32, number("__connect.errors.offset"));
            self.note(place, output, &mut last);
            let Some(input) = self.input(place).cloned() else {
                self.faults.push(format!("{place:?}: a dead letter of no event"));
                continue;
            };
            let Fate::DeadLetter(reason) = input.fate else {
                self.faults.push(format!("{place:?}: a dead letter of an event that is none"));
                continue;
            };
            self.kept(place, &input.event, letter);
            let expected = expected_headers(&input, reason, letter);
            self.expect(letter.headers == expected, || {
                format!("{place:?}: headers {} are not {}", told(&letter.headers), told(&expected))
            });
            let length = input.event.value.as_ref().map_or(0, Vec::len);
            let fits = length < LETTER_BYTES_MAX;
            let value = input.event.value.filter(|_| fits);
            self.expect(letter.value == value, || format!("{place:?}: another value"));
        }
    }

    /// Key and time are the event's.
    fn kept(&mut self, place: Place, event: &Stored, output: &Stored) {
        self.expect(event.key == output.key, || format!("{place:?}: another key"));
        self.expect(event.timestamp_ms == output.timestamp_ms, || {
            format!("{place:?}: another time")
        });
    }

    fn one_in_one_out(&mut self) {
        for input in &self.left.inputs {
            let place = (input.partition, input.offset);
            let outcomes = self.outcomes.get(&place).copied().unwrap_or(0);
            let wanted = usize::from(input.fate != Fate::Nothing);
            self.expect(outcomes >= wanted, || format!("lost: {place:?}"));
            self.expect(outcomes <= wanted, || format!("doubled: {place:?}, {outcomes} outcomes"));
        }
    }

    /// One transaction, one version, and the one that served when it began.
    fn versions(&mut self) {
        let mut transactions: BTreeMap<usize, (&Transaction, i64)> = BTreeMap::new();
        for (output, transaction) in &self.left.predictions {
            let prediction = prediction(output);
            let control_offset = prediction["control_offset"].as_i64().unwrap_or(-1);
            let known = transactions.insert(output.transaction, (transaction, control_offset));
            self.expect(known.is_none_or(|(_, known)| known == control_offset), || {
                format!("transaction {} has two versions", output.transaction)
            });
            let swap = self.left.swaps.iter().find(|swap| swap.control_offset == control_offset);
            let served = swap.is_some_and(|swap| {
                swap.at <= transaction.began
                    && prediction["version"] == json!(swap.version.to_string())
            });
            self.expect(served, || format!("{prediction} was scored by what did not serve"));
        }
        // A worker never goes back to what served before.
        let mut latest: BTreeMap<Client, i64> = BTreeMap::new();
        for (transaction, control_offset) in transactions.into_values() {
            let before = latest.insert(transaction.client, control_offset);
            self.expect(before.is_none_or(|before| before <= control_offset), || {
                format!("{transaction:?}: control offset {control_offset} after {before:?}")
            });
        }
    }

    /// A shadow says its own of each event that what serves has predicted, once, in the same
    /// transaction, and of no other.
    fn shadows(&mut self) {
        let mut said = BTreeMap::new();
        for (output, _) in &self.left.shadows {
            let shadow = prediction(output);
            let before = said.insert(place(&shadow), (shadow, output.transaction));
            self.expect(before.is_none(), || format!("doubled: a shadow's {before:?}"));
        }
        for (output, _) in &self.left.predictions {
            let mut prediction = prediction(output);
            let place = place(&prediction);
            let offset = prediction["control_offset"].as_i64();
            let swap = self.left.swaps.iter().find(|swap| Some(swap.control_offset) == offset);
            let shadow = swap.and_then(|swap| swap.shadow);
            if let (Some(version), Some(input)) = (shadow, self.input(place))
                && let Fate::Prediction { x, .. } = input.fate
            {
                prediction["version"] = json!(version.to_string());
                prediction["prediction"] = json!(value(version, x));
            }
            let wanted = shadow.map(|_| (prediction, output.transaction));
            let found = said.remove(&place);
            self.expect(wanted == found, || {
                format!("{place:?}: a shadow says {found:?}, not {wanted:?}")
            });
        }
        self.expect(said.is_empty(), || format!("a shadow speaks for nobody: {said:?}"));
    }

    /// What was aborted never happened, in the statistics too. Less may be counted than was
    /// committed: the turn of a worker that died, and what was only found to be settled.
    fn counts(&mut self) {
        let Left { counted, predictions, dead_letters, .. } = self.left;
        self.expect(counted.predictions <= predictions.len() as u64, || {
            "predictions counted twice".into()
        });
        self.expect(counted.dead_letters <= dead_letters.len() as u64, || {
            "dead letters counted twice".into()
        });
    }
}

fn prediction(output: &Output) -> Value {
    serde_json::from_slice(output.record.value.as_deref().unwrap_or_default()).unwrap_or_default()
}

fn place(prediction: &Value) -> Place {
    let input = &prediction["input"];
    let number = |name: &str| input[name].as_i64().unwrap_or(-1);
    (number("partition") as i32, number("offset"))
}

fn told(headers: &Headers) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let told = headers.iter();
    told.map(|(name, value)| {
        format!("{}={} ", text(name), text(value.as_deref().unwrap_or_default()))
    })
    .collect()
}

fn text<'a>(record: &'a Stored, name: &str) -> &'a str {
    std::str::from_utf8(record.header(name).unwrap_or_default()).unwrap_or_default()
}

/// The event's own headers but those of an earlier refusal, then what a dead letter adds.
fn expected_headers(input: &Input, reason: Reason, letter: &Stored) -> Headers {
    let event = &input.event;
    let attempt = if event.header("foretell.attempt").is_some() { "2" } else { "1" };
    let earlier = |name: &[u8]| name.starts_with(b"foretell.");
    let mut headers: Vec<_> =
        event.headers.iter().filter(|(name, _)| !earlier(name)).cloned().collect();
    let mut add = |name: &str, value: &str| headers.push((name.into(), Some(value.into())));
    add("__connect.errors.topic", TOPIC);
    add("__connect.errors.partition", &input.partition.to_string());
    add("__connect.errors.offset", &input.offset.to_string());
    add("__connect.errors.stage", reason.stage());
    add("__connect.errors.class.name", &format!("foretell.reject.{reason:?}"));
    // What it says is the decoder's own affair; that it says something is ours.
    let message = Some(text(letter, "__connect.errors.exception.message"));
    add("__connect.errors.exception.message", message.filter(|m| !m.is_empty()).unwrap_or("…"));
    add("foretell.reason", reason.as_str());
    add("foretell.attempt", attempt);
    let length = event.value.as_ref().map_or(0, Vec::len);
    if length >= LETTER_BYTES_MAX {
        add("foretell.omitted_bytes", &length.to_string());
    }
    headers
}
