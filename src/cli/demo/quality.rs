//! Were the predictions any good? Known only afterwards: each prediction beside what became of the
//! flight.

use std::collections::BTreeMap;

use super::answer::Prediction;
use super::flights::Arrivals;

/// So many predictions are judged, the first ones: a tour that goes on for days says no more.
const JUDGED_MAX: usize = 1_000_000;

pub struct Quality {
    arrivals: Arrivals,
    /// By what they were made of, and by version.
    judged: BTreeMap<(Stream, String), Vec<Judged>>,
    stream: Stream,
}

/// What the events are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// As the first versions learnt them.
    #[default]
    AsLearnt,
    /// As the producer's new release tells them.
    AfterRelease,
}

/// A prediction, and what became of the flight.
struct Judged {
    probability: f64,
    /// The class that was said was the one.
    is_right: bool,
    delay: i32,
    was_late: bool,
}

/// How well a version told late flights from others.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub stream: Stream,
    pub version: String,
    pub flights: u64,
    /// Share of them whose class was said, 0 to 1.
    pub accuracy: f64,
    pub auc: f64,
    /// What one would get without any model: a flight that left late arrives late.
    pub auc_of_delay: f64,
}

impl Quality {
    pub fn new(arrivals: Arrivals) -> Self {
        Self { arrivals, judged: BTreeMap::new(), stream: Stream::AsLearnt }
    }

    /// The producer's new release is out.
    pub fn release(&mut self) {
        self.stream = Stream::AfterRelease;
    }

    pub fn note(&mut self, prediction: &Prediction) {
        if self.judged.values().map(Vec::len).sum::<usize>() >= JUDGED_MAX {
            return;
        }
        let Some(was_late) = self.arrivals.was_late(&prediction.id) else { return };
        let Prediction { probability, ref version, ref label, ref carry, .. } = *prediction;
        let is_right = (label == "late") == was_late;
        let judged = self.judged.entry((self.stream, version.clone())).or_default();
        judged.push(Judged { probability, is_right, delay: carry.delay, was_late });
    }

    pub fn judge(&self) -> Vec<Judgement> {
        let judge = |((stream, version), judged): (&(Stream, String), &Vec<Judged>)| {
            let by = |score: fn(&Judged) -> f64| {
                auc(judged.iter().map(|flight| (score(flight), flight.was_late)).collect())
            };
            let right = judged.iter().filter(|flight| flight.is_right).count();
            Some(Judgement {
                stream: *stream,
                version: version.clone(),
                flights: judged.len() as u64,
                accuracy: right as f64 / judged.len() as f64,
                auc: by(|flight| flight.probability)?,
                auc_of_delay: by(|flight| flight.delay.into())?,
            })
        };
        self.judged.iter().filter_map(judge).collect()
    }
}

/// The chance that a late flight has a higher score than one on time; a tie counts
/// half. `None` without flights of both kinds.
fn auc(mut judged: Vec<(f64, bool)>) -> Option<f64> {
    judged.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
    let (mut late, mut on_time, mut won) = (0.0, 0.0, 0.0);
    for tied in judged.chunk_by(|(a, _), (b, _)| a == b) {
        let late_here = tied.iter().filter(|(_, was_late)| *was_late).count() as f64;
        let on_time_here = tied.len() as f64 - late_here;
        won += late_here * (on_time + on_time_here / 2.0);
        late += late_here;
        on_time += on_time_here;
    }
    (late > 0.0 && on_time > 0.0).then(|| won / (late * on_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(late: &[f64], on_time: &[f64], expected: Option<f64>) {
        let late = late.iter().map(|probability| (*probability, true));
        let judged = late.chain(on_time.iter().map(|probability| (*probability, false)));
        assert_eq!(auc(judged.collect()), expected);
    }

    #[test]
    fn auc_is_the_share_of_pairs_in_the_right_order() {
        check(&[0.9, 0.8], &[0.1, 0.2], Some(1.0));
        check(&[0.1], &[0.2, 0.3], Some(0.0));
        check(&[0.5, 0.5], &[0.5], Some(0.5));
        check(&[0.2, 0.9], &[0.1, 0.5], Some(0.75));
        check(&[0.9], &[], None);
    }
}
