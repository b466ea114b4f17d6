//! Where two versions differ: the events by what a feature of theirs holds.
//!
//! A category has a slice a term; a number has one between each two deciles of the first events, or one
//! a value where it has few. Missing values are a slice of their own.

use ndarray::{ArrayView1, ArrayView2};

use crate::features::contract::{Feature, Kind, Unknown};

/// Events that the deciles are taken from.
const SAMPLE_ROWS: usize = 10_000;
/// Numbers of the sample, whatever the number of features.
const SAMPLE_CELLS_MAX: usize = 4_000_000;
/// Slices of a number, at most.
const BINS: usize = 10;
/// A slice with fewer events tells nothing.
const ROWS_MIN: u64 = 50;
/// Nor does one of less than this share of all events, 1 in so many.
const SHARE_MIN: u64 = 200;
/// By how many standard errors a slice has to exceed all events: with some hundred slices, hardly
/// one does by chance.
const ERRORS_MIN: f64 = 3.0;

/// How two versions differ on one event.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    /// Of the matrix.
    pub row: usize,
    /// 1 or 0 for another class or the same; of a model that is no classifier, the difference of its
    /// outputs.
    pub weight: f64,
}

/// Sums over the events of a slice.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    pub rows: u64,
    sum: f64,
    sum_of_squares: f64,
}

/// A slice that differs more than the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice<'a> {
    pub feature: &'a str,
    /// Which values belong to it, such as `= "EV"`, `12 to < 30` or `missing`.
    pub values: String,
    pub tally: Tally,
}

/// Counts the events of all slices of a contract's features.
#[derive(Debug)]
pub struct Slices {
    features: Vec<Column>,
    overall: Tally,
    /// The first events, column by column, until the deciles are taken from them.
    sample: Vec<Vec<f64>>,
    sample_weights: Vec<f64>,
    sample_rows: usize,
}

#[derive(Debug)]
struct Column {
    name: String,
    bins: Bins,
    /// One a bin, and a last one for what is missing.
    tallies: Vec<Tally>,
}

#[derive(Debug)]
enum Bins {
    /// The value is the number of its term.
    Terms(Vec<String>),
    /// Bin i holds what is from cut i - 1 up to, and without, cut i.
    Cuts(Vec<f64>),
}

impl Tally {
    fn add(&mut self, weight: f64) {
        self.rows += 1;
        self.sum += weight;
        self.sum_of_squares += weight * weight;
    }

    /// Share of events with another class, or the mean difference.
    pub fn mean(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { self.sum / self.rows as f64 }
    }

    fn variance(&self) -> f64 {
        if self.rows == 0 {
            return 0.0;
        }
        (self.sum_of_squares / self.rows as f64 - self.mean().powi(2)).max(0.0)
    }
}

impl Slices {
    pub fn new(contract: &[Feature]) -> Self {
        Self {
            features: contract.iter().map(Column::new).collect(),
            overall: Tally::default(),
            sample: vec![Vec::new(); contract.len()],
            sample_weights: Vec::new(),
            sample_rows: (SAMPLE_CELLS_MAX / contract.len().max(1)).clamp(1, SAMPLE_ROWS),
        }
    }

    /// Counts events of a tile, whose features are rows of `matrix`.
    pub fn add(&mut self, matrix: ArrayView2<'_, f64>, marks: &[Mark]) {
        for mark in marks {
            self.overall.add(mark.weight);
        }
        if self.is_sampling() {
            for (column, sample) in matrix.columns().into_iter().zip(&mut self.sample) {
                sample.extend(marks.iter().map(|mark| column[mark.row]));
            }
            self.sample_weights.extend(marks.iter().map(|mark| mark.weight));
            if self.sample_weights.len() >= self.sample_rows {
                self.end_sampling();
            }
            return;
        }
        for (values, column) in matrix.columns().into_iter().zip(&mut self.features) {
            column.add(values, marks);
        }
    }

    fn is_sampling(&self) -> bool {
        !self.sample.is_empty()
    }

    /// Takes the deciles, and counts what they were taken from.
    fn end_sampling(&mut self) {
        let weights = std::mem::take(&mut self.sample_weights);
        for (column, values) in self.features.iter_mut().zip(std::mem::take(&mut self.sample)) {
            column.cut(&values);
            for (value, weight) in values.iter().zip(&weights) {
                column.count(*value, *weight);
            }
        }
    }

