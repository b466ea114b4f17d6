//! The keys that exist, read off the JSON schema of `Config`: nothing is listed twice.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;
use toml::Value;

use super::Config;

/// A key of the configuration, as documentation and the loader see it.
pub struct Key {
    path: String,
    schema: Json,
    /// What each entry of a table with free names (`kafka.properties`) may hold.
    entry: Option<Box<Key>>,
}

/// What is wrong with a value, and what would help.
pub(super) struct Refusal {
    pub message: String,
    pub hint: Option<String>,
}

impl Key {
    fn new(path: String, schema: &Json) -> Self {
        let entry = schema.get("additionalProperties").filter(|entry| entry.is_object());
        let entry = entry.map(|entry| Box::new(Self::new(format!("{path}.*"), entry)));
        Self { path, schema: schema.clone(), entry }
    }

    /// Section and name: `batch.rows_max`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it is, and its unit.
    pub fn description(&self) -> &str {
        self.schema["description"].as_str().unwrap_or_default()
    }

    /// What it is when nobody sets it; null where it then is absent.
    pub fn default(&self) -> &Json {
        &self.schema["default"]
    }

    /// Must somebody set it? Yes where the default breaks the key's own rule.
    pub fn is_required(&self) -> bool {
        self.default() == "" && self.schema["minLength"] != Json::Null
    }

    /// Is it a table whose entries have free names?
    pub fn is_table(&self) -> bool {
        self.entry.is_some()
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("FORETELL_{}", self.path.to_uppercase().replace('.', "_"))
    }

    /// The values it is chosen from; none where it is no choice.
    pub fn choices(&self) -> Vec<&str> {
        // A choice whose variants are documented is a list of constants.
        let alternatives = self.schema["oneOf"].as_array().into_iter().flatten();
        std::iter::once(&self.schema)
            .chain(alternatives)
            .flat_map(|schema| {
                schema["enum"].as_array().into_iter().flatten().chain(schema.get("const"))
            })
            .filter_map(Json::as_str)
            .collect()
    }

    /// The JSON types it accepts.
    fn types(&self) -> Vec<&str> {
        match &self.schema["type"] {
            Json::String(name) => vec![name],
            Json::Array(names) => {
                names.iter().filter_map(Json::as_str).filter(|&name| name != "null").collect()
            }
            _ => vec!["string"], // a choice
        }
    }

    pub(super) fn takes_text(&self) -> bool {
        self.types().contains(&"string")
    }

    /// Fails on a value of another type, outside the range, or not among the choices.
    pub(super) fn check(&self, value: &Value) -> Result<(), Refusal> {
        let json_type = json_type(value);
        let types = self.types();
        let is_whole = json_type == "integer" && types.contains(&"number");
        if !types.contains(&json_type) && !is_whole {
            return Err(self.wrong_type(value));
        }
        match value {
            Value::Integer(integer) => self.check_range(*integer as f64),
            Value::Float(float) => self.check_range(*float),
            Value::String(text) => self.check_text(text),
            _ => Ok(()),
        }
    }

