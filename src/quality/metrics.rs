//! How good predictions are, once it is known what happened. Pure functions of both.

use ndarray::ArrayView2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::largest;

/// Bins of the calibration table, equally wide.
const BINS: usize = 10;

/// How good a classifier's probabilities are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classification {
    /// The share of the rows whose predicted class is theirs.
    pub accuracy: f64,
    /// The mean of -ln of the probability of the true class, each no nearer to 0 and 1 than 2.2e-16.
    pub log_loss: f64,
    /// Of two classes, that of class 1; of more, the mean over the classes that occur. None where no row
    /// is of class 1 or predicted to be.
    pub f1: Option<f64>,
    /// Rows by true class, then by predicted class.
    pub confusion: Vec<Vec<u64>>,
    /// What only two classes have.
    #[serde(flatten)]
    pub binary: Option<Binary>,
}

/// How good probabilities of class 1 are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Binary {
    /// That a row of class 1 has a larger probability than one of class 0; equal ones count half.
    /// None where all rows are of one class.
    pub auc: Option<f64>,
    /// The mean squared difference of the probability and the class.
    pub brier: f64,
    /// By probability, from 0 to 1.
    pub calibration: Vec<Bin>,
}

/// The rows with a probability in a range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bin {
    pub from: f64,
    /// Not part of it, but for the last bin.
    pub to: f64,
    pub rows: usize,
    /// The mean probability; None without rows.
    pub predicted: Option<f64>,
    /// The share of the rows that are of class 1; None without rows.
    pub observed: Option<f64>,
}

/// How good a regression's predictions are, in units of the target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Regression {
    /// The square root of the mean squared error.
    pub rmse: f64,
    /// The mean absolute error.
    pub mae: f64,
    /// The share of the target's variance that is explained; None where the target is constant.
    pub r2: Option<f64>,
}

/// Why there are no metrics at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undefined {
    #[error("there is no row to judge by")]
    NoRows,
    #[error("the prediction of row {row} (counted from 0) is not a finite number")]
    NotFinite { row: usize },
}

impl Classification {
    /// Of two classes: `labels` are 0 or 1, `probabilities` those of class 1, which is predicted from
    /// `threshold` on.
    ///
    /// # Panics
    /// If the lengths do not agree or a label is above 1.
    pub fn binary(
        labels: &[usize],
        probabilities: &[f64],
        threshold: f64,
    ) -> Result<Self, Undefined> {
        let predicted: Vec<_> =
            probabilities.iter().map(|p| usize::from(*p >= threshold)).collect();
        Self::predicted(labels, &predicted, probabilities)
    }

    /// The same where the predicted classes are told, 0 or 1, and the threshold is not.
    ///
    /// # Panics
    /// If the lengths do not agree or a class is above 1.
    pub fn predicted(
        labels: &[usize],
        predicted: &[usize],
        probabilities: &[f64],
    ) -> Result<Self, Undefined> {
        check(labels.len(), probabilities)?;
        let confusion = confusion(labels, predicted.iter().copied(), 2);
        let of_truth = labels.iter().zip(probabilities);
        let of_truth = of_truth.map(|(label, p)| if *label == 1 { *p } else { 1.0 - p });
        let binary = Binary {
            auc: auc(labels, probabilities),
            brier: brier(labels, probabilities),
            calibration: calibration(labels, probabilities),
        };
        Ok(Self {
            accuracy: accuracy(&confusion),
            log_loss: log_loss(of_truth),
            f1: f1(&confusion, 1),
            confusion,
            binary: Some(binary),
        })
    }

    /// Of several classes: `labels` are classes, `probabilities` rows × classes. The class of the
    /// largest one is predicted, the first of equal ones.
    ///
    /// # Panics
    /// If the lengths do not agree, a label is no class, or there is no class.
    pub fn multiclass(
        labels: &[usize],
        probabilities: ArrayView2<'_, f64>,
    ) -> Result<Self, Undefined> {
        let classes = probabilities.ncols();
        let rows: Vec<Vec<f64>> =
            probabilities.rows().into_iter().map(|row| row.to_vec()).collect();
        // One that is not finite makes the sum so.
        let sums: Vec<f64> = rows.iter().map(|row| row.iter().sum()).collect();
        check(labels.len(), &sums)?;
        let confusion = confusion(labels, rows.iter().map(|row| largest(row)), classes);
        let f1s: Vec<f64> = (0..classes).filter_map(|class| f1(&confusion, class)).collect();
        Ok(Self {
            accuracy: accuracy(&confusion),
            log_loss: log_loss(labels.iter().zip(&rows).map(|(label, row)| row[*label])),
            f1: Some(f1s.iter().sum::<f64>() / f1s.len() as f64),
            confusion,
            binary: None,
        })
    }
}

