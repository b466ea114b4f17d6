//! From bytes to a graph: what is no ONNX file, or not a whole one, is refused here.

use prost::Message;

use super::proto::{Graph, Model};
use super::{tensors, wiring, zipmap};
use crate::model::import::ImportError;

/// An ONNX file that may be given to the runtime.
#[derive(Debug)]
pub struct File {
    /// What the runtime reads: the file with its ZipMaps undone.
    pub bytes: Vec<u8>,
    pub graph: Graph,
}

/// Reads a file and checks all that is checked without the runtime.
pub fn read(bytes: &[u8]) -> Result<File, ImportError> {
    is_something_else(bytes)?;
    let unreadable = |error| ImportError::new(format!("no ONNX file, or a truncated one: {error}"));
    let without_graph = || ImportError::new("the ONNX file has no graph");
    let Model { graph, functions } = Model::decode(bytes).map_err(unreadable)?;
    let mut graph = graph.ok_or_else(without_graph)?;
    let undone = zipmap::undo(bytes, &graph).map_err(unreadable)?;
    if let Some(bytes) = &undone {
        graph =
            Model::decode(bytes.as_slice()).map_err(unreadable)?.graph.ok_or_else(without_graph)?;
    }
    tensors::check(&graph)?;
    functions.iter().try_for_each(|function| tensors::check_nodes(&function.nodes))?;
    wiring::check(&graph)?;
    super::trees::check(&graph)?;
    functions.iter().try_for_each(|function| super::trees::check_nodes(&function.nodes, None))?;
    Ok(File { bytes: undone.unwrap_or_else(|| bytes.to_vec()), graph })
}

/// What people hand over by mistake.
fn is_something_else(bytes: &[u8]) -> Result<(), ImportError> {
    let what = match bytes {
        [] => "the ONNX file is empty",
        [0x1f, 0x8b, ..] => "this is a gzip file: unpack it, an ONNX file is wanted",
        [b'P', b'K', 3, 4, ..] => "this is a zip file: unpack it, an ONNX file is wanted",
        // `<` would be a field of a number that is in no ONNX message.
        [b'<', ..] => "this is a page of HTML or XML, an ONNX file is wanted",
        _ => return Ok(()),
    };
    Err(ImportError::new(what))
}
