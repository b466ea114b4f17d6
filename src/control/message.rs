//! Control messages: one JSON object a record of the control topic, keyed by the model's name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is said about a model. Unknown fields are ignored: a newer sender may say more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Message {
    /// A version has been trained and packed.
    RetrainComplete {
        model: String,
        version: String,
        /// Where the bundle is: a path or `file://` URI that every instance can read.
        uri: String,
        /// `sha256:` and the SHA-256 of the bundle's `manifest.json`.
        digest: String,
        #[serde(default)]
        rollout: Rollout,
        /// With `shadow`: what the version has to show on an instance for that one to publish
        /// `promote`. Without it, somebody else has to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        promote_when: Option<Criteria>,
    },
    /// An announced version shall serve.
    Promote {
        model: String,
        version: String,
        /// Only if this version serves: what was decided by a comparison with it is void once
        /// another serves, and is safe to say twice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The version `from` shall serve no longer, or wait no longer; a no-op where it does neither,
    /// so that it is safe to send twice.
    Rollback {
        model: String,
        from: String,
        /// Default: the version that served before `from`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Workers that hold events back, because too many of them would be dead letters, shall let them become
    /// that. It means those that have stopped by the time they read it, and changes nothing that serves.
    Resume {
        model: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// For trainers; instances pass over it.
    RetrainRequest {
        model: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// How a new version comes to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rollout {
    /// As soon as it has passed the gate.
    #[default]
    Immediate,
    /// It waits for `promote`, and meanwhile scores what the served version scores, for comparison.
    Shadow,
    /// It waits for `promote`.
    Hold,
}

/// What a shadow has to show beside the served version, on one instance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Criteria {
    /// At least so many events scored by both.
    #[schemars(range(min = 1))]
    pub rows: u64,
    /// For at least so long, in minutes.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub minutes: f64,
    /// At most this share of the events with another class, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub flips_max: Option<f64>,
    /// An event costs at most so many times what the served version takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub cost_ratio_max: Option<f64>,
}

impl Criteria {
    /// What cannot be meant, if anything.
    fn fault(&self) -> Option<&'static str> {
        let is_amount = |number: f64| number.is_finite() && number >= 0.0;
        if self.rows == 0 {
            Some("`promote_when.rows` has to be at least 1")
        } else if !is_amount(self.minutes) {
            Some("`promote_when.minutes` has to be 0 or more")
        } else if !self.flips_max.is_none_or(|share| (0.0..=1.0).contains(&share)) {
            Some("`promote_when.flips_max` is a share, 0 to 1")
        } else if !self.cost_ratio_max.is_none_or(is_amount) {
            Some("`promote_when.cost_ratio_max` has to be 0 or more")
        } else {
            None
        }
    }
}

/// Why a record of the control topic says nothing to us. It is reported and skipped, never fatal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// A type that this version of the program does not know, perhaps a later one's.
    #[error("unknown type `{0}`")]
    UnknownType(String),
    #[error("{0}")]
    Malformed(String),
}

impl Unread {
    /// What metrics count it as.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownType(_) => "unknown",
            Self::Malformed(_) => "malformed",
        }
    }
}