impl Regression {
    /// # Panics
    /// If the lengths do not agree.
    pub fn new(targets: &[f64], predictions: &[f64]) -> Result<Self, Undefined> {
        check(targets.len(), predictions)?;
        let rows = targets.len() as f64;
        let pairs = || targets.iter().zip(predictions);
        let squares: f64 = pairs().map(|(target, said)| (target - said).powi(2)).sum();
        let absolute: f64 = pairs().map(|(target, said)| (target - said).abs()).sum();
        let mean = targets.iter().sum::<f64>() / rows;
        let spread: f64 = targets.iter().map(|target| (target - mean).powi(2)).sum();
        let constant = targets.iter().all(|target| *target == targets[0]);
        Ok(Self {
            rmse: (squares / rows).sqrt(),
            mae: absolute / rows,
            r2: (!constant).then(|| 1.0 - squares / spread),
        })
    }
}

fn check(rows: usize, predictions: &[f64]) -> Result<(), Undefined> {
    assert_eq!(rows, predictions.len(), "a prediction a row");
    if rows == 0 {
        return Err(Undefined::NoRows);
    }
    match predictions.iter().position(|prediction| !prediction.is_finite()) {
        Some(row) => Err(Undefined::NotFinite { row }),
        None => Ok(()),
    }
}

/// The area under the ROC curve, as Mann and Whitney count it: by the ranks of class 1, equal
/// probabilities sharing theirs.
fn auc(labels: &[usize], probabilities: &[f64]) -> Option<f64> {
    let mut pairs: Vec<(f64, usize)> =
        probabilities.iter().copied().zip(labels.iter().copied()).collect();
    pairs.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    // Twice the ranks are whole numbers, and their sums are exact.
    let (mut below, mut doubled) = (0_u64, 0_u128);
    for equal in pairs.chunk_by(|(a, _), (b, _)| a == b) {
        let (rows, ones) = (equal.len() as u64, equal.iter().filter(|(_, y)| *y == 1).count());
        doubled += u128::from(2 * below + rows + 1) * ones as u128;
        below += rows;
    }
    let ones = labels.iter().filter(|label| **label == 1).count() as u128;
    let zeros = labels.len() as u128 - ones;
    let wins_doubled = doubled - ones * (ones + 1);
    (ones > 0 && zeros > 0).then(|| wins_doubled as f64 / (2 * ones * zeros) as f64)
}

fn log_loss(of_truth: impl Iterator<Item = f64>) -> f64 {
    let bound = |p: f64| p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    let (sum, rows) =
        of_truth.fold((0.0, 0_usize), |(sum, rows), p| (sum - bound(p).ln(), rows + 1));
    sum / rows as f64
}

fn brier(labels: &[usize], probabilities: &[f64]) -> f64 {
    let squares = labels.iter().zip(probabilities).map(|(label, p)| (p - *label as f64).powi(2));
    squares.sum::<f64>() / labels.len() as f64
}

fn calibration(labels: &[usize], probabilities: &[f64]) -> Vec<Bin> {
    let mut bins = [(0_usize, 0.0, 0_usize); BINS];
    for (label, p) in labels.iter().zip(probabilities) {
        let bin = &mut bins[((p * BINS as f64) as usize).min(BINS - 1)];
        *bin = (bin.0 + 1, bin.1 + p, bin.2 + label);
    }
    let edge = |number: usize| number as f64 / BINS as f64;
    let bin = |(number, (rows, sum, ones)): (usize, (usize, f64, usize))| Bin {
        from: edge(number),
        to: edge(number + 1),
        rows,
        predicted: (rows > 0).then(|| sum / rows as f64),
        observed: (rows > 0).then(|| ones as f64 / rows as f64),
    };
    bins.into_iter().enumerate().map(bin).collect()
}

fn confusion(
    labels: &[usize],
    predicted: impl Iterator<Item = usize>,
    classes: usize,
) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; classes]; classes];
    labels.iter().zip(predicted).for_each(|(label, class)| counts[*label][class] += 1);
    counts
}

fn accuracy(confusion: &[Vec<u64>]) -> f64 {
    let right: u64 = confusion.iter().enumerate().map(|(class, row)| row[class]).sum();
    right as f64 / confusion.iter().flatten().sum::<u64>() as f64
}

/// The harmonic mean of precision and recall of a class.
fn f1(confusion: &[Vec<u64>], class: usize) -> Option<f64> {
    let right = confusion[class][class];
    let rows: u64 = confusion[class].iter().sum();
    let predicted: u64 = confusion.iter().map(|row| row[class]).sum();
    (rows + predicted > 0).then(|| 2.0 * right as f64 / (rows + predicted) as f64)
}

#[cfg(test)]
mod tests;
