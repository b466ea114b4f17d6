//! Requests of the [Open Inference Protocol](https://github.com/kserve/open-inference-protocol), version 2,
//! in JSON: tensors in, tensors out.
//!
//! One tensor a feature of the contract, named as the feature, of shape `[n]` or `[n, 1]`: what the event
//! would hold (a number, a truth, a category as its vocabulary spells it), but of a timestamp the part that
//! the feature is, as a number. A feature that is not required may be left out, and `null` is missing.
//! Or one BYTES tensor named `event`, which holds whole events as text.
//!
//! Rows are put together as flat events and go through the decoder like all others: what is refused on the
//! topic is refused here, for the same reason.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::events::{Fault, elements};
use super::{Answer, Refusal, Reply, Rows, all_outputs};
use crate::encode::Scored;
use crate::features::contract::{Feature, Kind, Term};
use crate::model::manifest::TaskKind;
use crate::model::version::Version;

/// The tensor that holds whole events, where no feature has its name.
const EVENT: &str = "event";
const NUMBERS: [&str; 10] =
    ["FP64", "FP32", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8"];

#[derive(Deserialize)]
struct Body<'a> {
    id: Option<String>,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(borrow)]
    outputs: Option<Vec<Output<'a>>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    shape: Vec<usize>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// What the answer has to hold.
#[derive(Debug)]
pub struct Wanted {
    id: Option<String>,
    /// Names of outputs; empty: all.
    outputs: Vec<String>,
    /// The rows are flat events, not those of production.
    pub is_flat: bool,
}

/// The contract of flat events: each feature by its name, of a timestamp the part itself.
pub fn flat(contract: &[Feature]) -> Vec<Feature> {
    let flat = |feature: &Feature| Feature {
        path: format!("/{}", feature.name.replace('~', "~0").replace('/', "~1")),
        kind: match &feature.kind {
            Kind::Timestamp { .. } => Kind::Number,
            kind => kind.clone(),
        },
        ..feature.clone()
    };
    contract.iter().map(flat).collect()
}

/// Reads a request to a model of this contract and these outputs: its rows as events, where each stands, and
/// what is wanted.
pub fn read(
    body: &[u8],
    contract: &[Feature],
    known: &[Tensor],
    rows_max: usize,
) -> Result<(Rows, Wanted), Refusal> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| {
        Refusal::Malformed(format!("this is no request of the Open Inference Protocol: {error}"))
    })?;
    let outputs: Vec<_> = body.outputs.unwrap_or_default().into_iter().map(|it| it.name).collect();
    if let Some(name) = outputs.iter().find(|name| known.iter().all(|it| it.name != **name)) {
        return Err(Refusal::Malformed(format!("there is no output `{name}`")));
    }
    let is_flat = match &body.inputs[..] {
        [one] => one.name != EVENT || contract.iter().any(|it| it.name == EVENT),
        _ => true,
    };
    let rows = if is_flat {
        flat_rows(&body.inputs, contract, rows_max)?
    } else {
        whole_events(&body.inputs[0], rows_max)?
    };
    let outputs = outputs.into_iter().map(Cow::into_owned).collect();
    Ok((rows, Wanted { id: body.id, outputs, is_flat }))
}

