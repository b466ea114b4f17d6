//! What a topic of predictions says of a range of events.
//!
//! One slot for each offset of the range, so that neither order, nor the number of partitions, nor an
//! event that was answered again matters: of those in one partition the last wins. The range bounds the
//! memory, and what is too much is refused before anything is read.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::bus::range::Span;
use crate::compare::Said;
use crate::model::manifest::Task;

/// What the slots may take, in bytes: 67 million events of a model with one output.
const BYTES_MAX: u64 = 1 << 30;
/// Bytes of a slot besides its outputs.
const SLOT_BYTES: u64 = 8;
/// Nothing was recorded.
const NOBODY: u32 = 0;
/// The model is no classifier.
const NO_CLASS: u32 = u32::MAX;
/// A class that the replayed version does not have: another one, whatever that says.
const FOREIGN_CLASS: u32 = u32::MAX - 1;

/// The answers to a range of the events topic.
#[derive(Debug)]
pub struct Recorded {
    events: String,
    labels: Vec<String>,
    /// Outputs of an answer.
    width: usize,
    partitions: BTreeMap<i32, Stretch>,
    /// By number of a version, from 1 on: its name.
    versions: Vec<String>,
    /// Records that are no prediction.
    pub unreadable: u64,
}

/// The slots of one partition.
#[derive(Debug)]
struct Stretch {
    first: i64,
    /// Number of the version that answered, or [`NOBODY`].
    versions: Vec<u32>,
    classes: Vec<u32>,
    /// `width` for each event; the first is NaN where they are none to compare with.
    outputs: Vec<f64>,
}

/// A prediction, as far as it is compared.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    prediction: Values,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    probability: Option<f64>,
    #[serde(default)]
    probabilities: Option<HashMap<String, f64>>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    input: Input<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Values {
    One(f64),
    Many(Vec<f64>),
}

#[derive(Debug, Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    partition: i32,
    offset: i64,
}

impl Recorded {
    /// Room for what was said of these spans of the topic `events`, to be compared with a version of
    /// this task and so many outputs.
    ///
    /// # Errors
    /// It would take too much memory: what to do about it.
    pub fn new(
        events: &str,
        task: &Task,
        width: usize,
        spans: impl Iterator<Item = (i32, Span)>,
    ) -> Result<Self, String> {
        let spans: Vec<_> = spans.collect();
        let slots: u64 = spans.iter().map(|(_, span)| length(span) as u64).sum();
        let slot_bytes = SLOT_BYTES + 8 * width as u64;
        if slots.saturating_mul(slot_bytes) > BYTES_MAX {
            let most = BYTES_MAX / slot_bytes;
            return Err(format!(
                "the range has {slots} offsets, and at most {most} can be compared at a time\n\nhint: choose a shorter one with `--from` and `--to`"
            ));
        }
        let stretch = |(partition, span): &(i32, Span)| {
            let slots = length(span);
            let stretch = Stretch {
                first: span.first,
                versions: vec![NOBODY; slots],
                classes: vec![0; slots],
                outputs: vec![0.0; slots * width],
            };
            (*partition, stretch)
        };
        Ok(Self {
            events: events.to_owned(),
            labels: task.labels.clone(),
            width,
            partitions: spans.iter().map(stretch).collect(),
            versions: Vec::new(),
            unreadable: 0,
        })
    }

    /// Takes in a record of the predictions topic. What answers no event of the range is passed over.
    pub fn note(&mut self, prediction: Option<&[u8]>) {
        let line = prediction.and_then(|value| serde_json::from_slice::<Line<'_>>(value).ok());
        let Some(line) = line else {
            self.unreadable += 1;
            return;
        };
        if line.input.topic != self.events {
            return;
        }
        let Self { partitions, versions, labels, width, .. } = self;
        let Some(stretch) = partitions.get_mut(&line.input.partition) else { return };
        let Some(slot) = stretch.slot(line.input.offset) else { return };
        stretch.versions[slot] = number_of(versions, &line.version);
        stretch.classes[slot] = class(&line, labels);
        let outputs = &mut stretch.outputs[slot * *width..(slot + 1) * *width];
        if !read_outputs(&line, labels, outputs) {
            outputs[..].fill(f64::NAN);
        }
    }

    /// What was recorded of an event, if anything was.
    pub fn said(&self, partition: i32, offset: i64) -> Option<Said<'_>> {
        let stretch = self.partitions.get(&partition)?;
        let slot = stretch.slot(offset).filter(|&slot| stretch.versions[slot] != NOBODY)?;
        let class = stretch.classes[slot];
        let outputs = &stretch.outputs[slot * self.width..(slot + 1) * self.width];
        let is_comparable = outputs.first().is_some_and(|output| !output.is_nan());
        Some(Said {
            class: (class != NO_CLASS).then_some(class as usize),
            outputs: if is_comparable { outputs } else { &[] },
        })
    }

