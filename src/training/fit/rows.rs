//! Whether there is anything to learn from the rows: smartcore panics on some of what is refused
//! here, and fits nonsense to the rest.

use ndarray::{ArrayView1, ArrayView2};

use super::FitError;

/// Rows and features there are, and each cell is a number.
pub fn check(
    x: ArrayView2<'_, f64>,
    y: ArrayView1<'_, f64>,
    features: &[String],
) -> Result<(), FitError> {
    let what = match (x.ncols(), x.nrows()) {
        (0, _) => Some("there is no feature to learn from"),
        (_, 0) => Some("there is no row to learn from"),
        (_, 1) => Some("there is but one row to learn from"),
        _ => None,
    };
    if let Some(what) = what {
        return refuse(what);
    }
    for (name, column) in features.iter().zip(x.columns()) {
        if let Some(first) = column.iter().position(|value| value.is_nan()) {
            let (missing, rows) = (column.iter().filter(|v| v.is_nan()).count(), x.nrows());
            return refuse(format!(
                "feature `{name}` is missing in {missing} of {rows} rows, first in row {first} (counted from 0)\n\n\
                 hint: give it a value for `missing` in the contract, which smartcore's models need"
            ));
        }
        if let Some(row) = column.iter().position(|value| value.is_infinite()) {
            return refuse(format!("feature `{name}` is infinite in row {row} (counted from 0)"));
        }
    }
    match y.iter().position(|target| !target.is_finite()) {
        Some(row) => refuse(format!("the target is {} in row {row} (counted from 0)", y[row])),
        None => Ok(()),
    }
}

/// The target of a regression varies.
pub fn check_target(y: ArrayView1<'_, f64>) -> Result<(), FitError> {
    if y.iter().all(|target| *target == y[0]) {
        return refuse(format!("the target is {} in every row: there is nothing to learn", y[0]));
    }
    Ok(())
}

/// There are two classes at least, each occurs, and there is no other.
pub fn check_classes(y: ArrayView1<'_, f64>, classes: usize) -> Result<(), FitError> {
    if classes < 2 {
        return refuse(format!("a classifier needs two classes at least, there is {classes}"));
    }
    let mut counts = vec![0_usize; classes];
    for (row, target) in y.iter().enumerate() {
        let class = *target as usize;
        if class as f64 != *target || class >= classes {
            let what = format!(
                "the target is {target} in row {row} (counted from 0), no class of 0 to {}",
                classes - 1
            );
            return refuse(what);
        }
        counts[class] += 1;
    }
    match counts.iter().position(|count| *count == 0) {
        Some(class) => {
            refuse(format!("class {class} does not occur; rows of each class: {counts:?}"))
        }
        None => Ok(()),
    }
}

/// Rows enough for a linear system.
pub fn check_enough(x: ArrayView2<'_, f64>) -> Result<(), FitError> {
    let (rows, features) = x.dim();
    if rows > features {
        return Ok(());
    }
    refuse(format!("{rows} rows are too few for {features} features: there must be more"))
}

/// Means and deviations are finite.
pub fn check_scales(scales: &[(f64, f64)], features: &[String]) -> Result<(), FitError> {
    let wild = scales.iter().position(|(mean, deviation)| !(mean + deviation).is_finite());
    match wild {
        Some(feature) => refuse(format!(
            "the values of feature `{}` are too large to be squared",
            features[feature]
        )),
        None => Ok(()),
    }
}

fn refuse(what: impl Into<String>) -> Result<(), FitError> {
    Err(FitError::Data(what.into()))
}
