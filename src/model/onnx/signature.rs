//! What a model takes and gives: its inputs as columns of the matrix, its outputs as numbers a row.

use super::element;
use super::proto::{Attribute, Dimension, Graph, TensorKind, Value};
use super::terms;
use crate::features::contract::Term;
use crate::model::columns::{Column, ColumnKind};
use crate::model::import::ImportError;

/// Columns of all inputs, and rows that a file may fix. Both are a few bytes of a file that would
/// become as many numbers of ours.
const COLUMNS_MAX: usize = 1 << 16;
const ROWS_MAX: usize = 1 << 16;
/// What the strings of all text columns may take, in bytes: a file says them once, each column that is
/// compared with them has its own.
const TERMS_BYTES_MAX: usize = 256 << 20;

#[derive(Debug)]
pub struct Signature {
    pub inputs: Vec<Input>,
    /// Rows that every run has to have, where the file fixes them.
    pub batch: Option<usize>,
    /// The outputs that hold numbers a row, in their order.
    pub outputs: Vec<String>,
    /// Whether the outputs are of classes, and how many, where the file says.
    pub classifies: bool,
    pub classes: Option<usize>,
}

/// A tensor that a run is fed: some columns of the matrix.
#[derive(Debug)]
pub struct Input {
    pub name: String,
    pub cells: Cells,
    pub columns: usize,
    /// Without a second dimension: one number a row.
    pub flat: bool,
    /// For text, the strings that the graph compares it with.
    terms: Vec<String>,
}

/// What an input is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    F32,
    F64,
    I32,
    I64,
    Boolean,
    Text,
}

impl Signature {
    /// `columns`: of the contract, if there is one: an input may leave its width open.
    pub fn read(graph: &Graph, columns: Option<usize>) -> Result<Self, ImportError> {
        let mut inputs = Vec::new();
        let mut open = None;
        let mut batch = None;
        let mut terms_bytes = 0_usize;
        for (number, value) in graph.fed().enumerate() {
            let (input, rows) = input(value)?;
            if input.columns == 0 && open.replace(number).is_some() {
                return Err(unknown_width(value));
            }
            if let Some(rows) = rows {
                if batch.is_some_and(|batch| batch != rows) {
                    return Err(ImportError::new("the inputs have different numbers of rows"));
                }
                batch = Some(rows);
            }
            let input = Input { terms: terms::read_by(graph, &input), ..input };
            terms_bytes = terms_bytes.saturating_add(input.terms_bytes());
            terms_fit(terms_bytes)?;
            inputs.push(input);
        }
        if inputs.is_empty() {
            return Err(ImportError::new("the graph has no inputs"));
        }
        let wide = inputs.iter().try_fold(0_usize, |sum, input| sum.checked_add(input.columns));
        if wide.is_none_or(|wide| wide > COLUMNS_MAX) {
            let what = format!("the inputs have more than {COLUMNS_MAX} columns");
            return Err(ImportError::new(what));
        }
        if let Some(rows) = batch.filter(|rows| *rows > ROWS_MAX) {
            let what = format!("the inputs have {rows} rows, fixed: {ROWS_MAX} at most are fed");
            return Err(ImportError::new(what));
        }
        if let Some(number) = open {
            let others: usize = inputs.iter().map(|input| input.columns).sum();
            let left = columns.unwrap_or(0).saturating_sub(others);
            if left == 0 {
                return Err(ImportError::new(format!(
                    "input `{}` leaves its number of columns open",
                    inputs[number].name
                )));
            }
            inputs[number].columns = left;
            terms_fit(terms_bytes.saturating_add(inputs[number].terms_bytes()))?;
        }
        let (outputs, has_label) = outputs(graph)?;
        let listed = listed_classes(graph);
        // skl2onnx calls the distances of clusters and the scores of anomaly detectors `scores`; a
        // label stands beside them too.
        let classifies = (has_label || listed.is_some()) && outputs != ["scores"];
        let classes = listed.or_else(|| declared_width(graph, &outputs)).filter(|_| classifies);
        Ok(Self { inputs, batch, outputs, classifies, classes })
    }

    /// The columns in their order: those of the first input, then those of the next.
    pub fn columns(&self) -> Vec<Column> {
        self.inputs.iter().flat_map(Input::as_columns).collect()
    }
}

fn terms_fit(bytes: usize) -> Result<(), ImportError> {
    if bytes > TERMS_BYTES_MAX {
        let what =
            format!("the strings of its text columns take more than {TERMS_BYTES_MAX} bytes");
        return Err(ImportError::new(what));
    }
    Ok(())
}

impl Input {
    /// What its columns' strings take, each column's its own; one where the width is left open.
    fn terms_bytes(&self) -> usize {
        let bytes: usize = self.terms.iter().map(|term| size_of::<Term>() + term.len()).sum();
        bytes.saturating_mul(self.columns.max(1))
    }

