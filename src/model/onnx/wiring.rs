//! How nodes hang together: what each of them reads, something makes, and no node waits for itself.

use std::collections::{HashMap, HashSet};

use super::proto::{Graph, Node};
use crate::model::import::ImportError;

/// Checks the outermost graph; the runtime checks those inside nodes.
pub fn check(graph: &Graph) -> Result<(), ImportError> {
    let inputs = graph.inputs.iter().map(|input| input.name.as_str());
    let weights = graph.initializers.iter().map(|tensor| tensor.name.as_str());
    let given: HashSet<&str> = inputs.chain(weights).collect();
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        makers.extend(node.outputs.iter().map(|output| (output.as_str(), number)));
    }
    let known = |name: &str| given.contains(name) || makers.contains_key(name);
    for node in &graph.nodes {
        if let Some(input) = reads(node).find(|input| !known(input)) {
            let what = format!("{} reads `{input}`, which nothing makes", node.title());
            return Err(ImportError::new(what));
        }
    }
    if let Some(output) = graph.outputs.iter().find(|output| !known(&output.name)) {
        return Err(ImportError::new(format!("nothing makes the output `{}`", output.name)));
    }
    is_acyclic(&graph.nodes, &makers)
}

/// An input without a name is left out.
fn reads(node: &Node) -> impl Iterator<Item = &str> {
    node.inputs.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// Takes away node after node whose inputs are there: those of a cycle are never all there.
fn is_acyclic(nodes: &[Node], makers: &HashMap<&str, usize>) -> Result<(), ImportError> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut waits: Vec<usize> = vec![0; nodes.len()];
    for (number, node) in nodes.iter().enumerate() {
        for maker in reads(node).filter_map(|input| makers.get(input)) {
            readers[*maker].push(number);
            waits[number] += 1;
        }
    }
    let mut ready: Vec<usize> = (0..nodes.len()).filter(|number| waits[*number] == 0).collect();
    while let Some(number) = ready.pop() {
        for reader in &readers[number] {
            waits[*reader] -= 1;
            if waits[*reader] == 0 {
                ready.push(*reader);
            }
        }
    }
    match waits.iter().position(|waits| *waits > 0) {
        None => Ok(()),
        Some(number) => {
            let what = format!("{} waits for itself: a cycle of nodes", nodes[number].title());
            Err(ImportError::new(what))
        }
    }
}