    /// All events together.
    pub fn overall(&self) -> Tally {
        self.overall
    }

    /// The slices that differ more than all events do, and not by chance; most of all first, so many
    /// at most.
    pub fn most(&mut self, count: usize) -> Vec<Slice<'_>> {
        if self.is_sampling() {
            self.end_sampling();
        }
        let overall = self.overall;
        let rows_min = ROWS_MIN.max(overall.rows / SHARE_MIN);
        let stands_out = |tally: &Tally| {
            let error = (overall.variance() / tally.rows as f64).sqrt();
            tally.rows >= rows_min && tally.mean() - overall.mean() > ERRORS_MIN * error
        };
        let mut slices: Vec<Slice<'_>> = Vec::new();
        for column in &self.features {
            let tallies = column.tallies.iter().enumerate();
            // All events hold the same here: that tells nothing.
            let telling =
                tallies.filter(|(_, tally)| tally.rows < overall.rows && stands_out(tally));
            slices.extend(telling.map(|(bin, tally)| Slice {
                feature: &column.name,
                values: column.values(bin),
                tally: *tally,
            }));
        }
        slices.sort_by(|one, other| other.tally.mean().total_cmp(&one.tally.mean()));
        slices.truncate(count);
        slices
    }
}

impl Column {
    fn new(feature: &Feature) -> Self {
        let bins = match &feature.kind {
            Kind::Category { vocabulary, unknown } => {
                let mut terms: Vec<_> = vocabulary.iter().map(|term| format!("= {term}")).collect();
                if *unknown == Unknown::Code {
                    terms.push("unknown".into());
                }
                Bins::Terms(terms)
            }
            Kind::Boolean => Bins::Terms(vec!["= false".into(), "= true".into()]),
            Kind::Number | Kind::Timestamp { .. } => Bins::Cuts(Vec::new()),
        };
        let mut column = Self { name: feature.name.clone(), bins, tallies: Vec::new() };
        column.tallies = vec![Tally::default(); column.missing() + 1];
        column
    }

    /// The bin of what is missing: the one behind all others.
    fn missing(&self) -> usize {
        match &self.bins {
            Bins::Terms(terms) => terms.len(),
            Bins::Cuts(cuts) => cuts.len() + 1,
        }
    }

    /// Takes the cuts of a number from a sample of its values.
    fn cut(&mut self, values: &[f64]) {
        let Bins::Cuts(cuts) = &mut self.bins else { return };
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let mut distinct = sorted.clone();
        distinct.dedup();
        *cuts = if distinct.len() <= BINS {
            distinct
        } else {
            (1..BINS).map(|decile| sorted[sorted.len() * decile / BINS]).collect()
        };
        cuts.dedup();
        // Nothing is below the least value.
        if cuts.first() == sorted.first() && !cuts.is_empty() {
            cuts.remove(0);
        }
        self.tallies = vec![Tally::default(); self.missing() + 1];
    }

    fn add(&mut self, values: ArrayView1<'_, f64>, marks: &[Mark]) {
        for mark in marks {
            self.count(values[mark.row], mark.weight);
        }
    }

    fn count(&mut self, value: f64, weight: f64) {
        let missing = self.missing();
        let bin = match &self.bins {
            _ if value.is_nan() => missing,
            Bins::Cuts(cuts) => cuts.partition_point(|cut| *cut <= value),
            // What stands for a missing value may be no term.
            Bins::Terms(_) if value < 0.0 => missing,
            Bins::Terms(_) => (value as usize).min(missing),
        };
        self.tallies[bin].add(weight);
    }

