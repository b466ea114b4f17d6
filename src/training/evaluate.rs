//! Has a version earned its announcement?
//!
//! It is scored on rows that it was not fitted to, newer than all of those, beside the version that serves,
//! through the scorer that serves. A metric is bounded by itself, or by what the served version has.

use std::collections::BTreeMap;

use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clean::Table;
use super::corner;
use super::settings::{Bounds, Settings};
use crate::cli::failure::Failure;
use crate::features::contract::{Feature, Kind, Term};
use crate::model::manifest::{Task, TaskKind};
use crate::model::version::Version;
use crate::quality::metrics::{Classification, Regression, Undefined};
use crate::score::Scorer;

/// Rows that are scored at a time.
const TILE_ROWS: usize = 256;
/// Values of a slice that are told apart.
const VALUES_MAX: usize = 10;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evaluation {
    pub new: Measured,
    /// On the same rows.
    pub served: Option<Measured>,
    pub folds: Vec<Measured>,
    pub slices: Vec<Slice>,
    pub corner_cases: Vec<corner::Verdict>,
    /// Why it has not earned its announcement; none: it has.
    pub refusals: Vec<String>,
}

/// What was found of one version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    pub version: String,
    pub digest: String,
    /// Rows that it scored.
    pub rows: usize,
    /// Events that it refused.
    pub rejected: usize,
    pub metrics: Value,
}

/// Metrics of the rows that have one value of one feature.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Slice {
    pub feature: String,
    pub value: String,
    pub rows: usize,
    pub metrics: Value,
}

impl Measured {
    /// The metrics that are one number.
    pub fn scalars(&self) -> BTreeMap<String, f64> {
        scalars(&self.metrics)
    }
}

pub fn scalars(metrics: &Value) -> BTreeMap<String, f64> {
    let fields = metrics.as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect()
}

impl Evaluation {
    /// # Errors
    /// Why it must not be announced.
    pub fn verdict(&self) -> Result<(), Failure> {
        if self.refusals.is_empty() {
            return Ok(());
        }
        let version = &self.new.version;
        let refusals = self.refusals.join("\n  ");
        Err(Failure::data(format!(
            "version {version} has not earned its announcement:\n  {refusals}"
        )))
    }
}

/// Judges `new` by the rows of `held_out`.
///
/// # Errors
/// The corner cases cannot be read, a slice or a bound is of nothing that there is, or no row can be
/// scored.
pub fn evaluate(
    settings: &Settings,
    new: &Version,
    served: Option<&Version>,
    held_out: &Table,
    folds: Vec<Measured>,
) -> Result<Evaluation, Failure> {
    let outputs = score(new, held_out);
    let slices = slices(settings, new, held_out, &outputs)?;
    let (name, digest) = (&new.version, &new.digest);
    let measured = measure(name, digest, &new.task, &held_out.y, outputs)?;
    let served = served.map(|served| {
        let outputs = score(served, held_out);
        measure(&served.version, &served.digest, &served.task, &held_out.y, outputs)
    });
    let corner_cases = match &settings.evaluate.corner_cases {
        Some(path) => corner::judge(path, new)?,
        None => Vec::new(),
    };
    let mut evaluation = Evaluation {
        new: measured,
        served: served.transpose()?,
        folds,
        slices,
        corner_cases,
        refusals: Vec::new(),
    };
    evaluation.refusals = refusals(&evaluation, &settings.evaluate.bounds)?;
    Ok(evaluation)
}

/// What a version says of each row, `None` where it rejects the event.
fn score(version: &Version, rows: &Table) -> Vec<Option<Vec<f64>>> {
    let mut scorer = Scorer::new(TILE_ROWS);
    let mut outputs = Vec::with_capacity(rows.len());
    for tile in rows.examples.chunks(TILE_ROWS) {
        let scores = scorer.score(version, tile.iter().map(|example| example.bytes()));
        outputs.extend((0..tile.len()).map(|row| scores.outputs(row).ok().map(<[f64]>::to_vec)));
    }
    outputs
}

/// Compares labels with what a version said of them.
///
/// # Errors
/// There is nothing to compare.
pub fn measure(
    version: &str,
    digest: &str,
    task: &Task,
    y: &Array1<f64>,
    outputs: Vec<Option<Vec<f64>>>,
) -> Result<Measured, Failure> {
    let all = outputs.len();
    let scored = y.iter().zip(outputs).filter_map(|(y, outputs)| Some((*y, outputs?)));
    let (y, outputs): (Vec<f64>, Vec<Vec<f64>>) = scored.unzip();
    let metrics = metrics_of(task, &y, &outputs)
        .map_err(|error| Failure::data(format!("version {version} cannot be judged: {error}")))?;
    let (version, digest) = (version.to_owned(), digest.to_owned());
    Ok(Measured { version, digest, rows: y.len(), rejected: all - y.len(), metrics })
}