    /// How many events each version has the last word on.
    pub fn versions(&self) -> BTreeMap<&str, u64> {
        let mut counts = vec![0; self.versions.len() + 1];
        for stretch in self.partitions.values() {
            for &version in &stretch.versions {
                counts[version as usize] += 1;
            }
        }
        // The first is of those that nobody answered; a version may have been answered over since.
        let named = self.versions.iter().map(String::as_str).zip(counts.into_iter().skip(1));
        named.filter(|(_, count)| *count > 0).collect()
    }
}

impl Stretch {
    fn slot(&self, offset: i64) -> Option<usize> {
        let slot = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        (slot < self.versions.len()).then_some(slot)
    }
}

fn length(span: &Span) -> usize {
    usize::try_from(span.stop - span.first).unwrap_or_default()
}

/// There are a handful of versions, and mostly it is the one that came last.
fn number_of(versions: &mut Vec<String>, name: &str) -> u32 {
    let known = versions.iter().rposition(|version| version == name);
    let index = known.unwrap_or_else(|| {
        versions.push(name.to_owned());
        versions.len() - 1
    });
    index as u32 + 1
}

/// The class of a classifier's prediction. By its name where there are names: another version may
/// number them otherwise.
fn class(line: &Line<'_>, labels: &[String]) -> u32 {
    if line.probability.is_none() && line.probabilities.is_none() {
        return NO_CLASS;
    }
    let class = match (&line.label, &line.prediction) {
        (Some(label), _) if !labels.is_empty() => labels.iter().position(|own| own == label),
        (_, Values::One(number)) => Some(*number as usize),
        (_, Values::Many(_)) => None,
    };
    class.and_then(|class| u32::try_from(class).ok()).unwrap_or(FOREIGN_CLASS)
}