    /// Which values a bin holds, in words.
    fn values(&self, bin: usize) -> String {
        match &self.bins {
            Bins::Terms(terms) => {
                terms.get(bin).cloned().unwrap_or_else(|| "missing or unknown".into())
            }
            Bins::Cuts(cuts) if bin > cuts.len() => "missing".into(),
            Bins::Cuts(cuts) => {
                match (bin.checked_sub(1).map(|below| cuts[below]), cuts.get(bin)) {
                    (None, Some(above)) => format!("< {above}"),
                    (Some(below), Some(above)) => format!("{below} to < {above}"),
                    (Some(below), None) => format!("≥ {below}"),
                    (None, None) => "any number".into(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::features::contract::Term;

    fn feature(name: &str, kind: Kind) -> Feature {
        Feature {
            name: name.into(),
            path: format!("/{name}"),
            kind,
            required: false,
            missing: None,
        }
    }

    fn contract() -> Vec<Feature> {
        let vocabulary = vec![Term::Text("AA".into()), Term::Text("EV".into())];
        let unknown = Unknown::Missing;
        vec![
            feature("delay", Kind::Number),
            feature("carrier", Kind::Category { vocabulary, unknown }),
        ]
    }

    /// Adds events in tiles, each with its delay, its carrier and its weight.
    fn slices(events: &[(f64, f64, f64)], tile_rows: usize) -> Slices {
        let mut slices = Slices::new(&contract());
        for tile in events.chunks(tile_rows) {
            let matrix = Array2::from_shape_fn((tile.len(), 2), |(row, column)| match column {
                0 => tile[row].0,
                _ => tile[row].1,
            });
            let mark = |(row, event): (usize, &(f64, f64, f64))| Mark { row, weight: event.2 };
            let marks: Vec<_> = tile.iter().enumerate().map(mark).collect();
            slices.add(matrix.view(), &marks);
        }
        slices
    }

    fn told(slices: &mut Slices) -> Vec<(String, u64, f64)> {
        let told = |slice: Slice<'_>| {
            (format!("{} {}", slice.feature, slice.values), slice.tally.rows, slice.tally.mean())
        };
        slices.most(10).into_iter().map(told).collect()
    }

    #[test]
    fn the_slice_that_differs_is_found_by_term_and_by_decile() {
        // Delays 0 to 999; half of those from 900 on flip, and all without a carrier.
        let event = |number: u32| {
            let (delay, carrier) = (f64::from(number), f64::from(number % 2));
            let has_carrier = number % 10 != 5;
            let weight = u8::from(!has_carrier || (number >= 900 && number.is_multiple_of(2)));
            (delay, if has_carrier { carrier } else { f64::NAN }, f64::from(weight))
        };
        let events: Vec<_> = (0..1000).map(event).collect();
        let expected = [
            ("carrier missing or unknown".to_owned(), 100, 1.0),
            ("delay ≥ 900".to_owned(), 100, 0.6),
        ];
        assert_eq!(told(&mut slices(&events, 1000)), expected);
        assert_eq!(told(&mut slices(&events, 64)), expected);
    }

    #[test]
    fn events_behind_the_sample_are_counted_too() {
        let event = |number: u32| {
            let delay = f64::from(number % 1000);
            (delay, 1.0, f64::from(u8::from(delay >= 900.0)))
        };
        let events: Vec<_> = (0..30_000).map(event).collect();
        let mut slices = slices(&events, 1024);
        assert_eq!(slices.overall().rows, 30_000);
        let told = told(&mut slices);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].1.abs_diff(3000) < 300, "{told:?}");
    }

    #[test]
    fn a_number_of_few_values_has_a_slice_for_each() {
        let event =
            |number: u32| (f64::from(number % 3), 0.0, f64::from(u8::from(number % 3 == 1)));
        let events: Vec<_> = (0..300).map(event).collect();
        assert_eq!(told(&mut slices(&events, 300)), [("delay 1 to < 2".to_owned(), 100, 1.0)]);
    }

    #[test]
    fn noise_and_slices_of_a_few_events_are_not_told() {
        // One in ten flips, whatever the features; all of 40 events at 5000.
        let event = |number: u32| {
            let is_few = number < 40;
            let delay = if is_few { 5000.0 } else { f64::from(number * 7919 % 7) };
            (
                delay,
                f64::from(number % 2),
                f64::from(u8::from(is_few || (number * 7919).is_multiple_of(10))),
            )
        };
        let events: Vec<_> = (0..5000).map(event).collect();
        let told = told(&mut slices(&events, 1000));
        assert!(told.iter().all(|(slice, ..)| slice.starts_with("carrier")), "{told:?}");
    }

    #[test]
    fn nothing_compared_has_no_slices() {
        let mut none = Slices::new(&contract());
        assert_eq!(none.most(10), vec![]);
        assert_eq!(none.overall().mean(), 0.0);
    }
}
