//! What the document says of its columns.

use crate::features::contract::Term;
use crate::model::columns::{Column, ColumnKind};
use crate::model::import::ImportError;

use super::document::{Encoding, Learner, Whole};

/// Without names of its own a model has columns by declaration alone.
const UNNAMED_MAX: usize = 1 << 16;

/// Names, kinds and categories. `encodings` stand in column order, none or one a column.
pub fn columns(learner: &Learner, encodings: &[Encoding]) -> Result<Vec<Column>, ImportError> {
    let Learner { feature_names: names, feature_types: types, .. } = learner;
    let count = learner.learner_model_param.num_feature.0;
    agrees("feature_names", names.len(), count)?;
    agrees("feature_types", types.len(), count)?;
    agrees("cats", encodings.len(), count)?;
    if names.is_empty() && count > UNNAMED_MAX {
        let what = format!(
            "num_feature={count} without feature_names: more than {UNNAMED_MAX} are refused"
        );
        return Err(ImportError::new(what));
    }
    let column = |number: usize| {
        let category = types.get(number).is_some_and(|kind| kind == "c");
        let terms = match encodings.get(number) {
            Some(encoding) => terms(encoding)
                .map_err(|error| ImportError::new(format!("`cats` of column {number}: {error}")))?,
            None => Vec::new(),
        };
        let kind = match (category, terms.is_empty()) {
            (_, false) => ColumnKind::Coded(terms),
            (true, true) => ColumnKind::Codes,
            (false, true) => ColumnKind::Number,
        };
        Ok(match names.get(number) {
            Some(name) => Column::named(name, kind),
            None => Column { name: format!("f{number}"), named: false, kind },
        })
    };
    (0..count).map(column).collect()
}

fn agrees(key: &str, found: usize, features: usize) -> Result<(), ImportError> {
    if found == 0 || found == features {
        return Ok(());
    }
    Err(ImportError::new(format!("`{key}` describes {found} columns where num_feature={features}")))
}

/// A column's categories, by code.
fn terms(encoding: &Encoding) -> Result<Vec<Term>, ImportError> {
    let values = encoding.values.iter().map(|value| value.0);
    let Some(offsets) = &encoding.offsets else {
        return Ok(values.map(Term::Number).collect());
    };
    // Signed or not: the bytes of UTF-8 all the same.
    let bytes: Vec<u8> = values.map(|value| value as i64 as u8).collect();
    let text = |pair: &[Whole]| {
        let [start, end] = [pair[0].0, pair[1].0].map(|at| usize::try_from(at).ok());
        let bytes = start.zip(end).and_then(|(start, end)| bytes.get(start..end));
        let bytes = bytes.ok_or_else(|| ImportError::new("`offsets` are beyond `values`"))?;
        let text =
            std::str::from_utf8(bytes).map_err(|_| ImportError::new("a category is not UTF-8"))?;
        Ok(Term::Text(text.to_owned()))
    };
    offsets.windows(2).map(text).collect()
}