/// Writes the outputs behind a prediction; says whether they are those that a version with these
/// labels and so many outputs has.
fn read_outputs(line: &Line<'_>, labels: &[String], outputs: &mut [f64]) -> bool {
    match (line, outputs) {
        (Line { probability: Some(probability), .. }, [output]) => *output = *probability,
        (Line { probabilities: Some(probabilities), .. }, outputs) => {
            if probabilities.len() != outputs.len() {
                return false;
            }
            for (class, output) in outputs.iter_mut().enumerate() {
                let found = match labels.get(class) {
                    Some(label) => probabilities.get(label),
                    None => probabilities.get(&class.to_string()),
                };
                let Some(probability) = found else { return false };
                *output = *probability;
            }
        }
        (Line { prediction: Values::One(value), probability: None, .. }, [output]) => {
            *output = *value;
        }
        (Line { prediction: Values::Many(values), .. }, outputs)
            if values.len() == outputs.len() =>
        {
            outputs.copy_from_slice(values);
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::manifest::TaskKind;

    fn recorded(kind: TaskKind, labels: &[&str], width: usize) -> Recorded {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let task = Task { kind, labels, threshold: None };
        let span = |first, stop| Span { first, next: first, stop };
        let spans = [(0, span(100, 110)), (3, span(7, 9))];
        Recorded::new("flights", &task, width, spans.into_iter()).unwrap()
    }

    fn note(
        recorded: &mut Recorded,
        place: (i32, i64),
        version: &str,
        mut said: serde_json::Value,
    ) {
        said["input"] = json!({"topic": "flights", "partition": place.0, "offset": place.1});
        said["version"] = version.into();
        said["carry"] = json!({"anything": [1, {"a": null}]});
        recorded.note(Some(said.to_string().as_bytes()));
    }

    fn said(recorded: &Recorded, place: (i32, i64)) -> Option<(Option<usize>, Vec<f64>)> {
        recorded.said(place.0, place.1).map(|said| (said.class, said.outputs.to_vec()))
    }

    #[test]
    fn an_event_is_found_by_its_place_and_the_last_answer_wins() {
        let mut recorded = recorded(TaskKind::Binary, &[], 1);
        note(&mut recorded, (0, 105), "1", json!({"prediction": 1, "probability": 0.7}));
        note(&mut recorded, (3, 7), "1", json!({"prediction": 0, "probability": 0.25}));
        // Out of order, and answered again by another version.
        note(&mut recorded, (0, 100), "1", json!({"prediction": 1, "probability": 0.5}));
        note(&mut recorded, (0, 105), "2", json!({"prediction": 0, "probability": 0.1}));
        assert_eq!(said(&recorded, (0, 105)), Some((Some(0), vec![0.1])));
        assert_eq!(said(&recorded, (3, 7)), Some((Some(0), vec![0.25])));
        assert_eq!(said(&recorded, (0, 101)), None);
        assert_eq!(recorded.versions(), BTreeMap::from([("1", 2), ("2", 1)]));
    }

    #[test]
    fn what_answers_no_event_of_the_range_is_passed_over() {
        let mut recorded = recorded(TaskKind::Binary, &[], 1);
        let fine = json!({"prediction": 1, "probability": 0.7});
        for place in [(0, 99), (0, 110), (0, i64::MIN), (1, 100), (3, 9)] {
            note(&mut recorded, place, "1", fine.clone());
            assert_eq!(said(&recorded, place), None, "{place:?}");
        }
        let elsewhere = json!({
            "prediction": 1, "probability": 0.7, "version": "1",
            "input": {"topic": "others", "partition": 0, "offset": 105},
        });
        recorded.note(Some(elsewhere.to_string().as_bytes()));
        assert_eq!((said(&recorded, (0, 105)), recorded.unreadable), (None, 0));
        recorded.note(None);
        recorded.note(Some(b"{\"an\": \"event\"}"));
        assert_eq!(recorded.unreadable, 2);
    }

    #[test]
    fn classes_and_probabilities_are_matched_by_name() {
        let mut recorded = recorded(TaskKind::Multiclass, &["red", "green"], 2);
        let line =
            json!({"prediction": 0, "label": "green", "probabilities": {"green": 0.8, "red": 0.2}});
        note(&mut recorded, (0, 100), "1", line);
        assert_eq!(said(&recorded, (0, 100)), Some((Some(1), vec![0.2, 0.8])));
        // A class that the version does not have is another one, and nothing to subtract.
        let line =
            json!({"prediction": 1, "label": "blue", "probabilities": {"green": 0.1, "blue": 0.9}});
        note(&mut recorded, (0, 101), "1", line);
        assert_eq!(said(&recorded, (0, 101)), Some((Some(FOREIGN_CLASS as usize), vec![])));
    }

    #[test]
    fn values_that_are_no_classes_are_outputs() {
        let mut one = recorded(TaskKind::Regression, &[], 1);
        note(&mut one, (0, 100), "1", json!({"prediction": 12.5}));
        assert_eq!(said(&one, (0, 100)), Some((None, vec![12.5])));
        let mut two = recorded(TaskKind::Regression, &[], 2);
        note(&mut two, (0, 100), "1", json!({"prediction": [1.0, 2.0]}));
        note(&mut two, (0, 101), "1", json!({"prediction": 12.5}));
        assert_eq!(said(&two, (0, 100)), Some((None, vec![1.0, 2.0])));
        assert_eq!(said(&two, (0, 101)), Some((None, vec![])));
    }

    #[test]
    fn a_range_too_long_to_remember_is_refused_before_it_is_read() {
        let task = Task { kind: TaskKind::Binary, labels: Vec::new(), threshold: None };
        let span = Span { first: 0, next: 0, stop: 1 << 40 };
        let told = Recorded::new("flights", &task, 1, [(0, span)].into_iter()).unwrap_err();
        assert!(told.contains("shorter"), "{told}");
    }
}
