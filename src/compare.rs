//! How two versions differ on the same events: a candidate and what serves, what was recorded and
//! what another version says.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::model::manifest::Task;

/// Differences are counted in units of this, to two digits.
const UNIT: f64 = 1e-9;
/// The largest difference that is told apart from larger ones.
const LARGEST: f64 = 1e6;

/// What a version made of one event: its outputs, or nothing.
pub type Outcome<'a> = Option<&'a [f64]>;

/// What was said of one event: a model's outputs, and the class that they were taken for. `None`: the
/// model is no classifier.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    pub class: Option<usize>,
    pub outputs: &'a [f64],
}

/// How two differ on one event that both scored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    pub is_flip: bool,
    /// Of their outputs, as golden rows count it. `None`: they have not as many.
    pub size: Option<f64>,
}

/// Counts over events that both were given; `first` is the one that is compared with.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Scored by both.
    pub rows: u64,
    /// Of those, with another class.
    pub flips: u64,
    /// Scored by the first and refused by the second.
    pub lost: u64,
    /// Refused by the first and scored by the second.
    pub gained: u64,
    /// Of the rows of which both have as many outputs.
    differences: Histogram<u64>,
    /// Time that each took for the same events.
    cost: [Duration; 2],
}

impl Default for Comparison {
    fn default() -> Self {
        let differences = Histogram::new_with_bounds(1, (LARGEST / UNIT) as u64, 2);
        Self {
            rows: 0,
            flips: 0,
            lost: 0,
            gained: 0,
            differences: differences.expect("the bounds are right, which a test sees"),
            cost: [Duration::ZERO; 2],
        }
    }
}

impl Comparison {
    /// Adds one event. Each version decides by its own task what class its outputs are.
    pub fn add<'a>(&mut self, first: (&Task, Outcome<'a>), second: (&Task, Outcome<'a>)) {
        let said = |(task, outputs): (&Task, Outcome<'a>)| {
            outputs.map(|outputs| Said { class: task.class(outputs), outputs })
        };
        self.add_said(said(first), said(second));
    }

    /// Adds one event of which it is known what each said; `None`: it was refused. Says how they
    /// differ, if neither was.
    pub fn add_said(
        &mut self,
        first: Option<Said<'_>>,
        second: Option<Said<'_>>,
    ) -> Option<Difference> {
        let (Some(one), Some(other)) = (first, second) else {
            self.lost += u64::from(first.is_some());
            self.gained += u64::from(second.is_some());
            return None;
        };
        let is_flip = one.class != other.class;
        let size = difference(one.outputs, other.outputs);
        self.rows += 1;
        self.flips += u64::from(is_flip);
        if let Some(size) = size {
            self.differences.saturating_record((size / UNIT) as u64);
        }
        Some(Difference { is_flip, size })
    }

    /// Adds what each took for the same events.
    pub fn add_cost(&mut self, first: Duration, second: Duration) {
        self.cost[0] += first;
        self.cost[1] += second;
    }

    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.flips += other.flips;
        self.lost += other.lost;
        self.gained += other.gained;
        // Both have the same bounds, so that every value fits.
        let _ = self.differences.add(&other.differences);
        self.add_cost(other.cost[0], other.cost[1]);
    }

    pub fn clear(&mut self) {
        let Self { rows, flips, lost, gained, differences, cost } = self;
        [*rows, *flips, *lost, *gained] = [0; 4];
        differences.reset();
        *cost = [Duration::ZERO; 2];
    }

    /// Share of the rows with another class, 0 to 1.
    pub fn flip_share(&self) -> f64 {
        share(self.flips, self.rows)
    }

    /// Share of what the first scored that the second refuses, 0 to 1.
    pub fn lost_share(&self) -> f64 {
        share(self.lost, self.rows + self.lost)
    }

    /// The difference that a share `quantile` of the rows does not exceed: absolute up to 1,
    /// relative to the first above, to two digits.
    pub fn difference(&self, quantile: f64) -> f64 {
        self.differences.value_at_quantile(quantile) as f64 * UNIT
    }

    /// What the second takes for an event, in what the first takes. `None`: nothing was measured.
    pub fn cost_ratio(&self) -> Option<f64> {
        let [first, second] = self.cost.map(|cost| cost.as_secs_f64());
        (first > 0.0).then(|| second / first)
    }
}

