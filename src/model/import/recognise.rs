//! Which format a model file has, by what is in it: names of files say little.

use super::{ImportError, sniff};
use crate::model::manifest::Format;

/// Words that JSON of one format has and of no other, in quotes as there.
const JSON_MARKS: [(&str, Format); 5] = [
    ("\"learner\"", Format::Xgboost),
    ("\"features_info\"", Format::Catboost),
    ("\"oblivious_trees\"", Format::Catboost),
    ("\"foretell-forest\"", Format::Forest),
    ("\"foretell-linear\"", Format::Linear),
];

/// The format of a model file. Whether it is a good one is for its importer to say.
pub fn recognise(bytes: &[u8]) -> Result<Format, ImportError> {
    let first_line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match bytes {
        _ if first_line.trim_ascii_end() == b"tree" => Ok(Format::Lightgbm),
        // An object of UBJSON: after its brace, JSON has white space or a quote.
        [b'{', b'i' | b'U' | b'I' | b'l' | b'L' | b'$' | b'#', ..] => Ok(Format::Xgboost),
        // The version of ONNX's format, the first field of every file.
        [0x08, 1..=0x7f, ..] => Ok(Format::Onnx),
        _ => {
            sniff::check(bytes, "a model file that is known here")?;
            by_marks(bytes).ok_or_else(|| {
                ImportError::new(
                    "no model file that is known here: LightGBM's `save_model`, XGBoost's \
                     `save_model` to .json or .ubj, CatBoost's `save_model` with format=\"json\", \
                     ONNX, and forests and linear models as schemas/forest.schema.json and \
                     schemas/linear.schema.json have them",
                )
            })
        }
    }
}

/// The format whose mark comes first: a later one may be a feature's name.
fn by_marks(bytes: &[u8]) -> Option<Format> {
    let place = |mark: &str| bytes.windows(mark.len()).position(|part| part == mark.as_bytes());
    let marks = JSON_MARKS.iter().filter_map(|(mark, format)| Some((place(mark)?, *format)));
    marks.min_by_key(|(place, _)| *place).map(|(_, format)| format)
}
