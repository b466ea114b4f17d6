//! LightGBM's text format, as `Booster.save_model` writes it.
//!
//! ```text
//! tree                          the magic line
//! version=v4                    header: `key=value`, and the flag `average_output`
//! …
//!
//! Tree=0                        a block a tree
//! num_leaves=31
//! …
//! end of trees
//! …                             importances and parameters, of no use here
//! pandas_categorical:[["a"]]    categories of pandas columns, or null
//! ```
//!
//! LightGBM itself loads much that is broken (children out of range, cycles, files cut between
//! trees); what it does not check is checked here.

mod columns;
mod header;
mod section;
mod tree;

use crate::features::contract::Term;
use crate::model::forest::{Ensemble, Finish, Precision, Sum};

use super::{ImportError, Source, chosen, sniff};
use header::Header;
use section::Lines;

/// Versions whose blocks hold the keys that [`tree`] reads. LightGBM 3 writes v3.
const VERSIONS: [&str; 2] = ["v3", "v4"];

/// Reads a whole model file.
pub(super) fn read(source: Source<'_>) -> Result<Ensemble, ImportError> {
    sniff(source.bytes)?;
    let mut lines = Lines::new(source.bytes);
    let header = Header::read(&mut lines)?;
    let mut trees = Vec::new();
    let mut sizes = Vec::new();
    while lines.peek().is_some_and(|line| line.text != b"end of trees") {
        let start = lines.offset();
        trees.push(tree::read(&mut lines, trees.len(), &header)?);
        sizes.push(lines.offset() - start);
    }
    check_tree_sizes(&header, &sizes)?;
    let outputs = header.trees_per_iteration;
    if trees.is_empty() {
        return Err(ImportError::new("no trees between the header and `end of trees`"));
    }
    if !trees.len().is_multiple_of(outputs) {
        let count = trees.len();
        let what = format!(
            "{count} trees are no whole number of iterations: num_tree_per_iteration={outputs}"
        );
        return Err(ImportError::new(what));
    }
    let lists = pandas_categorical(&mut lines)?;
    let iterations = chosen(source.iterations, trees.len() / outputs)?;
    let count = iterations.len();
    trees.truncate(iterations.end * outputs);
    trees.drain(..iterations.start * outputs);
    Ok(Ensemble {
        columns: columns::columns(header.names, &header.infos, &lists),
        trees,
        sum: Sum {
            start: vec![0.0; outputs],
            precision: Precision::Double,
            finish: if header.average { Finish::Mean(count) } else { Finish::Sum },
        },
        link: header.link,
    })
}

/// Refuses what is no model of this format, and says what it is if people give it by mistake.
fn sniff(bytes: &[u8]) -> Result<(), ImportError> {
    sniff::check(bytes, "a LightGBM model")?;
    let found = if bytes.trim_ascii_start().starts_with(b"{") {
        "it is JSON, as `dump_model` writes; use `save_model`".to_owned()
    } else {
        let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
        if first.trim_ascii_end() == b"tree" {
            return Ok(());
        }
        let shown = first[..first.len().min(40)].escape_ascii();
        format!("first line 'tree' expected, found '{shown}'")
    };
    Err(ImportError::new(format!("not a LightGBM model: {found}")))
}

/// `tree_sizes` is optional, but LightGBM reads trees by it where it is given.
fn check_tree_sizes(header: &Header, sizes: &[usize]) -> Result<(), ImportError> {
    match &header.tree_sizes {
        Some((declared, line)) if declared != sizes => {
            let what = "`tree_sizes` does not agree with the bytes of the tree blocks";
            Err(ImportError::new(what).at_line(*line))
        }
        _ => Ok(()),
    }
}

/// The last line, one list for each pandas column of categories. Models that were not trained
/// from Python do not have it.
fn pandas_categorical(lines: &mut Lines<'_>) -> Result<Vec<Vec<Term>>, ImportError> {
    for line in lines {
        let Some(json) = line.text.strip_prefix(b"pandas_categorical:") else { continue };
        let lists: Option<Vec<Vec<Term>>> = serde_json::from_slice(json).map_err(|error| {
            ImportError::new(format!("`pandas_categorical`: {error}")).at_line(line.number)
        })?;
        return Ok(lists.unwrap_or_default());
    }
    Ok(Vec::new())
}