impl Message {
    const TYPES: [&'static str; 5] =
        ["retrain-complete", "promote", "rollback", "resume", "retrain-request"];

    /// Reads the value of a control record.
    pub fn parse(value: &[u8]) -> Result<Self, Unread> {
        #[derive(Deserialize)]
        struct Typed {
            r#type: String,
        }
        let malformed = |error: serde_json::Error| Unread::Malformed(error.to_string());
        let Typed { r#type } = serde_json::from_slice(value).map_err(malformed)?;
        if !Self::TYPES.contains(&r#type.as_str()) {
            return Err(Unread::UnknownType(r#type));
        }
        let message: Self = serde_json::from_slice(value).map_err(malformed)?;
        match message.fault() {
            Some(fault) => Err(Unread::Malformed(fault.into())),
            None => Ok(message),
        }
    }

    /// What reads as a message and cannot be meant as one.
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            Self::RetrainComplete { promote_when: Some(criteria), rollout, .. } => match rollout {
                Rollout::Shadow => criteria.fault(),
                Rollout::Immediate | Rollout::Hold => {
                    Some("`promote_when` compares, which takes `\"rollout\": \"shadow\"`")
                }
            },
            _ => None,
        }
    }

    /// The model it is about.
    pub fn model(&self) -> &str {
        match self {
            Self::RetrainComplete { model, .. }
            | Self::Promote { model, .. }
            | Self::Rollback { model, .. }
            | Self::Resume { model, .. }
            | Self::RetrainRequest { model, .. } => model,
        }
    }

    /// The version that this message asks for by its name.
    pub fn asks_for(&self) -> Option<&str> {
        match self {
            Self::RetrainComplete { version, .. } | Self::Promote { version, .. } => Some(version),
            Self::Rollback { to, .. } => to.as_deref(),
            Self::Resume { .. } | Self::RetrainRequest { .. } => None,
        }
    }

    /// Its `type`, as metrics count it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RetrainComplete { .. } => "retrain-complete",
            Self::Promote { .. } => "promote",
            Self::Rollback { .. } => "rollback",
            Self::Resume { .. } => "resume",
            Self::RetrainRequest { .. } => "retrain-request",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_the_design_are_read() {
        let complete = br#"{"type":"retrain-complete","model":"late-arrival","version":"7","uri":"s3://m/7","digest":"sha256:ab","rollout":"hold","added_later":1}"#;
        let Message::RetrainComplete { version, rollout, .. } = Message::parse(complete).unwrap()
        else {
            panic!("another type");
        };
        assert_eq!((version.as_str(), rollout), ("7", Rollout::Hold));
        let back = br#"{"type":"rollback","model":"late-arrival","from":"7"}"#;
        assert_eq!(
            Message::parse(back).unwrap(),
            Message::Rollback {
                model: "late-arrival".into(),
                from: "7".into(),
                to: None,
                reason: None
            }
        );
    }

    #[test]
    fn criteria_that_cannot_be_meant_are_refused() {
        let parse = |rollout: &str, criteria: &str| {
            let text = format!(
                r#"{{"type":"retrain-complete","model":"m","version":"1","uri":"u","digest":"d","rollout":"{rollout}","promote_when":{criteria}}}"#
            );
            Message::parse(text.as_bytes())
        };
        assert!(parse("shadow", r#"{"rows":1000,"minutes":5,"flips_max":0.02}"#).is_ok());
        for (rollout, criteria) in [
            ("hold", r#"{"rows":1}"#),
            ("shadow", r#"{"rows":0}"#),
            ("shadow", r#"{"minutes":1}"#),
            ("shadow", r#"{"rows":1,"minutes":-1}"#),
            ("shadow", r#"{"rows":1,"flips_max":2}"#),
            ("shadow", r#"{"rows":1,"cost_ratio_max":-0.5}"#),
        ] {
            let parsed = parse(rollout, criteria);
            assert!(matches!(parsed, Err(Unread::Malformed(_))), "{rollout} {criteria}");
        }
    }

    #[test]
    fn each_type_is_known_by_its_name() {
        for kind in Message::TYPES {
            let text = format!(
                r#"{{"type":"{kind}","model":"m","version":"1","uri":"u","digest":"d","from":"1"}}"#
            );
            assert_eq!(Message::parse(text.as_bytes()).unwrap().kind(), kind);
        }
    }

    #[test]
    fn what_cannot_be_understood_is_told_apart_from_what_is_new() {
        let parse = |text: &str| Message::parse(text.as_bytes()).unwrap_err();
        assert_eq!(parse(r#"{"type":"canary"}"#), Unread::UnknownType("canary".into()));
        for broken in
            ["", "{", "[]", "null", r#"{"model":"m"}"#, r#"{"type":"promote","model":"m"}"#]
        {
            assert!(matches!(parse(broken), Unread::Malformed(_)), "{broken}");
        }
    }
}
