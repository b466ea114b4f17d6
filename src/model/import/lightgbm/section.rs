//! Lines, and the `key=value` sections they make up.

use std::str::FromStr;

use memchr::memchr;

use crate::model::import::ImportError;

/// A line without its end (`\n` or `\r\n`), counted from 1.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    pub number: usize,
    pub text: &'a [u8],
}

/// Reads a file line by line.
#[derive(Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
    length: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, length: bytes.len(), number: 1 }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> usize {
        self.length - self.rest.len()
    }

    /// The next line that is not empty, left where it is; the empty ones before it are read.
    pub fn peek(&mut self) -> Option<Line<'a>> {
        while !self.rest.is_empty() {
            let (line, _) = self.split();
            if !line.text.is_empty() {
                return Some(line);
            }
            self.next();
        }
        None
    }

    fn split(&self) -> (Line<'a>, &'a [u8]) {
        let end = memchr(b'\n', self.rest);
        let (text, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &[][..]),
        };
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        (Line { number: self.number, text }, rest)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.split();
        self.rest = rest;
        self.number += 1;
        Some(line)
    }
}

/// One `key=value`; a flag's value is empty.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    pub key: &'a str,
    pub value: &'a str,
    pub line: usize,
}

/// The header, or the block of one tree.
#[derive(Debug)]
pub struct Section<'a> {
    fields: Vec<Field<'a>>,
    first_line: usize,
}

impl<'a> Section<'a> {
    /// Reads up to the line that begins the next tree or ends them all, and leaves that one.
    /// `known` are the keys a section may have, each once: one that nobody here knows may change
    /// what the others mean. `required` are those it must have.
    pub fn read(
        lines: &mut Lines<'a>,
        known: &[&str],
        required: &[&str],
    ) -> Result<Self, ImportError> {
        let mut section = Self { fields: Vec::new(), first_line: lines.number };
        loop {
            let Some(line) = lines.peek() else { return Err(section.truncated(required)) };
            if line.text.starts_with(b"Tree=") || line.text == b"end of trees" {
                break;
            }
            lines.next();
            let field = Field::read(line)?;
            // The last line of a file that was cut off may hold half a key.
            let cut = lines.rest.is_empty();
            if !cut && !known.contains(&field.key) {
                return Err(field.error(format!("unknown key `{}`", field.key.escape_debug())));
            }
            if section.optional(field.key).is_some() {
                return Err(field.error(format!("`{}` is given twice", field.key)));
            }
            section.fields.push(field);
        }
        required.iter().try_for_each(|key| section.field(key).map(drop))?;
        Ok(section)
    }

    fn truncated(&self, required: &[&str]) -> ImportError {
        let lost = required.iter().find(|key| self.optional(key).is_none());
        let lost = lost.unwrap_or(&"end of trees");
        let last = self.fields.last();
        let at = last.map_or("the start of a section", |field| field.key);
        ImportError::new(format!("truncated: the file ends at `{at}`, without `{lost}`"))
            .at_line(last.map_or(self.first_line, |field| field.line))
    }

    pub fn optional(&self, key: &str) -> Option<Field<'a>> {
        self.fields.iter().find(|field| field.key == key).copied()
    }

    pub fn field(&self, key: &str) -> Result<Field<'a>, ImportError> {
        self.optional(key)
            .ok_or_else(|| ImportError::new(format!("no `{key}` line")).at_line(self.first_line))
    }

    /// The number of a field that holds one.
    pub fn number<T: FromStr>(&self, key: &str) -> Result<T, ImportError> {
        let field = self.field(key)?;
        field.parse(field.value)
    }

    /// The numbers of a field that must hold `count`, as `because` says.
    pub fn list<T: FromStr>(
        &self,
        key: &str,
        count: usize,
        because: &str,
    ) -> Result<Vec<T>, ImportError> {
        let field = self.field(key)?;
        let mut values = Vec::with_capacity(count.min(field.value.len()));
        let mut fault = None;
        let mut found = 0;
        for word in field.words() {
            found += 1;
            match field.parse(word) {
                Ok(value) => values.push(value),
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        if found != count {
            let what = format!("`{key}` holds {found} values where {because} asks for {count}");
            return Err(field.error(what));
        }
        fault.map_or(Ok(values), Err)
    }
}

impl<'a> Field<'a> {
    fn read(line: Line<'a>) -> Result<Self, ImportError> {
        let text = std::str::from_utf8(line.text).map_err(|_| {
            let key = line.text.split(|&byte| byte == b'=').next().unwrap_or_default();
            ImportError::new(format!("`{}` is not UTF-8", key.escape_ascii())).at_line(line.number)
        })?;
        // Feature names may hold `=`: the first one ends the key.
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        Ok(Self { key, value, line: line.number })
    }

    /// What stands between spaces; groups that are empty leave several of them.
    pub fn words(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.value.split_ascii_whitespace()
    }

    pub fn parse<T: FromStr>(&self, word: &str) -> Result<T, ImportError> {
        word.parse().map_err(|_| {
            let kind = std::any::type_name::<T>();
            self.error(format!("`{}`: `{}` is no {kind}", self.key, word.escape_debug()))
        })
    }

    pub fn error(&self, what: impl Into<String>) -> ImportError {
        ImportError::new(what).at_line(self.line)
    }
}