/// The events of a tensor of text.
fn whole_events(input: &Input<'_>, rows_max: usize) -> Result<Rows, Refusal> {
    if input.datatype != "BYTES" {
        return Err(fault(input, "holds events as text: its datatype is BYTES"));
    }
    let (mut bytes, mut rows) = (Vec::new(), Vec::new());
    for element in input.elements(rows_max)? {
        let text: Cow<'_, str> = serde_json::from_str::<Text<'_>>(element.get())
            .map_err(|_| fault(input, "holds an element that is no text"))?
            .0;
        let start = bytes.len();
        bytes.extend_from_slice(text.as_bytes());
        rows.push(start..bytes.len());
    }
    Ok((bytes, rows))
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// One flat event a row.
fn flat_rows(inputs: &[Input<'_>], contract: &[Feature], rows_max: usize) -> Result<Rows, Refusal> {
    let names: HashSet<&str> = contract.iter().map(|it| it.name.as_str()).collect();
    let mut seen = HashSet::new();
    let mut columns = Vec::with_capacity(inputs.len().min(names.len()));
    for input in inputs {
        if !names.contains(&*input.name) {
            return Err(fault(input, "is no feature of the contract"));
        }
        if !seen.insert(&*input.name) {
            return Err(fault(input, "stands there twice"));
        }
        let column = input.elements(rows_max)?;
        if let Some(odd) = column.iter().find(|it| !is_of(&input.datatype, it.get())) {
            let what: String = odd.get().chars().take(40).collect();
            return Err(fault(input, &format!("holds {what}, which is no {}", input.datatype)));
        }
        columns.push((json!(input.name).to_string(), column));
    }
    let Some(count) = columns.first().map(|(_, column)| column.len()) else {
        return Err(Refusal::Malformed("there are no inputs".into()));
    };
    if let Some((name, _)) = columns.iter().find(|(_, column)| column.len() != count) {
        return Err(Refusal::Malformed(format!(
            "input {name} has not {count} rows like the first"
        )));
    }
    let (mut bytes, mut rows) = (Vec::new(), Vec::with_capacity(count));
    for row in 0..count {
        let start = bytes.len();
        for (index, (name, column)) in columns.iter().enumerate() {
            bytes.push(if index == 0 { b'{' } else { b',' });
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b':');
            bytes.extend_from_slice(column[row].get().as_bytes());
        }
        bytes.push(b'}');
        rows.push(start..bytes.len());
    }
    Ok((bytes, rows))
}

impl<'a> Input<'a> {
    /// The elements, as many as its shape says.
    fn elements(&self, rows_max: usize) -> Result<Vec<&'a RawValue>, Refusal> {
        if self.parameters.contains_key("binary_data_size") || self.data.is_none() {
            return Err(fault(self, "has no `data`: send it as JSON, binary data is not taken"));
        }
        let count = match self.shape[..] {
            [count] | [count, 1] => count,
            _ => return Err(fault(self, "has to have shape [n] or [n, 1]")),
        };
        if count > rows_max {
            return Err(Refusal::TooMany(rows_max));
        }
        let text = self.data.map_or("[]", RawValue::get);
        let json = |fault: Fault| match fault {
            Fault::TooMany => self::fault(self, &format!("has more than {count} elements")),
            Fault::Json(error) => self::fault(self, &format!("`data`: {error}")),
        };
        let mut all = elements(text, count).map_err(json)?;
        // [[1], [2]] is [1, 2].
        if self.shape.len() == 2 && all.iter().all(|it| it.get().starts_with('[')) {
            for element in &mut all {
                match elements(element.get(), 1).map_err(json)?[..] {
                    [one] => *element = one,
                    _ => return Err(fault(self, "has a row without an element")),
                }
            }
        }
        if all.len() != count {
            let message = format!("has {} elements, its shape says {count}", all.len());
            return Err(fault(self, &message));
        }
        Ok(all)
    }
}

fn fault(input: &Input<'_>, what: &str) -> Refusal {
    Refusal::Malformed(format!("input `{}` {what}", input.name))
}

/// Does an element look like its datatype? Whether the feature takes it, the decoder says.
fn is_of(datatype: &str, element: &str) -> bool {
    element == "null"
        || match datatype {
            "BYTES" => element.starts_with('"'),
            "BOOL" => matches!(element, "true" | "false"),
            _ => {
                NUMBERS.contains(&datatype)
                    && element.starts_with(|c: char| c == '-' || c.is_ascii_digit())
            }
        }
}