fn slices(
    settings: &Settings,
    new: &Version,
    rows: &Table,
    outputs: &[Option<Vec<f64>>],
) -> Result<Vec<Slice>, Failure> {
    let mut slices = Vec::new();
    for name in &settings.evaluate.slices {
        let column = new.contract.iter().position(|feature| feature.name == *name);
        let Some(column) = column else {
            return Err(Failure::configuration(format!(
                "`evaluate.slices` names `{name}`, which is no feature of the contract"
            )));
        };
        let mut values: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for row in 0..rows.len() {
            let value = value(&new.contract[column], rows.x[[row, column]]);
            values.entry(value).or_default().push(row);
        }
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
        for (value, of_it) in values.into_iter().take(VALUES_MAX) {
            let y = of_it.iter().map(|row| rows.y[*row]).collect();
            let outputs = of_it.iter().map(|row| outputs[*row].clone()).collect();
            let measured = measure(&new.version, "", &new.task, &y, outputs)?;
            let (rows, metrics) = (measured.rows, measured.metrics);
            slices.push(Slice { feature: name.clone(), value, rows, metrics });
        }
    }
    Ok(slices)
}

/// A cell of the matrix as the contract has it.
fn value(feature: &Feature, cell: f64) -> String {
    let term = match &feature.kind {
        Kind::Category { vocabulary, .. } if cell >= 0.0 => vocabulary.get(cell as usize),
        _ => None,
    };
    match term {
        Some(Term::Text(text)) => text.clone(),
        Some(Term::Boolean(is)) => is.to_string(),
        Some(Term::Number(number)) => number.to_string(),
        None if cell.is_nan() => "(missing)".into(),
        None => cell.to_string(),
    }
}

/// A metric of which less is better.
fn is_loss(metric: &str) -> bool {
    ["log_loss", "brier", "rmse", "mae"].contains(&metric)
}

/// Everything that speaks against the version.
fn refusals(
    evaluation: &Evaluation,
    bounds: &BTreeMap<String, Bounds>,
) -> Result<Vec<String>, Failure> {
    let mut refusals = Vec::new();
    let new = evaluation.new.scalars();
    let served = evaluation.served.as_ref().map(|served| (&served.version, served.scalars()));
    for (name, Bounds { min, max, worse_by_max }) in bounds {
        let Some(&found) = new.get(name) else {
            let known: Vec<_> = new.keys().map(String::as_str).collect();
            return Err(Failure::configuration(format!(
                "`evaluate.bounds.{name}` bounds nothing that was measured; there are {}",
                known.join(", ")
            )));
        };
        if let Some(min) = min.filter(|min| found < *min) {
            refusals.push(format!("{name} is {found:.6}, and at least {min} was asked for"));
        }
        if let Some(max) = max.filter(|max| found > *max) {
            refusals.push(format!("{name} is {found:.6}, and at most {max} was asked for"));
        }
        let (Some(by), Some((version, served))) = (worse_by_max, &served) else { continue };
        let Some(before) = served.get(name) else { continue };
        let worse_by = if is_loss(name) { found - before } else { before - found };
        if worse_by > *by {
            refusals.push(format!(
                "{name} is {found:.6}, {worse_by:.6} worse than version {version}, which serves ({before:.6}); {by} is allowed"
            ));
        }
    }
    let broken = evaluation.corner_cases.iter().filter(|case| !case.holds);
    refusals.extend(broken.map(|case| {
        format!("corner case {}: expected {}, found {}", case.line, case.expect, case.found)
    }));
    Ok(refusals)
}

/// By the task: those of classes, or those of numbers.
fn metrics_of(task: &Task, y: &[f64], outputs: &[Vec<f64>]) -> Result<Value, Undefined> {
    let classes = || y.iter().map(|class| *class as usize).collect::<Vec<_>>();
    let first = || outputs.iter().map(|outputs| outputs[0]).collect::<Vec<_>>();
    let metrics = match task.kind {
        TaskKind::Binary => {
            json!(Classification::binary(&classes(), &first(), task.threshold())?)
        }
        TaskKind::Multiclass => {
            let width = outputs.first().map_or(0, Vec::len);
            let all = Array2::from_shape_fn((outputs.len(), width), |(row, k)| outputs[row][k]);
            json!(Classification::multiclass(&classes(), all.view())?)
        }
        _ => json!(Regression::new(y, &first())?),
    };
    Ok(metrics)
}