    fn as_columns(&self) -> impl Iterator<Item = Column> {
        let column = |number| {
            let kind = match self.cells {
                Cells::Text => {
                    ColumnKind::Terms(self.terms.iter().cloned().map(Term::Text).collect())
                }
                _ => ColumnKind::Number,
            };
            match self.columns {
                1 => Column::named(&self.name, kind),
                // The file has one name for all of them.
                _ => Column { name: format!("{}_{number}", self.name), named: false, kind },
            }
        };
        (0..self.columns).map(column)
    }
}

/// An input, and the rows that it fixes. Columns are 0 where they are left open.
fn input(value: &Value) -> Result<(Input, Option<usize>), ImportError> {
    let refuse = |what: String| ImportError::new(format!("input `{}` {what}", value.name));
    let TensorKind { element, shape } =
        tensor(value).ok_or_else(|| refuse("is no tensor".into()))?;
    let cells = match *element {
        element::F32 => Cells::F32,
        element::F64 => Cells::F64,
        element::I32 => Cells::I32,
        element::I64 => Cells::I64,
        element::BOOLEAN => Cells::Boolean,
        element::TEXT => Cells::Text,
        other => {
            let name = element::name(other);
            return Err(refuse(format!(
                "is of type {name}: float, double, int32, int64, bool and string are fed"
            )));
        }
    };
    let shape = shape.as_ref().map_or(&[][..], |shape| &shape.dimensions);
    let (rows, columns) = match shape {
        [rows] => (rows, 1),
        [rows, columns] => (rows, size(columns).unwrap_or(0)),
        _ => {
            return Err(refuse(format!(
                "has {} dimensions: rows, or rows and columns, are fed",
                shape.len()
            )));
        }
    };
    let name = value.name.clone();
    let input = Input { name, cells, columns, flat: shape.len() == 1, terms: Vec::new() };
    Ok((input, size(rows)))
}

/// The classes that a node lists, if there are two at least.
fn listed_classes(graph: &Graph) -> Option<usize> {
    let classes = |attribute: &Attribute| match attribute.name.as_str() {
        "classlabels_int64s" | "classlabels_ints" => Some(attribute.ints.len()),
        "classlabels_strings" => Some(attribute.strings.len()),
        _ => None,
    };
    let attributes = graph.nodes.iter().flat_map(|node| &node.attributes);
    attributes.filter_map(classes).max().filter(|classes| *classes > 1)
}

/// Numbers a row of the only output, where the file says.
fn declared_width(graph: &Graph, outputs: &[String]) -> Option<usize> {
    let [name] = outputs else { return Some(outputs.len()) };
    let output = graph.outputs.iter().find(|output| output.name == *name)?;
    size(tensor(output)?.shape.as_ref()?.dimensions.get(1)?)
}

fn unknown_width(value: &Value) -> ImportError {
    ImportError::new(format!("input `{}` is the second to leave its columns open", value.name))
}

/// The outputs that hold numbers, and whether there is a label beside them.
///
/// A score or a probability is fractional, a label is an integer or a string. Several fractional
/// outputs are the columns of one answer (`zipmap='columns'`). Without any, integers are the
/// answer: a model that gives nothing but a numeric label.
fn outputs(graph: &Graph) -> Result<(Vec<String>, bool), ImportError> {
    let (mut fractional, mut labels) = (Vec::new(), Vec::new());
    for output in &graph.outputs {
        let name = output.name.clone();
        let Some(TensorKind { element, .. }) = tensor(output) else {
            return Err(ImportError::new(format!("output `{name}` is no tensor")));
        };
        match *element {
            element::F32 | element::F64 => fractional.push(name),
            element::I32 | element::I64 | element::BOOLEAN => labels.push((name, true)),
            element::TEXT => labels.push((name, false)),
            other => {
                let of = element::name(other);
                return Err(ImportError::new(format!(
                    "output `{name}` is of type {of}: float, double, int32, int64, bool are read"
                )));
            }
        }
    }
    let label = labels.first().cloned();
    match (fractional.is_empty(), label) {
        (false, label) => Ok((fractional, label.is_some())),
        (true, Some((label, true))) => Ok((vec![label], false)),
        (true, Some((label, false))) => Err(ImportError::new(format!(
            "the only output is `{label}`, of strings: scores or probabilities are wanted"
        ))),
        (true, None) => Err(ImportError::new("the graph has no outputs")),
    }
}

fn tensor(value: &Value) -> Option<&TensorKind> {
    value.kind.as_ref()?.tensor.as_ref()
}

/// A dimension that the file fixes; 0 and less are what some exporters write for an open one.
pub fn size(dimension: &Dimension) -> Option<usize> {
    dimension.size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0)
}
