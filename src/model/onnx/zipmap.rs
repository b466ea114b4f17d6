//! A ZipMap undone.
//!
//! scikit-learn's exporter gives a classifier's probabilities as a list of dictionaries, one a
//! row, unless it is told `zipmap=False`: its last node, ZipMap, makes them of a tensor with one
//! column a class, in the order of the labels. Dictionaries cost an allocation an entry and come in
//! the order of their keys. So the node is taken out of the file, and the tensor is the output.
//!
//! Bytes of no interest are copied as they are: a message holds more than [`super::proto`] names.

use std::collections::{HashMap, HashSet};

use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use prost::{DecodeError, Message};

use super::element;
use super::proto::{Graph, Kind, Node, TensorKind, Value};

/// Numbers of the fields that are rewritten.
const MODEL_GRAPH: u32 = 7;
const GRAPH_NODE: u32 = 1;
const GRAPH_OUTPUT: u32 = 12;

/// The same file, with the tensor of probabilities as output where a ZipMap was; `None` if there
/// is no ZipMap. `graph` is what `file` holds.
pub fn undo(file: &[u8], graph: &Graph) -> Result<Option<Vec<u8>>, DecodeError> {
    let zips = zips(graph);
    if zips.is_empty() {
        return Ok(None);
    }
    let mut undone = Vec::with_capacity(file.len());
    for field in fields(file) {
        let Field { number, whole, inside } = field?;
        match (number, inside) {
            (MODEL_GRAPH, Some(graph)) => {
                put(MODEL_GRAPH, &undo_in(graph, &zips)?, &mut undone);
            }
            _ => undone.extend_from_slice(whole),
        }
    }
    Ok(Some(undone))
}

/// What ZipMaps read whose dictionaries are outputs of the model, by these outputs.
type Zips<'g> = HashMap<&'g str, &'g str>;

fn zips(graph: &Graph) -> Zips<'_> {
    let outputs: HashSet<&str> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
    let zips = graph.nodes.iter().filter_map(zip);
    zips.filter(|(output, _)| outputs.contains(output)).collect()
}

/// What a node gives and reads, if it is a ZipMap.
fn zip(node: &Node) -> Option<(&str, &str)> {
    match (&node.outputs[..], &node.inputs[..]) {
        ([output], [input]) if node.is_ml("ZipMap") => Some((output, input)),
        _ => None,
    }
}

fn undo_in(graph: &[u8], zips: &Zips<'_>) -> Result<Vec<u8>, DecodeError> {
    let mut undone = Vec::with_capacity(graph.len());
    for field in fields(graph) {
        let Field { number, whole, inside } = field?;
        match (number, inside) {
            (GRAPH_NODE, Some(node)) if is_undone(&Node::decode(node)?, zips) => {}
            (GRAPH_OUTPUT, Some(output)) => {
                let name = Value::decode(output)?.name;
                match zips.get(name.as_str()) {
                    Some(input) => {
                        put(GRAPH_OUTPUT, &floats(input).encode_to_vec(), &mut undone);
                    }
                    None => undone.extend_from_slice(whole),
                }
            }
            _ => undone.extend_from_slice(whole),
        }
    }
    Ok(undone)
}

fn is_undone(node: &Node, zips: &Zips<'_>) -> bool {
    zip(node).is_some_and(|(output, _)| zips.contains_key(output))
}

/// A tensor as ZipMap takes it; its shape the runtime infers.
fn floats(name: &str) -> Value {
    let tensor = TensorKind { element: element::F32, shape: None };
    Value { name: name.to_owned(), kind: Some(Kind { tensor: Some(tensor) }) }
}

/// One field of a message.
struct Field<'a> {
    number: u32,
    /// Key and value, as they stand.
    whole: &'a [u8],
    /// The value, if it is a message or another run of bytes.
    inside: Option<&'a [u8]>,
}

/// The fields of a message in their order, up to the first that is not whole.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<Field<'_>, DecodeError>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Result<Field<'a>, DecodeError> {
    let start = *rest;
    let (number, wire) = decode_key(rest)?;
    let value = *rest;
    skip_field(wire, number, rest, DecodeContext::default())?;
    let whole = &start[..start.len() - rest.len()];
    let mut inside = &value[..value.len() - rest.len()];
    if wire != WireType::LengthDelimited {
        return Ok(Field { number, whole, inside: None });
    }
    decode_varint(&mut inside)?;
    Ok(Field { number, whole, inside: Some(inside) })
}

fn put(number: u32, message: &[u8], into: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, into);
    encode_varint(message.len() as u64, into);
    into.extend_from_slice(message);
}