    // The value itself is not shown: text in the wrong place may be a secret.
    fn wrong_type(&self, value: &Value) -> Refusal {
        let expected: Vec<_> = self.types().into_iter().map(with_article).collect();
        let message =
            format!("expected {}, found {}", expected.join(" or "), with_article(value.type_str()));
        let hint = match self.types()[0] {
            "integer" if self.path.ends_with("_ms") => Some("write milliseconds as a plain number"),
            "integer" if self.path.contains("bytes") => Some("write bytes as a plain number"),
            "array" => Some(r#"write it as `["one", "two"]`"#),
            "object" => Some(r#"write it as `{ name = "value" }`"#),
            _ => None,
        };
        Refusal { message, hint: hint.map(Into::into) }
    }

    /// Bounds are far below 2^53, from where on f64 does not hold every integer.
    fn check_range(&self, number: f64) -> Result<(), Refusal> {
        let bound = |name: &str| self.schema[name].as_f64();
        let message = match (bound("minimum"), bound("maximum")) {
            (Some(min), _) if number < min => {
                format!("{number} is below {min}, the least there can be")
            }
            (_, Some(max)) if number > max => {
                format!("{number} is above {max}, the most there can be")
            }
            _ if !number.is_finite() => format!("{number} is no amount"),
            _ => return Ok(()),
        };
        let default = self.default();
        let hint = default.is_number().then(|| format!("the default is {default}"));
        Err(Refusal { message, hint })
    }

    fn check_text(&self, text: &str) -> Result<(), Refusal> {
        let choices = self.choices();
        if !choices.is_empty() && !choices.contains(&text) {
            let quoted: Vec<_> = choices.iter().map(|choice| format!("`{choice}`")).collect();
            let hint = nearest(text, choices.iter().copied())
                .map(|choice| format!("did you mean `{choice}`?"));
            return Err(Refusal {
                message: format!("{text:?} is none of {}", quoted.join(", ")),
                hint,
            });
        }
        if text.is_empty() && self.schema["minLength"] != Json::Null {
            return Err(Refusal { message: "must not be empty".into(), hint: None });
        }
        Ok(())
    }
}

/// All keys, and questions about them.
pub(super) struct Known(Vec<Key>);

/// The schema does not change while the process runs: one derivation serves.
pub(super) static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<Config>();
    let mut keys = Vec::new();
    collect(String::new(), schema.as_value(), &mut keys);
    Known(keys)
});

impl Known {
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// The key at `path`: one of the list, or an entry of a table with free names.
    pub fn find(&self, path: &str) -> Option<&Key> {
        let listed = self.0.iter().find(|key| key.path == path);
        listed.or_else(|| {
            self.0.iter().find_map(|key| {
                let name = path.strip_prefix(&key.path)?.strip_prefix('.')?;
                key.entry.as_deref().filter(|_| !name.is_empty())
            })
        })
    }

    /// Does a table there hold keys: a section, or a table with free names and what is in it?
    /// (A dotted property needs no quotes: `sasl.username` is a table within a table.)
    pub fn holds_keys(&self, path: &str) -> bool {
        let free = |key: &Key| key.is_table() || key.path != path;
        self.is_section(path) || self.find(path).is_some_and(free)
    }

    /// Is it a section, such as `batch`?
    pub fn is_section(&self, path: &str) -> bool {
        self.sections().any(|section| section == path)
    }

    /// What whoever wrote the unknown `path` may have meant.
    pub fn hint(&self, path: &str) -> String {
        let name = |path: &str| path.rsplit('.').next().map(str::to_owned);
        let elsewhere = self.0.iter().map(Key::path).find(|known| name(known) == name(path));
        let alike = || {
            if path.contains('.') {
                nearest(path, self.0.iter().map(Key::path))
            } else {
                nearest(path, self.sections())
            }
        };
        match elsewhere.or_else(alike) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if path.starts_with("kafka.") => {
                "librdkafka's properties go under `[kafka.properties]`".into()
            }
            None => "config/foretell.toml shows every key".into(),
        }
    }

    fn sections(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|key| key.path.split_once('.')).map(|(section, _)| section)
    }
}

fn collect(path: String, schema: &Json, keys: &mut Vec<Key>) {
    let Some(properties) = schema["properties"].as_object() else {
        return keys.push(Key::new(path, schema));
    };
    for (name, schema) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(path, schema, keys);
    }
}

/// The candidate that looks most like `word`, if any looks like it: letters off by a few, or the
/// same words in another order.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    const ALIKE: f64 = 0.65;
    let likeness = |candidate: &str| {
        strsim::normalized_damerau_levenshtein(word, candidate)
            .max(strsim::sorensen_dice(word, candidate))
    };
    candidates
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Table(_) => "object",
        Value::Float(_) => "number",
        other => other.type_str(),
    }
}

fn with_article(type_name: &str) -> String {
    match type_name {
        "object" => "a table".into(),
        "array" | "integer" => format!("an {type_name}"),
        _ => format!("a {type_name}"),
    }
}
