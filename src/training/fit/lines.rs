//! smartcore's linear models, as a [`LinearFile`].
//!
//! They are fitted to standardised columns, and their coefficients scaled back: else penalties
//! would weigh units, and solvers fail where one column counts seconds since 1970. smartcore's own
//! `normalize` computes a variance as E\[x²\] - E\[x\]², which for such a column is noise, or NaN; and
//! without it, its ridge has no intercept and lasso's is wrong.

use ndarray::{ArrayView1, ArrayView2, Axis};
use smartcore::error::Failed;
use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::lasso::{Lasso, LassoParameters};
use smartcore::linear::linear_regression::{LinearRegression, LinearRegressionParameters};
use smartcore::linear::logistic_regression::{LogisticRegression, LogisticRegressionParameters};
use smartcore::linear::ridge_regression::{RidgeRegression, RidgeRegressionParameters};

use super::{Fit, FitError, Fitted, Learner, rows, trees};
use crate::model::import::linear::{FORMAT, LinearFile, Link, VERSION};
use crate::model::manifest::Format;

pub type Logistic = LogisticRegression<f64, u32, DenseMatrix<f64>, Vec<u32>>;
pub type Linear = LinearRegression<f64, f64, DenseMatrix<f64>, Vec<f64>>;
pub type Ridge = RidgeRegression<f64, f64, DenseMatrix<f64>, Vec<f64>>;
pub type Shrunk = Lasso<f64, f64, DenseMatrix<f64>, Vec<f64>>;

/// A column's mean and standard deviation: 0 where it is constant.
type Scale = (f64, f64);

/// Of an output, a coefficient a column, and the intercept.
type Line = (Vec<f64>, f64);

pub fn line(
    fit: &Fit,
    x: ArrayView2<'_, f64>,
    y: ArrayView1<'_, f64>,
    features: Vec<String>,
) -> Result<Fitted, FitError> {
    if fit.model != Learner::Logistic {
        rows::check_enough(x)?;
    }
    let scales: Vec<Scale> = x.axis_iter(Axis(1)).map(scale).collect();
    rows::check_scales(&scales, &features)?;
    let standard = standardised(x, &scales);
    let lines: Result<Vec<Line>, Failed> = match fit.model {
        Learner::Logistic => logistic(fit, &standard, y).map(|model| classes(&model)),
        _ => least_squares(fit, &standard, y).map(|line| vec![line]),
    };
    let mut lines = lines.map_err(|why| fit.model.failed(why))?;
    lines.iter_mut().for_each(|line| scale_back(line, &scales));
    let (coefficients, intercepts): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
    if !coefficients.iter().flatten().chain(&intercepts).all(|number| number.is_finite()) {
        let why = "its coefficients are not finite: features or targets may be too large";
        return Err(fit.model.failed(why));
    }
    let link = match (fit.model, intercepts.len()) {
        (Learner::Logistic, 1) => Link::Logistic,
        (Learner::Logistic, _) => Link::Softmax,
        _ => Link::Identity,
    };
    let (format, version) = (FORMAT.into(), VERSION);
    let file = LinearFile { format, version, link, features, coefficients, intercepts };
    let bytes = serde_json::to_vec(&file).map_err(|why| fit.model.failed(why))?;
    Ok(Fitted { format: Format::Linear, bytes })
}

pub fn logistic(
    fit: &Fit,
    standard: &DenseMatrix<f64>,
    y: ArrayView1<'_, f64>,
) -> Result<Logistic, Failed> {
    let parameters = LogisticRegressionParameters::default().with_alpha(fit.alpha.unwrap_or(1.0));
    Logistic::fit(standard, &y.iter().map(|class| *class as u32).collect(), parameters)
}

/// Fitted to the target without its mean, which is then part of the intercept.
fn least_squares(
    fit: &Fit,
    standard: &DenseMatrix<f64>,
    y: ArrayView1<'_, f64>,
) -> Result<Line, Failed> {
    let (centred, mean) = centred(y);
    let (coefficients, intercept) = match fit.model {
        Learner::Ridge => {
            let model = ridge(fit, standard, &centred)?;
            (values(model.coefficients()), *model.intercept())
        }
        Learner::Lasso => {
            let model = lasso(fit, standard, &centred)?;
            (values(model.coefficients()), *model.intercept())
        }
        _ => {
            let model = linear(standard, &centred)?;
            (values(model.coefficients()), *model.intercept())
        }
    };
    Ok((coefficients, mean + intercept))
}

pub fn linear(standard: &DenseMatrix<f64>, centred: &Vec<f64>) -> Result<Linear, Failed> {
    Linear::fit(standard, centred, LinearRegressionParameters::default())
}

pub fn ridge(fit: &Fit, standard: &DenseMatrix<f64>, centred: &Vec<f64>) -> Result<Ridge, Failed> {
    let parameters = RidgeRegressionParameters::default()
        .with_alpha(fit.alpha.unwrap_or(1.0))
        .with_normalize(false);
    Ridge::fit(standard, centred, parameters)
}

pub fn lasso(fit: &Fit, standard: &DenseMatrix<f64>, centred: &Vec<f64>) -> Result<Shrunk, Failed> {
    let parameters = LassoParameters {
        alpha: fit.alpha.unwrap_or(1.0),
        normalize: false,
        tol: fit.tolerance.unwrap_or(1e-4),
        max_iter: fit.max_iter.unwrap_or(1000),
        fit_intercept: true,
    };
    Shrunk::fit(standard, centred, parameters)
}

/// The target without its mean, and the mean.
pub fn centred(y: ArrayView1<'_, f64>) -> (Vec<f64>, f64) {
    let mean = y.sum() / y.len() as f64;
    (y.iter().map(|target| target - mean).collect(), mean)
}

pub fn scale(column: ArrayView1<'_, f64>) -> Scale {
    let rows = column.len() as f64;
    let mean = column.sum() / rows;
    // By rounding, the mean of equal values need not be their value.
    if column.iter().all(|value| *value == column[0]) {
        return (mean, 0.0);
    }
    let squares = column.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, (squares / rows).sqrt())
}

/// What is constant becomes 0, and so gets the coefficient 0.
pub fn standardised(x: ArrayView2<'_, f64>, scales: &[Scale]) -> DenseMatrix<f64> {
    let mut x = x.to_owned();
    for (mut column, (mean, deviation)) in x.columns_mut().into_iter().zip(scales) {
        let constant = *deviation == 0.0;
        column.mapv_inplace(|value| if constant { 0.0 } else { (value - mean) / deviation });
    }
    trees::matrix(x.view())
}

fn scale_back((coefficients, intercept): &mut Line, scales: &[Scale]) {
    for (coefficient, (mean, deviation)) in coefficients.iter_mut().zip(scales) {
        *coefficient = if *deviation == 0.0 { 0.0 } else { *coefficient / deviation };
        *intercept -= *coefficient * mean;
    }
}

/// Of two classes, smartcore has the line of the second one.
fn classes(model: &Logistic) -> Vec<Line> {
    let (coefficients, intercepts) = (model.coefficients(), model.intercept());
    let (classes, features) = coefficients.shape();
    let line = |class| {
        let list = (0..features).map(|feature| *coefficients.get((class, feature))).collect();
        (list, *intercepts.get((class, 0)))
    };
    (0..classes).map(line).collect()
}

fn values(column: &DenseMatrix<f64>) -> Vec<f64> {
    column.iterator(0).copied().collect()
}
