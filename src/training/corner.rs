//! Corner cases: events, and what must hold of their predictions whatever the data says.
//!
//! A line each: `{"event": {…}, "expect": "probability <= 0.2", "why": "…"}`; `expect` may be a list. What is
//! looked at is a field of the prediction as it is published (`probability`, `label`, `prediction`,
//! `probabilities.late`), or `rejected`, which says that there must be none.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::example;
use crate::cli::failure::Failure;
use crate::config::Output;
use crate::encode::{Encoder, Scored};
use crate::model::version::Version;
use crate::score::Scorer;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    event: Box<RawValue>,
    expect: Expect,
    /// For people.
    #[serde(default)]
    why: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Expect {
    One(String),
    All(Vec<String>),
}

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq)]
enum Law {
    Rejected,
    Holds { field: String, op: Op, value: Value },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    AtMost,
    AtLeast,
    Below,
    Above,
    Is,
    IsNot,
}

const OPS: [(&str, Op); 6] = [
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
    ("==", Op::Is),
    ("!=", Op::IsNot),
    ("<", Op::Below),
    (">", Op::Above),
];

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub line: usize,
    pub expect: String,
    pub why: Option<String>,
    pub holds: bool,
    /// What the field was, or why there is no prediction.
    pub found: String,
}

/// Scores the cases of a file and judges each expectation.
///
/// # Errors
/// The file cannot be read, or says what nobody understands.
pub fn judge(path: &Path, version: &Version) -> Result<Vec<Verdict>, Failure> {
    let mut verdicts = Vec::new();
    example::each_line(path, |line, text| {
        let case: Case = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let prediction = predict(version, case.event.get().as_bytes());
        let expect = match case.expect {
            Expect::One(one) => vec![one],
            Expect::All(all) => all,
        };
        for expect in expect {
            let (holds, found) = Law::parse(&expect)?.judge(&prediction);
            verdicts.push(Verdict { line, expect, why: case.why.clone(), holds, found });
        }
        Ok(())
    })?;
    Ok(verdicts)
}

/// The very prediction that would be published, or why there would be a dead letter.
fn predict(version: &Version, event: &[u8]) -> Result<Value, String> {
    let encoder = Encoder::new("", &Output::default());
    let mut scorer = Scorer::new(1);
    let scores = scorer.score(version, std::iter::once(event));
    let scored = Scored { scores: &scores, version, control_offset: None, is_shadow: false };
    let mut prediction = Vec::new();
    encoder
        .answer_off_topic(event, 0, scored, &mut prediction)
        .map_err(|reject| format!("{}: {reject}", reject.reason))?;
    serde_json::from_slice(&prediction).map_err(|error| error.to_string())
}

impl Law {
    fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "rejected" {
            return Ok(Self::Rejected);
        }
        let parts = OPS.into_iter().find_map(|(sign, op)| Some((text.split_once(sign)?, op)));
        let Some(((field, value), op)) = parts else {
            return Err(format!(
                "`{text}` is neither `rejected` nor a field, one of <= >= == != < >, and a value"
            ));
        };
        let (field, value) = (field.trim().to_owned(), value.trim());
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        let is_ordered = !matches!(op, Op::Is | Op::IsNot);
        if field.is_empty() || (is_ordered && !value.is_number()) {
            return Err(format!("`{text}` compares nothing with a number"));
        }
        Ok(Self::Holds { field, op, value })
    }

    /// Says whether it holds, and what was found.
    fn judge(&self, prediction: &Result<Value, String>) -> (bool, String) {
        match (self, prediction) {
            (Self::Rejected, Err(why)) => (true, why.clone()),
            (Self::Rejected, Ok(prediction)) => (false, prediction.to_string()),
            (Self::Holds { .. }, Err(why)) => (false, why.clone()),
            (Self::Holds { field, op, value }, Ok(prediction)) => {
                let pointer = format!("/{}", field.replace('.', "/"));
                match prediction.pointer(&pointer) {
                    Some(found) => (op.holds(found, value), found.to_string()),
                    None => (false, format!("there is no `{field}` in {prediction}")),
                }
            }
        }
    }
}

impl Op {
    fn holds(self, found: &Value, wanted: &Value) -> bool {
        let numbers = found.as_f64().zip(wanted.as_f64());
        let is = numbers.map_or(found == wanted, |(found, wanted)| found == wanted);
        let compare = |holds: fn(f64, f64) -> bool| numbers.is_some_and(|(a, b)| holds(a, b));
        match self {
            Self::Is => is,
            Self::IsNot => !is,
            Self::AtMost => compare(|a, b| a <= b),
            Self::AtLeast => compare(|a, b| a >= b),
            Self::Below => compare(|a, b| a < b),
            Self::Above => compare(|a, b| a > b),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::tiny;

    #[test]
    fn each_expectation_is_judged_by_the_prediction_that_would_be_published() {
        // Class 1 has the probability 0.9 from x = 4.5 on, 0.1 below.
        let version = tiny::version("1", &["x"], 4.5, [0.1, 0.9]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cases.jsonl");
        let lines = [
            r#"{"event":{"x":1},"expect":"probability <= 0.2","why":"small"}"#,
            r#"{"event":{"x":9},"expect":["probability > 0.8","probability < 0.8"]}"#,
            "",
            r#"{"event":{"x":"?"},"expect":"rejected"}"#,
            r#"{"event":{"x":"?"},"expect":"probability > 0"}"#,
            r#"{"event":{"x":1},"expect":"rejected"}"#,
            r#"{"event":{"x":1},"expect":"sense == 1"}"#,
        ];
        fs::write(&path, lines.join("\n")).unwrap();
        let verdicts = judge(&path, &version).unwrap();
        let told: Vec<_> = verdicts.iter().map(|it| (it.line, it.holds)).collect();
        let expected =
            [(1, true), (2, true), (2, false), (4, true), (5, false), (6, false), (7, false)];
        assert_eq!(told, expected, "{verdicts:#?}");
        assert!(verdicts[4].found.contains("wrong_kind"), "{}", verdicts[4].found);
        for wrong in ["probability", "<= 3", "probability <= high", "{}"] {
            fs::write(&path, format!(r#"{{"event":{{}},"expect":"{wrong}"}}"#)).unwrap();
            assert!(judge(&path, &version).is_err(), "{wrong}");
        }
    }
}
