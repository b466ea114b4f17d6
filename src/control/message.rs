//! Control messages: one JSON object a record of the control topic, keyed by the model's name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is said about a model. Unknown fields are ignored: a newer sender may say more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    },
    /// An announced version shall serve.
    Promote { model: String, version: String },
    /// The version `from` shall serve no longer; a no-op where it does not serve, so that it is
    /// safe to send twice.
    Rollback {
        model: String,
        from: String,
        /// Default: the version that served before `from`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
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
    /// It waits for `promote`; scored beside the served version where that is built.
    Shadow,
    /// It waits for `promote`.
    Hold,
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

impl Message {
    const TYPES: [&'static str; 4] = ["retrain-complete", "promote", "rollback", "retrain-request"];

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
        serde_json::from_slice(value).map_err(malformed)
    }

    /// The model it is about.
    pub fn model(&self) -> &str {
        match self {
            Self::RetrainComplete { model, .. }
            | Self::Promote { model, .. }
            | Self::Rollback { model, .. }
            | Self::RetrainRequest { model, .. } => model,
        }
    }

    /// The version that this message asks for by its name.
    pub fn asks_for(&self) -> Option<&str> {
        match self {
            Self::RetrainComplete { version, .. } | Self::Promote { version, .. } => Some(version),
            Self::Rollback { to, .. } => to.as_deref(),
            Self::RetrainRequest { .. } => None,
        }
    }

    /// Its `type`, as metrics count it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RetrainComplete { .. } => "retrain-complete",
            Self::Promote { .. } => "promote",
            Self::Rollback { .. } => "rollback",
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
