//! Labels: what became of an event.

use serde::Deserialize;
use serde_json::Value;

use crate::model::manifest::{Task, TaskKind};

/// A longer id, or name of a class, is refused: who keeps many of them knows what they take. In bytes.
pub const TEXT_BYTES_MAX: usize = 512;

/// A label as it is told: a class by its name or number, or the target.
#[derive(Debug, Clone, PartialEq)]
pub enum Label {
    Boolean(bool),
    Number(f64),
    Text(Box<str>),
}

impl Label {
    /// `None`: nothing that could be one.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(is) => Some(Self::Boolean(*is)),
            Value::Number(number) => number.as_f64().map(Self::Number),
            Value::String(text) => Some(Self::Text(text.as_str().into())),
            _ => None,
        }
    }

    /// The number that models are fitted on and judged by: of a class, its place. `None`: it is none of this
    /// task's.
    pub fn target(&self, task: &Task) -> Option<f64> {
        if !task.is_classifier() {
            return match self {
                Self::Number(number) => Some(*number).filter(|number| number.is_finite()),
                _ => None,
            };
        }
        let class = match self {
            Self::Boolean(is) if task.kind == TaskKind::Binary => usize::from(*is),
            Self::Boolean(_) => return None,
            Self::Text(name) => task.labels.iter().position(|label| **label == **name)?,
            Self::Number(number) => {
                let class = *number as usize;
                // Neither 0.5 nor −1.
                (class as f64 == *number).then_some(class)?
            }
        };
        (class < classes(task)).then_some(class as f64)
    }
}

/// How many classes a task has; 1 for a regression.
pub fn classes(task: &Task) -> usize {
    match task.kind {
        TaskKind::Binary => 2,
        TaskKind::Multiclass => task.labels.len(),
        _ => 1,
    }
}

/// An id as text: `7` and `"7"` are the same.
pub fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A record of a labels topic, `{"id": …, "label": …}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub id: String,
    /// `None`: it was `null`, and what was told before is taken back.
    pub label: Option<Label>,
}

impl Told {
    /// Reads the value of a record; says why it is none.
    pub fn parse(value: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Record {
            id: Value,
            // What is missing is not null.
            label: Value,
        }
        let Record { id: own, label } =
            serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let id = bounded(id(&own).ok_or("`id` is neither text nor number")?, "`id`")?;
        if label.is_null() {
            return Ok(Self { id, label: None });
        }
        match Label::of(&label).ok_or("`label` is neither text, number nor boolean")? {
            Label::Text(name) if name.len() > TEXT_BYTES_MAX => Err(too_long("`label`")),
            label => Ok(Self { id, label: Some(label) }),
        }
    }
}

/// The text, if it is not too long to keep.
pub fn bounded(text: String, what: &str) -> Result<String, String> {
    if text.len() > TEXT_BYTES_MAX { Err(too_long(what)) } else { Ok(text) }
}

fn too_long(what: &str) -> String {
    format!("{what} is longer than {TEXT_BYTES_MAX} bytes")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task(kind: TaskKind, labels: &[&str]) -> Task {
        Task { kind, labels: labels.iter().map(|&label| label.into()).collect(), threshold: None }
    }

    #[track_caller]
    fn check(kind: TaskKind, labels: &[&str], label: Value, expect: Option<f64>) {
        let found = Label::of(&label).and_then(|it| it.target(&task(kind, labels)));
        assert_eq!(found, expect, "{label}");
    }

    #[test]
    fn a_label_is_a_class_by_name_or_number_or_the_target() {
        use TaskKind::{Binary, Multiclass, Regression};
        let named = ["on_time", "late"];
        check(Binary, &named, json!("late"), Some(1.0));
        check(Binary, &named, json!("lost"), None);
        check(Binary, &named, json!(true), Some(1.0));
        check(Binary, &[], json!(1), Some(1.0));
        check(Binary, &[], json!("1"), None);
        for none in [json!(2), json!(0.5), json!(-1), json!([1]), json!(null)] {
            check(Binary, &named, none, None);
        }
        check(Multiclass, &["a", "b", "c"], json!("c"), Some(2.0));
        check(Multiclass, &["a", "b", "c"], json!(3), None);
        check(Multiclass, &["a", "b", "c"], json!(true), None);
        check(Regression, &[], json!(-2.5), Some(-2.5));
        check(Regression, &[], json!("2.5"), None);
    }

    #[test]
    fn a_record_is_read_or_refused_with_its_reason() {
        let parse = |text: &str| Told::parse(text.as_bytes());
        let told = parse(r#"{"id":7,"label":"late","more":1}"#).unwrap();
        assert_eq!(told, Told { id: "7".into(), label: Some(Label::Text("late".into())) });
        assert_eq!(parse(r#"{"id":"7","label":null}"#).unwrap().label, None);
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        for (text, why) in [
            ("{".to_owned(), "EOF"),
            (r#"{"id":"7"}"#.into(), "missing field `label`"),
            (r#"{"label":1}"#.into(), "missing field `id`"),
            (r#"{"id":null,"label":1}"#.into(), "`id` is neither"),
            (r#"{"id":"7","label":[1]}"#.into(), "`label` is neither"),
            (format!(r#"{{"id":"{long}","label":1}}"#), "`id` is longer"),
            (format!(r#"{{"id":"7","label":"{long}"}}"#), "`label` is longer"),
        ] {
            let found = parse(&text).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
    }
}
