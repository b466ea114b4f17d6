//! Predictions as they stand on their topic: what a version said of an event, and no more than it takes to judge
//! that.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::label::{bounded, id};
use crate::model::manifest::TaskKind;

/// Of more classes nothing is kept: a confusion matrix has their square.
const CLASSES_MAX: usize = 1_000;

/// What a version said of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Binary {
        class: usize,
        /// Of class 1.
        probability: f64,
    },
    /// By class.
    Multiclass(Box<[f64]>),
    Value(f64),
}

impl Said {
    /// The task of a model that says such a thing; whatever has a number alone counts as a regression.
    pub fn kind(&self) -> TaskKind {
        match self {
            Self::Binary { .. } => TaskKind::Binary,
            Self::Multiclass(_) => TaskKind::Multiclass,
            Self::Value(_) => TaskKind::Regression,
        }
    }
}

/// A record of the predictions topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    pub id: String,
    pub model: String,
    pub version: String,
    /// Offset of the control message that chose the version; `None`: the configuration did.
    pub control_offset: Option<i64>,
    pub said: Said,
    /// What it tells of its classes' names: each with the class' number.
    pub names: Vec<(usize, String)>,
}

impl Prediction {
    /// Reads the value of a record; says why it cannot be judged.
    pub fn parse(value: &[u8]) -> Result<Self, String> {
        let record: Record = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let Record {
            id: own,
            prediction,
            label,
            probability,
            probabilities,
            model,
            version,
            control_offset,
        } = record;
        let id = bounded(id(&own).ok_or("`id` is neither text nor number")?, "`id`")?;
        let version = bounded(version, "`version`")?;
        let class = || class(&prediction).ok_or("`prediction` is no class");
        let (said, names) = match (probability, probabilities) {
            (Some(probability), _) if (0.0..=1.0).contains(&probability) => {
                let class = class().and_then(|it| {
                    if it < 2 { Ok(it) } else { Err("`prediction` is neither 0 nor 1") }
                })?;
                (
                    Said::Binary { class, probability },
                    label.map(|name| (class, name)).into_iter().collect(),
                )
            }
            (Some(_), _) => return Err("`probability` is none".into()),
            (None, Some(Probabilities(by_name))) => {
                if class()? >= by_name.len() {
                    return Err("`prediction` is none of the classes in `probabilities`".into());
                }
                if by_name.len() > CLASSES_MAX {
                    return Err(format!("it has more than {CLASSES_MAX} classes"));
                }
                let (names, probabilities): (Vec<_>, Vec<_>) = by_name.into_iter().unzip();
                (Said::Multiclass(probabilities.into()), names.into_iter().enumerate().collect())
            }
            (None, None) => {
                let value = prediction.as_f64().ok_or("`prediction` is no single number")?;
                (Said::Value(value), Vec::new())
            }
        };
        for (_, name) in &names {
            bounded(name.clone(), "a class' name")?;
        }
        Ok(Self { id, model, version, control_offset, said, names })
    }
}

fn class(prediction: &Value) -> Option<usize> {
    prediction.as_u64().and_then(|class| class.try_into().ok())
}

/// The fields that count; others are passed over.
#[derive(Deserialize)]
struct Record {
    id: Value,
    prediction: Value,
    label: Option<String>,
    probability: Option<f64>,
    probabilities: Option<Probabilities>,
    model: String,
    version: String,
    control_offset: Option<i64>,
}

/// In the order in which they stand there, which is that of the classes: a map of serde_json has lost it.
struct Probabilities(Vec<(String, f64)>);

impl<'de> Deserialize<'de> for Probabilities {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Probabilities;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the probability of each class")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Probabilities(entries))
            }
        }
        from.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<Prediction, String> {
        let text =
            format!(r#"{{"id":"a","model":"m","version":"7","control_offset":null,{rest}}}"#);
        Prediction::parse(text.as_bytes())
    }

    #[test]
    fn predictions_of_every_task_are_read() {
        let binary = parse(r#""prediction":1,"label":"late","probability":0.75"#).unwrap();
        assert_eq!(binary.said, Said::Binary { class: 1, probability: 0.75 });
        assert_eq!(binary.names, [(1, "late".into())]);
        // Not in the order of the alphabet.
        let several =
            parse(r#""prediction":1,"label":"b","probabilities":{"c":0.25,"b":0.5,"a":0.25}"#)
                .unwrap();
        assert_eq!(several.said, Said::Multiclass([0.25, 0.5, 0.25].into()));
        assert_eq!(several.names[0], (0, "c".into()));
        let number = parse(r#""prediction":-12.5"#).unwrap();
        assert_eq!((number.said, number.names), (Said::Value(-12.5), Vec::new()));
        assert_eq!((number.id.as_str(), number.version.as_str()), ("a", "7"));
    }

    #[test]
    fn what_cannot_be_judged_is_refused_with_its_reason() {
        for (rest, why) in [
            (r#""prediction":[1,2]"#, "no single number"),
            (r#""prediction":2,"probability":0.5"#, "neither 0 nor 1"),
            (r#""prediction":1,"probability":1.5"#, "`probability` is none"),
            (r#""prediction":3,"probabilities":{"a":1}"#, "none of the classes"),
            (r#""label":"late""#, "missing field `prediction`"),
        ] {
            let found = parse(rest).unwrap_err();
            assert!(found.contains(why), "{rest}: {found}");
        }
    }

    /// What an instance writes is what is read here.
    #[test]
    fn fields_are_those_of_the_encoder() {
        use crate::encode::{Outcome, Prediction as Written};
        let written = Written {
            id: None,
            prediction: Outcome::Class(1),
            label: Some("late"),
            probability: Some(0.5),
            probabilities: None,
            model: "m",
            version: "7",
            control_offset: Some(3),
            input: None,
            carry: None,
        };
        let mut text = serde_json::to_value(written).unwrap();
        text["id"] = 5.into();
        let read = Prediction::parse(text.to_string().as_bytes()).unwrap();
        assert_eq!((read.id.as_str(), read.model.as_str()), ("5", "m"));
        assert_eq!(read.said, Said::Binary { class: 1, probability: 0.5 });
    }
}