/// A part of a whole, 0 to 1; of nothing it is 0.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A share as people read it.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// The largest difference of an output to the first's: absolute up to 1, relative above. `None`:
/// there are not as many.
pub fn difference(first: &[f64], second: &[f64]) -> Option<f64> {
    let pairs = first.iter().zip(second);
    let differences = pairs.map(|(one, other)| (other - one).abs() / one.abs().max(1.0));
    (first.len() == second.len()).then(|| differences.fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::TaskKind;

    fn task(kind: TaskKind) -> Task {
        Task { kind, labels: Vec::new(), threshold: None }
    }

    #[test]
    fn what_both_make_of_an_event_is_counted() {
        let binary = task(TaskKind::Binary);
        let mut comparison = Comparison::default();
        let mut add = |one: Outcome<'_>, other: Outcome<'_>| {
            comparison.add((&binary, one), (&binary, other));
        };
        add(Some(&[0.4]), Some(&[0.6]));
        add(Some(&[0.4]), Some(&[0.4]));
        add(Some(&[0.9]), Some(&[0.91]));
        add(Some(&[0.9]), None);
        add(None, Some(&[0.9]));
        add(None, None);
        let Comparison { rows, flips, lost, gained, .. } = comparison;
        assert_eq!([rows, flips, lost, gained], [3, 1, 1, 1]);
        assert!((comparison.flip_share() - 1.0 / 3.0).abs() < 1e-12);
        assert!((comparison.lost_share() - 0.25).abs() < 1e-12);
        assert!(comparison.difference(0.3) <= UNIT);
        assert!((comparison.difference(0.6) - 0.01).abs() < 1e-4);
        assert!((comparison.difference(1.0) - 0.2).abs() < 2e-3);
    }

    #[test]
    fn a_large_value_differs_by_its_share_and_a_huge_one_is_held() {
        let regression = task(TaskKind::Regression);
        let mut comparison = Comparison::default();
        comparison.add((&regression, Some(&[1000.0])), (&regression, Some(&[1010.0])));
        assert_eq!(comparison.flips, 0);
        assert!((comparison.difference(1.0) - 0.01).abs() < 1e-4);
        comparison.add((&regression, Some(&[0.0])), (&regression, Some(&[1e300])));
        assert!(comparison.difference(1.0) >= LARGEST * 0.99);
        // Another number of outputs is nothing to subtract.
        comparison.add((&regression, Some(&[0.0])), (&regression, Some(&[0.0, 1.0])));
        assert_eq!(comparison.rows, 3);
    }

    #[test]
    fn parts_add_up_and_can_be_begun_anew() {
        let multiclass = task(TaskKind::Multiclass);
        let mut part = Comparison::default();
        part.add((&multiclass, Some(&[0.1, 0.9])), (&multiclass, Some(&[0.8, 0.2])));
        part.add_cost(Duration::from_millis(2), Duration::from_millis(3));
        let mut sum = Comparison::default();
        assert_eq!(sum.cost_ratio(), None);
        sum.merge(&part);
        sum.merge(&part);
        assert_eq!((sum.rows, sum.flips), (2, 2));
        assert_eq!(sum.cost_ratio(), Some(1.5));
        sum.clear();
        assert_eq!((sum.rows, sum.flips, sum.cost_ratio()), (0, 0, None));
        assert_eq!((sum.flip_share(), sum.lost_share(), sum.difference(0.99)), (0.0, 0.0, 0.0));
    }
}
