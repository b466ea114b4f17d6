//! Tensors that a file holds: their data are in the file, and as many as their shape says.
//!
//! The runtime allocates by the shape that a file declares, and reads other files if asked to.

use super::element;
use super::proto::{Attribute, Graph, Node, Tensor};
use crate::model::import::ImportError;

/// Checks the initializers of a graph and the tensors in the attributes of its nodes, in their
/// subgraphs too.
pub fn check(graph: &Graph) -> Result<(), ImportError> {
    if !graph.sparse_initializers.is_empty() {
        return Err(ImportError::new(
            "the graph has sparse initializers: only dense ones are read",
        ));
    }
    for tensor in &graph.initializers {
        whole(tensor, &format!("initializer `{}`", tensor.name))?;
    }
    check_nodes(&graph.nodes)
}

pub fn check_nodes(nodes: &[Node]) -> Result<(), ImportError> {
    let attributes =
        nodes.iter().flat_map(|node| node.attributes.iter().map(move |one| (node, one)));
    for (node, attribute) in attributes {
        check_attribute(node, attribute)?;
    }
    Ok(())
}

fn check_attribute(node: &Node, attribute: &Attribute) -> Result<(), ImportError> {
    let title = || format!("attribute `{}` of {}", attribute.name, node.title());
    if attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
        return Err(ImportError::new(format!(
            "{} is sparse: only dense tensors are read",
            title()
        )));
    }
    for tensor in attribute.tensor.iter().chain(&attribute.tensors) {
        whole(tensor, &title())?;
    }
    attribute.graph.as_deref().into_iter().chain(&attribute.graphs).try_for_each(check)
}

fn whole(tensor: &Tensor, title: &str) -> Result<(), ImportError> {
    if tensor.location != 0 || !tensor.external.is_empty() {
        return Err(ImportError::new(format!(
            "{title} is in an external file: a bundle holds its model in one file, save it with the data inside"
        )));
    }
    let declared = elements(&tensor.dimensions).ok_or_else(|| {
        ImportError::new(format!("{title} has the shape {:?}", tensor.dimensions))
    })?;
    let fits = match (tensor.raw.len() as u64, element::bytes(tensor.element)) {
        (0, Some(_)) | (0, None) => listed(tensor, declared),
        (held, Some(each)) => declared.checked_mul(each) == Some(held),
        // Two elements of 4 bits stand in a byte: none is smaller.
        (held, None) => declared.div_ceil(2) <= held,
    };
    if fits {
        return Ok(());
    }
    Err(ImportError::new(format!(
        "{title} declares {declared} elements of type {}, its data are {} bytes",
        element::name(tensor.element),
        bytes_held(tensor)
    )))
}

/// `None`: a negative dimension, or more elements than can be counted.
fn elements(dimensions: &[i64]) -> Option<u64> {
    dimensions
        .iter()
        .try_fold(1_u64, |product, size| product.checked_mul(u64::try_from(*size).ok()?))
}

/// Whether a tensor's list of numbers is of the declared length. A complex number is two of them,
/// and of numbers of 4 bits, one holds several.
fn listed(tensor: &Tensor, declared: u64) -> bool {
    let Tensor { floats, ints, strings, longs, doubles, unsigned, .. } = tensor;
    let lengths = [floats.len(), ints.len(), strings.len(), longs.len(), doubles.len()];
    let held = lengths.iter().sum::<usize>() as u64 + unsigned.len() as u64;
    match tensor.element {
        14 | 15 => declared.checked_mul(2) == Some(held),
        element if element == element::TEXT || element::bytes(element).is_some() => {
            declared == held
        }
        _ => declared <= held.saturating_mul(8),
    }
}

fn bytes_held(tensor: &Tensor) -> usize {
    let strings: usize = tensor.strings.iter().map(Vec::len).sum();
    let fours = tensor.floats.len() + tensor.ints.len();
    let eights = tensor.longs.len() + tensor.doubles.len() + tensor.unsigned.len();
    tensor.raw.len() + strings + 4 * fours + 8 * eights
}
