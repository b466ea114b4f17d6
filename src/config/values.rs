//! Values that are more than a string: parsed once, correct from then on.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use minisign_verify::PublicKey;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// A JSON pointer (RFC 6901) to a value inside an event, such as `/departure/delay`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Pointer(String);

impl Pointer {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Pointer {
    type Error = String;

    /// Fails on text that does not start with `/` (the whole event is no field of it) and on a
    /// `~` that escapes nothing.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if !text.starts_with('/') {
            return Err(format!("{text:?} is no JSON pointer: one starts with `/`, as in `/id`"));
        }
        if text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            return Err(format!("{text:?} is no JSON pointer: `~` is written `~0`, and `/` `~1`"));
        }
        Ok(Self(text))
    }
}

impl JsonSchema for Pointer {
    fn schema_name() -> Cow<'static, str> {
        "Pointer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "json-pointer" })
    }
}

/// A public key of minisign: the base64 line of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustedKey {
    text: String,
    key: PublicKey,
}

impl TrustedKey {
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

impl TryFrom<String> for TrustedKey {
    type Error = String;

    /// Fails on text that is no such key, a secret one above all: it is not shown.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match PublicKey::from_base64(&text) {
            Ok(key) => Ok(Self { text, key }),
            Err(_) => Err("this is no public key of minisign: it is the line of 56 characters in \
                           its file, which begins with `RW`"
                .into()),
        }
    }
}

impl From<TrustedKey> for String {
    fn from(key: TrustedKey) -> Self {
        key.text
    }
}

impl JsonSchema for TrustedKey {
    fn schema_name() -> Cow<'static, str> {
        "TrustedKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 56, "maxLength": 56 })
    }
}

/// A bound of 0 to 1, such as the largest share of events that may be refused, or none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "NumberOrText", into = "NumberOrText")]
pub enum RatioMax {
    Off,
    /// 0 to 1.
    Share(f64),
}

/// As sources spell it; the environment has text only.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(f64),
    Text(String),
}

impl RatioMax {
    /// The bound, if there is one.
    pub fn share(self) -> Option<f64> {
        match self {
            Self::Off => None,
            Self::Share(share) => Some(share),
        }
    }
}

impl TryFrom<NumberOrText> for RatioMax {
    type Error = String;

    /// Fails on anything but `off` or a share.
    fn try_from(value: NumberOrText) -> Result<Self, Self::Error> {
        let share = match &value {
            NumberOrText::Text(text) if text == "off" => return Ok(Self::Off),
            NumberOrText::Text(text) => text.parse().ok(),
            NumberOrText::Number(number) => Some(*number),
        };
        share.filter(|share| (0.0..=1.0).contains(share)).map(Self::Share).ok_or_else(|| {
            let given = match value {
                NumberOrText::Text(text) => format!("{text:?}"),
                NumberOrText::Number(number) => number.to_string(),
            };
            format!("{given} is neither `off` nor a share of 0 to 1, such as 0.5")
        })
    }
}

impl From<RatioMax> for NumberOrText {
    fn from(ratio: RatioMax) -> Self {
        ratio.share().map_or_else(|| Self::Text("off".into()), Self::Number)
    }
}

impl JsonSchema for RatioMax {
    fn schema_name() -> Cow<'static, str> {
        "RatioMax".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["number", "string"], "minimum": 0, "maximum": 1 })
    }
}

/// What opens a door. `Debug` and `Serialize` show `***`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Token(String);

impl Token {
    /// The text itself, for who compares it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Token {
    type Error = String;

    /// Fails on text that is easily guessed or that no HTTP header holds. It is not shown.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        const LENGTH_MIN: usize = 16;
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token is made of visible ASCII characters".into());
        }
        if text.len() < LENGTH_MIN {
            return Err(format!(
                "a token has at least {LENGTH_MIN} characters, as `openssl rand -hex 32` makes it"
            ));
        }
        Ok(Self(text))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl JsonSchema for Token {
    fn schema_name() -> Cow<'static, str> {
        "Token".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 16 })
    }
}

/// Where HTTP is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    Off,
    At(SocketAddr),
}

impl Default for Listen {
    /// This machine only: health and metrics are told to others when somebody says so.
    fn default() -> Self {
        Self::At((Ipv4Addr::LOCALHOST, 8080).into())
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    /// Fails on anything but `off` or an IP address and port; names are not looked up.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| {
            format!(
                "{text:?} is neither `off` nor an IP address and port, such as \
                 `127.0.0.1:8080`, `0.0.0.0:8080` or `[::]:8080`"
            )
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}
