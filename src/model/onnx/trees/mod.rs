//! Ensembles of trees, kept as parallel lists in a node's attributes: the runtime walks them by the
//! numbers in them, so these have to lead somewhere.
//!
//! Operators: TreeEnsembleClassifier and TreeEnsembleRegressor ([`listed`]), and TreeEnsemble, which
//! replaces both from version 5 of `ai.onnx.ml` on ([`ensemble`]).

mod ensemble;
mod listed;

use super::element;
use super::proto::{Attribute, Graph, Node, Tensor};
use super::signature;
use crate::model::import::ImportError;

/// Deeper trees are refused: the runtime builds them by recursion, on our stack.
const DEPTH_MAX: usize = 4096;

/// Checks the trees of a graph, and of those inside its nodes.
pub fn check(graph: &Graph) -> Result<(), ImportError> {
    check_nodes(&graph.nodes, Some(graph))
}

/// Checks the trees of some nodes, and of the graphs inside them. Of a function's nodes there is no
/// graph that would tell an input's width.
pub fn check_nodes(nodes: &[Node], graph: Option<&Graph>) -> Result<(), ImportError> {
    for node in nodes {
        let width = graph.zip(node.inputs.first()).and_then(|(graph, x)| width(graph, x));
        let trees = Trees { node, width };
        match node.operator.as_str() {
            _ if node.domain != "ai.onnx.ml" => {}
            "TreeEnsembleClassifier" => listed::check(&trees, "class")?,
            "TreeEnsembleRegressor" => listed::check(&trees, "target")?,
            "TreeEnsemble" => ensemble::check(&trees)?,
            _ => {}
        }
        let inside = |attribute: &Attribute| {
            attribute.graph.as_deref().into_iter().chain(&attribute.graphs).try_for_each(check)
        };
        node.attributes.iter().try_for_each(inside)?;
    }
    Ok(())
}

/// Columns of a node's input, if it is one of the model's: those of others only the runtime infers.
fn width(graph: &Graph, name: &str) -> Option<usize> {
    let input = graph.inputs.iter().find(|input| input.name == name)?;
    let shape = input.kind.as_ref()?.tensor.as_ref()?.shape.as_ref()?;
    signature::size(shape.dimensions.get(1)?)
}

/// A node that holds trees.
struct Trees<'a> {
    node: &'a Node,
    /// Columns of its input, where known.
    width: Option<usize>,
}

impl<'a> Trees<'a> {
    fn refuse(&self, what: impl std::fmt::Display) -> ImportError {
        ImportError::new(format!("{}: {what}", self.node.title()))
    }

    /// The integers of an attribute, none where it is absent.
    fn ints(&self, name: &str) -> &'a [i64] {
        self.node.attribute(name).map_or(&[], |attribute| &attribute.ints)
    }

    fn strings(&self, name: &str) -> &'a [Vec<u8>] {
        self.node.attribute(name).map_or(&[], |attribute| &attribute.strings)
    }

    fn tensor(&self, name: &str) -> Option<&'a Tensor> {
        self.node.attribute(name)?.tensor.as_ref()
    }

    /// Numbers of an attribute: floats, or a tensor in the attribute of the same name with
    /// `_as_tensor`, which the doubles of a model are in.
    fn numbers(&self, name: &str) -> Result<Vec<f64>, ImportError> {
        match self.tensor(&format!("{name}_as_tensor")) {
            Some(tensor) => self.numbers_of(name, tensor),
            None => {
                let floats = self.node.attribute(name).map_or(&[][..], |listed| &listed.floats);
                Ok(floats.iter().map(|float| f64::from(*float)).collect())
            }
        }
    }

    fn numbers_of(&self, name: &str, tensor: &Tensor) -> Result<Vec<f64>, ImportError> {
        let read = |bytes: &[u8]| match *bytes {
            [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => f64::NAN,
        };
        match tensor.element {
            element::F32 if tensor.raw.is_empty() => {
                Ok(tensor.floats.iter().map(|float| f64::from(*float)).collect())
            }
            element::F64 if tensor.raw.is_empty() => Ok(tensor.doubles.clone()),
            element::F32 => Ok(tensor.raw.chunks_exact(4).map(read).collect()),
            element::F64 => Ok(tensor.raw.chunks_exact(8).map(read).collect()),
            other => {
                let kind = element::name(other);
                Err(self.refuse(format!("`{name}` is a tensor of {kind}, not of float or double")))
            }
        }
    }

    fn same_length(&self, name: &str, length: usize, expected: usize) -> Result<(), ImportError> {
        if length == expected {
            return Ok(());
        }
        Err(self.refuse(format!("`{name}` has {length} entries, there should be {expected}")))
    }

    /// Where the same length or nothing at all will do.
    fn same_or_none(&self, name: &str, length: usize, expected: usize) -> Result<(), ImportError> {
        if length == 0 { Ok(()) } else { self.same_length(name, length, expected) }
    }

    fn each_below(&self, name: &str, numbers: &[i64], limit: usize) -> Result<(), ImportError> {
        match numbers.iter().find(|number| place(**number, limit).is_none()) {
            None => Ok(()),
            Some(number) => {
                let what = format!("`{name}` holds {number}, there are {limit}, counted from 0");
                Err(self.refuse(what))
            }
        }
    }

    fn features(&self, features: &[i64]) -> Result<(), ImportError> {
        self.each_below("nodes_featureids", features, self.width.unwrap_or(i64::MAX as usize))
    }

    fn finite(&self, name: &str, numbers: &[f64]) -> Result<(), ImportError> {
        match numbers.iter().find(|number| !number.is_finite()) {
            None => Ok(()),
            Some(number) => Err(self.refuse(format!("`{name}` holds {number}"))),
        }
    }

    /// Checks that no way down is longer than [`DEPTH_MAX`], or leads back to where it has been.
    ///
    /// Children may be shared: LightGBM's converter writes a set of categories as a row of nodes
    /// with one child in common.
    fn acyclic(&self, children: &[[Option<usize>; 2]]) -> Result<(), ImportError> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            OnTheWay,
            Done,
        }
        let mut marks = vec![Mark::New; children.len()];
        let mut heights = vec![0_usize; children.len()];
        for root in 0..children.len() {
            let mut way = vec![root];
            while let Some(node) = way.last().copied() {
                let below = children[node].iter().flatten();
                match marks[node] {
                    Mark::New => {
                        marks[node] = Mark::OnTheWay;
                        if below.clone().any(|child| marks[*child] == Mark::OnTheWay) {
                            return Err(
                                self.refuse(format!("a cycle of tree nodes (entry {node})"))
                            );
                        }
                        way.extend(below.filter(|child| marks[**child] == Mark::New));
                    }
                    Mark::OnTheWay | Mark::Done => {
                        marks[node] = Mark::Done;
                        heights[node] = 1 + below.map(|child| heights[*child]).max().unwrap_or(0);
                        if heights[node] > DEPTH_MAX {
                            return Err(self.refuse(format!("trees are deeper than {DEPTH_MAX}")));
                        }
                        way.pop();
                    }
                }
            }
        }
        Ok(())
    }
}

/// A number of a file as a place in a list of `length`.
fn place(number: i64, length: usize) -> Option<usize> {
    usize::try_from(number).ok().filter(|place| *place < length)
}
