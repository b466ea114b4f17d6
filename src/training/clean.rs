//! Examples become a table: read through the contract by the code that serves.

use std::collections::{BTreeMap, HashSet};

use ndarray::{Array1, Array2, ArrayView1, ArrayViewMut1, Axis};
use serde::Serialize;

use super::example::{self, Example};
use crate::cli::failure::Failure;
use crate::config::Config;
use crate::features::decode::{Decoder, Limits};
use crate::model::manifest::Contract;
use crate::quality::label::Label;

/// What was taken out, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub examples: u64,
    /// The same id again; the first one stays.
    pub duplicates: u64,
    /// The label is no number, or none of the task's classes.
    pub bad_labels: u64,
    /// By the reason that a dead letter would have.
    pub rejected: BTreeMap<String, u64>,
    pub rows: u64,
}

/// What a model is fitted on and judged by, oldest row first.
#[derive(Debug, Clone)]
pub struct Table {
    pub examples: Vec<Example>,
    /// Rows × features, in the contract's order; NaN is missing.
    pub x: Array2<f64>,
    /// A value a row; for classes their number.
    pub y: Array1<f64>,
}

/// Puts examples in order and takes out those that no model can be fitted on.
///
/// # Errors
/// The contract is unusable, or nothing is left.
pub fn clean(examples: Vec<Example>, contract: &Contract) -> Result<(Table, Counts), Failure> {
    let batch = Config::default().batch;
    let limits =
        Limits { event_bytes_max: batch.event_bytes_max, json_depth_max: batch.json_depth_max };
    let decoder = Decoder::new(&contract.features, &[], limits)
        .map_err(|error| Failure::data(format!("the contract: {error}")))?;
    let mut counts = Counts { examples: examples.len() as u64, ..Counts::default() };
    let mut seen = HashSet::new();
    let mut rows: Vec<(Example, f64, Vec<f64>)> = Vec::new();
    for example in examples {
        if !seen.insert(example.id.clone()) {
            counts.duplicates += 1;
            continue;
        }
        let label = Label::of(&example.label);
        let Some(y) = label.and_then(|label| label.target(&contract.task)) else {
            counts.bad_labels += 1;
            continue;
        };
        let mut row = vec![0.0; contract.features.len()];
        match decoder.decode(example.bytes(), ArrayViewMut1::from(&mut row), &mut []) {
            Ok(()) => rows.push((example, y, row)),
            Err(reject) => *counts.rejected.entry(reject.reason.to_string()).or_default() += 1,
        }
    }
    counts.rows = rows.len() as u64;
    if rows.is_empty() {
        return Err(Failure::data(format!(
            "no row is left to train on ({})",
            example::told(&counts)
        )));
    }
    // Stable: what is of the same time stays in its order, and so does all of no known time.
    rows.sort_by_key(|(example, ..)| example.time_ms);
    Ok((table(rows, contract.features.len()), counts))
}

fn table(rows: Vec<(Example, f64, Vec<f64>)>, features: usize) -> Table {
    let mut x = Array2::zeros((rows.len(), features));
    let mut y = Array1::zeros(rows.len());
    let mut examples = Vec::with_capacity(rows.len());
    for (number, (example, value, row)) in rows.into_iter().enumerate() {
        x.row_mut(number).assign(&Array1::from(row));
        y[number] = value;
        examples.push(example);
    }
    Table { examples, x, y }
}

impl Table {
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// The features that say nothing, by their place: all rows have the same value.
    pub fn constant_columns(&self) -> impl Iterator<Item = usize> + '_ {
        let is_constant = |column: &ArrayView1<'_, f64>| {
            column.iter().all(|cell| cell.total_cmp(&column[0]).is_eq())
        };
        let columns = self.x.columns().into_iter().enumerate();
        columns.filter(move |(_, column)| is_constant(column)).map(|(place, _)| place)
    }

    /// The oldest rows, and the newest `share` of them.
    ///
    /// # Errors
    /// One of the two would be empty.
    pub fn split(self, share: f64) -> Result<(Self, Self), Failure> {
        let held_out = (self.len() as f64 * share).round() as usize;
        if held_out == 0 || held_out == self.len() {
            return Err(Failure::data(format!(
                "{} rows are too few to hold out a share of {share} of them",
                self.len()
            )));
        }
        let row = self.len() - held_out;
        Ok(self.split_at_row(row))
    }

    /// The rows before `row`, and the others.
    pub fn split_at_row(mut self, row: usize) -> (Self, Self) {
        let newest = self.examples.split_off(row);
        let (x, newest_x) = self.x.view().split_at(Axis(0), row);
        let (y, newest_y) = self.y.view().split_at(Axis(0), row);
        let later = Self { examples: newest, x: newest_x.to_owned(), y: newest_y.to_owned() };
        let earlier = Self { x: x.to_owned(), y: y.to_owned(), examples: self.examples };
        (earlier, later)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;

    fn contract() -> Contract {
        serde_json::from_value(json!({
            "task": {"kind": "binary", "labels": ["on_time", "late"]},
            "features": [{"name": "x", "path": "/x", "kind": "number", "required": true}],
        }))
        .unwrap()
    }

    fn example(id: &str, time_ms: Option<i64>, label: Value, event: &str) -> Example {
        let event = RawValue::from_string(event.into()).unwrap();
        Example { id: id.into(), time_ms, label, event }
    }

    #[test]
    fn what_cannot_be_trained_on_is_taken_out_and_counted() {
        let examples = vec![
            example("a", Some(3), json!("late"), r#"{"x":1}"#),
            example("b", Some(1), json!(0), r#"{"x":2}"#),
            example("b", Some(1), json!(1), r#"{"x":2}"#),
            example("c", Some(2), json!(true), r#"{"x":3}"#),
            example("d", None, json!(1), r#"{"x":"no"}"#),
            example("e", None, json!(1), r#"{}"#),
            example("f", None, json!(2), r#"{"x":1}"#),
            example("g", None, json!(0.5), r#"{"x":1}"#),
            example("h", None, json!("early"), r#"{"x":1}"#),
        ];
        let (table, counts) = clean(examples, &contract()).unwrap();
        assert_eq!(table.y.to_vec(), [0.0, 1.0, 1.0]);
        assert_eq!(table.x.column(0).to_vec(), [2.0, 3.0, 1.0], "by time");
        let rejected = [("required_feature_missing".to_owned(), 1), ("wrong_kind".to_owned(), 1)];
        let expected = Counts {
            examples: 9,
            duplicates: 1,
            bad_labels: 3,
            rejected: rejected.into(),
            rows: 3,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn the_newest_rows_are_held_out() {
        let rows = (0..10).map(|n| example(&n.to_string(), Some(9 - n), json!(0), r#"{"x":1}"#));
        let (table, _) = clean(rows.collect(), &contract()).unwrap();
        let (old, new) = table.clone().split(0.2).unwrap();
        assert_eq!((old.len(), new.len(), old.x.nrows(), new.y.len()), (8, 2, 8, 2));
        assert_eq!(old.constant_columns().collect::<Vec<_>>(), [0]);
        assert_eq!(new.examples.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["1", "0"]);
        assert!(table.split(0.01).is_err());
    }
}
