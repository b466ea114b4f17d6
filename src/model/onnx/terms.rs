//! The strings that a graph knows: what it compares a text input with.

use std::collections::HashSet;

use super::proto::{Graph, Node};
use super::signature::{Cells, Input};

/// Lists of strings that are compared with what a node reads: OneHotEncoder, LabelEncoder, and
/// LabelEncoder before version 2 of `ai.onnx.ml`.
const LISTS: [&str; 3] = ["cats_strings", "keys_strings", "classes_strings"];

/// Operators that hand strings on, unchanged though perhaps in another shape or with others.
const CARRIERS: [&str; 12] = [
    "Identity",
    "Cast",
    "Reshape",
    "Concat",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Split",
    "Gather",
    "Transpose",
    "ArrayFeatureExtractor",
];

/// The strings that nodes compare a text input with, in the order of the file, each once. Inputs
/// that are joined before they are encoded share theirs.
pub fn read_by(graph: &Graph, input: &Input) -> Vec<String> {
    if input.cells != Cells::Text {
        return Vec::new();
    }
    let mut carried = HashSet::from([input.name.as_str()]);
    let mut terms: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    // Exporters write nodes in the order that they run in.
    for node in &graph.nodes {
        if !node.inputs.iter().any(|name| carried.contains(name.as_str())) {
            continue;
        }
        terms.extend(listed(node).filter(|term| seen.insert(term.clone())));
        if CARRIERS.contains(&node.operator.as_str()) {
            carried.extend(node.outputs.iter().map(String::as_str));
        }
    }
    terms
}

fn listed(node: &Node) -> impl Iterator<Item = String> {
    let lists = LISTS.iter().filter_map(|name| node.attribute(name));
    lists.flat_map(|list| &list.strings).map(|string| String::from_utf8_lossy(string).into_owned())
}
