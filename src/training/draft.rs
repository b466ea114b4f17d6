//! A model is fitted and becomes a bundle that nobody has judged yet.

use std::path::Path;

use indicatif::{ProgressBar, ProgressFinish};
use jiff::Timestamp;
use ndarray::{Array2, ArrayView2};
use serde_json::json;

use super::clean::Table;
use super::evaluate::{Measured, measure};
use super::fit::{FitError, Fitted, fit};
use super::settings::Settings;
use crate::cli::failure::Failure;
use crate::model::import::{Source, import};
use crate::model::manifest::{Contract, GoldenRow, Window};
use crate::model::packing::Contents;
use crate::model::reference::{ROWS_MIN, Reference};
use crate::model::{Model, Scratch};
use crate::quality::label::classes;

pub struct Draft<'a> {
    pub settings: &'a Settings,
    pub contract: &'a Contract,
}

impl Draft<'_> {
    /// Fits a model to `rows` and writes its bundle into `folder`, with golden rows of those held out.
    ///
    /// # Errors
    /// The rows are none that the model can be fitted to, or a file cannot be written.
    pub fn make(
        &self,
        version: &str,
        rows: &Table,
        held_out: &Table,
        folder: &Path,
    ) -> Result<(), Failure> {
        let fitted = self.fit(rows, "fitting")?;
        let model = model(&fitted)?;
        let golden = self.golden(&model, held_out)?;
        let reference = self.reference(&model, rows);
        let mut contract = self.contract.clone();
        contract.task.threshold = self.settings.bundle.threshold.or(contract.task.threshold);
        let training = contract.training.get_or_insert_default();
        (training.rows, training.window) = (rows.len() as u64, window(rows));
        let contents = Contents {
            model: &self.settings.model.name,
            version,
            contract,
            format: fitted.format,
            bytes: &fitted.bytes,
            iterations: None,
            golden: &golden,
            tolerance: None,
            reference,
        };
        Ok(contents.write(folder)?)
    }

    /// Cross-validation by time: fitted to the oldest rows, judged by those that came next, again and
    /// again with more of them.
    ///
    /// # Errors
    /// Those of [`Self::make`].
    pub fn folds(&self, rows: &Table) -> Result<Vec<Measured>, Failure> {
        let folds = self.settings.evaluate.folds;
        let step = rows.len() / (folds + 1);
        let fold = |number: usize| {
            let (until_then, _) = rows.clone().split_at_row((number + 1) * step);
            let (known, next) = until_then.split_at_row(number * step);
            let model = model(&self.fit(&known, &format!("fold {number} of {folds}"))?)?;
            let outputs = predict(&model, next.x.view());
            let outputs = outputs.rows().into_iter().map(|row| Some(row.to_vec())).collect();
            measure(&format!("fold {number}"), "", &self.contract.task, &next.y, outputs)
        };
        (1..=folds).map(fold).collect()
    }

    fn fit(&self, rows: &Table, what: &str) -> Result<Fitted, Failure> {
        let names: Vec<_> = self.contract.features.iter().map(|it| it.name.clone()).collect();
        let bar = ProgressBar::new_spinner()
            .with_message(format!("{what}: {} rows", rows.len()))
            .with_finish(ProgressFinish::AndClear);
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        let classes = classes(&self.contract.task);
        fit(&self.settings.fit, rows.x.view(), rows.y.view(), &names, classes).map_err(|error| {
            match error {
                FitError::Parameters(why) => Failure::configuration(format!("`fit`: {why}")),
                error => Failure::data(error.to_string()),
            }
        })
    }

    /// Held-out events, evenly spread over their time, with what the model says of them here.
    fn golden(&self, model: &Model, held_out: &Table) -> Result<Vec<u8>, Failure> {
        let outputs = predict(model, held_out.x.view());
        let count = self.settings.bundle.golden_rows.clamp(1, held_out.len());
        let mut lines = Vec::new();
        for number in 0..count {
            let row = number * held_out.len() / count;
            let event = held_out.examples[row].event.clone();
            let line = GoldenRow { event, output: outputs.row(row).to_vec() };
            lines.extend(json!(line).to_string().into_bytes());
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// What the rows were like that the model was fitted to, if they are enough to say.
    fn reference(&self, model: &Model, rows: &Table) -> Option<Reference> {
        if rows.len() < ROWS_MIN {
            eprintln!("note: fewer than {ROWS_MIN} rows: drift from them will not be looked for");
            return None;
        }
        let Contract { features, task, .. } = self.contract;
        let outputs = predict(model, rows.x.view());
        Some(Reference::of(features, task, model, rows.x.view(), outputs.view()))
    }
}

/// The span of event time of the rows, if all have one.
fn window(rows: &Table) -> Option<Window> {
    let time = |ms: i64| Timestamp::from_millisecond(ms).ok().map(|time| time.to_string());
    let (first, last) = (rows.examples.first()?.time_ms?, rows.examples.last()?.time_ms?);
    Some(Window { from: time(first)?, to: time(last + 1)? })
}

fn model(fitted: &Fitted) -> Result<Model, Failure> {
    import(Source::new(fitted.format, &fitted.bytes))
        .map_err(|error| Failure::data(format!("what was fitted cannot be read: {error}")))
}

fn predict(model: &Model, x: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut outputs = Array2::zeros((x.nrows(), model.outputs()));
    model.predict(x, &mut Scratch::default(), outputs.view_mut());
    outputs
}