/// A tensor, as metadata describes it.
#[derive(Debug, Serialize)]
pub struct Tensor {
    pub name: String,
    pub datatype: &'static str,
    /// -1: as many as there are rows.
    pub shape: Vec<i64>,
}

/// What a model takes and gives.
#[derive(Debug, Serialize)]
pub struct Metadata {
    pub name: String,
    pub versions: Vec<String>,
    pub platform: &'static str,
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
}

/// What serves, as the protocol describes models.
pub fn metadata(version: &Version) -> Metadata {
    let input = |feature: &Feature| Tensor {
        name: feature.name.clone(),
        datatype: datatype(&feature.kind),
        shape: vec![-1],
    };
    Metadata {
        name: version.model.clone(),
        versions: vec![version.version.clone()],
        platform: "foretell",
        inputs: version.contract.iter().map(input).collect(),
        outputs: outputs(version),
    }
}

fn datatype(kind: &Kind) -> &'static str {
    match kind {
        Kind::Number | Kind::Timestamp { .. } => "FP64",
        Kind::Boolean => "BOOL",
        Kind::Category { vocabulary, .. } => match vocabulary.first() {
            Some(Term::Number(_)) => "FP64",
            Some(Term::Boolean(_)) => "BOOL",
            _ => "BYTES",
        },
    }
}

/// The outputs of a version, in their order.
pub fn outputs(version: &Version) -> Vec<Tensor> {
    let (task, width) = (&version.task, version.engine.outputs());
    let tensor = |name: &str, datatype, shape| Tensor { name: name.into(), datatype, shape };
    let mut outputs = match task.kind {
        TaskKind::Binary => vec![tensor("probability", "FP64", vec![-1])],
        TaskKind::Multiclass => vec![tensor("probabilities", "FP64", vec![-1, width as i64])],
        _ if width == 1 => vec![tensor("prediction", "FP64", vec![-1])],
        _ => vec![tensor("prediction", "FP64", vec![-1, width as i64])],
    };
    if task.is_classifier() {
        outputs.push(tensor("prediction", "INT64", vec![-1]));
        if !task.labels.is_empty() {
            outputs.push(tensor("label", "BYTES", vec![-1]));
        }
    }
    outputs
}

/// The answer to a request whose rows are these of what was scored. A tensor has no place for a reject,
/// so that one row which cannot be scored refuses the request.
pub fn answer(wanted: &Wanted, rows: Range<usize>, scored: Scored<'_>) -> Reply {
    let version = scored.version;
    let all = all_outputs(scored.scores, rows)?;
    let classes = || all.iter().map(|row| version.task.class(row).unwrap_or_default());
    let tensors: Vec<Value> = outputs(version)
        .into_iter()
        .filter(|tensor| wanted.outputs.is_empty() || wanted.outputs.contains(&tensor.name))
        .map(|Tensor { name, datatype, mut shape }| {
            let data = match (datatype, shape.len()) {
                ("INT64", _) => classes().map(Value::from).collect(),
                ("BYTES", _) => {
                    let label = |class: usize| version.task.labels.get(class).cloned();
                    classes().map(|class| json!(label(class).unwrap_or_default())).collect()
                }
                (_, 1) => all.iter().map(|row| json!(row[0])).collect(),
                _ => all.iter().flat_map(|row| row.iter().map(|it| json!(it))).collect::<Vec<_>>(),
            };
            shape[0] = all.len() as i64;
            json!({"name": name, "datatype": datatype, "shape": shape, "data": data})
        })
        .collect();
    let mut body = json!({
        "model_name": version.model,
        "model_version": version.version,
        "outputs": tensors,
    });
    if let Some(id) = &wanted.id {
        body["id"] = json!(id);
    }
    if let Some(offset) = scored.control_offset {
        body["parameters"] = json!({"control_offset": offset});
    }
    Ok(Answer { body: body.to_string().into_bytes(), predicted: all.len(), rejected: 0 })
}
