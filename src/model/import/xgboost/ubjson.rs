//! Universal Binary JSON, draft 12 (<https://ubjson.org>), as a serde data format.
//!
//! Every value is a marker byte and what it says; numbers are big-endian. A container may give the
//! number of its values (`#`), and the marker that they all share (`$`). A length is believed no
//! further than there are bytes for it.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Deeper nesting is refused: the stack is not the file's to fill.
pub const DEPTH_MAX: usize = 64;

#[derive(Debug)]
pub struct Reader<'de> {
    bytes: &'de [u8],
    at: usize,
    depth: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

impl<'de> Reader<'de> {
    pub fn new(bytes: &'de [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// Bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The value that comes next.
    pub fn value(&mut self) -> Result<Value<'_, 'de>, Error> {
        let marker = self.marker()?;
        Ok(Value { reader: self, marker })
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: usize) -> Result<&'de [u8], Error> {
        if count > self.left() {
            return Err(Error("truncated: the file ends within a value".into()));
        }
        let taken = &self.bytes[self.at..][..count];
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("as many as were taken"))
    }

    /// The next marker that is not the no-op.
    fn marker(&mut self) -> Result<u8, Error> {
        loop {
            let [marker] = self.array()?;
            if marker != b'N' {
                return Ok(marker);
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn whole(&mut self, marker: u8) -> Result<Option<i64>, Error> {
        Ok(Some(match marker {
            b'i' => i8::from_be_bytes(self.array()?).into(),
            b'U' => u8::from_be_bytes(self.array()?).into(),
            b'I' => i16::from_be_bytes(self.array()?).into(),
            b'l' => i32::from_be_bytes(self.array()?).into(),
            b'L' => i64::from_be_bytes(self.array()?),
            _ => return Ok(None),
        }))
    }

    /// A length of things that take `size` bytes each. Those that take none are held to as many
    /// as there are bytes, too: nothing that XGBoost writes has such.
    fn length(&mut self, size: usize) -> Result<usize, Error> {
        let marker = self.marker()?;
        let Some(length) = self.whole(marker)? else {
            return Err(Error(format!("a length has marker `{}`", marker.escape_ascii())));
        };
        let bytes = usize::try_from(length).ok().and_then(|count| count.checked_mul(size.max(1)));
        match bytes {
            Some(bytes) if bytes <= self.left() => Ok(length as usize),
            _ => {
                let left = self.left();
                let what = format!(
                    "truncated, or wrong: a length of {length} where {left} bytes are left"
                );
                Err(Error(what))
            }
        }
    }

    fn text(&mut self) -> Result<&'de str, Error> {
        let length = self.length(1)?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| Error("a string is not UTF-8".into()))
    }

    /// What stands before the first value of a container.
    fn begin(&mut self) -> Result<Container, Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error(format!("values nest deeper than {DEPTH_MAX}")));
        }
        let mut container = Container { marker: None, left: None };
        if self.peek() == Some(b'$') {
            let [_, marker] = self.array()?;
            container.marker = Some(marker);
        }
        if self.peek() == Some(b'#') {
            self.take(1)?;
            container.left = Some(self.length(container.marker.map_or(1, size))?);
        } else if container.marker.is_some() {
            return Err(Error("values of one type without a length".into()));
        }
        Ok(container)
    }
}

/// Bytes that a value with this marker takes after it, at least.
fn size(marker: u8) -> usize {
    match marker {
        b'Z' | b'T' | b'F' | b'N' => 0,
        b'I' => 2,
        b'l' | b'd' => 4,
        b'L' | b'D' => 8,
        b'S' | b'H' => 2,
        _ => 1,
    }
}

/// A value whose marker was read.
#[derive(Debug)]
pub struct Value<'a, 'de> {
    reader: &'a mut Reader<'de>,
    marker: u8,
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self { reader, marker } = self;
        match marker {
            b'Z' => visitor.visit_unit(),
            b'T' => visitor.visit_bool(true),
            b'F' => visitor.visit_bool(false),
            b'd' => visitor.visit_f64(f32::from_be_bytes(reader.array()?).into()),
            b'D' => visitor.visit_f64(f64::from_be_bytes(reader.array()?)),
            b'C' => visitor.visit_char(reader.array::<1>()?[0].into()),
            b'S' => visitor.visit_borrowed_str(reader.text()?),
            // A number too large for the other markers, as JSON writes it.
            b'H' => match reader.text()?.parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(Error("a high-precision number is none".into())),
            },
            b'[' => {
                let container = reader.begin()?;
                visitor.visit_seq(Values { reader, container })
            }
            b'{' => {
                let container = reader.begin()?;
                visitor.visit_map(Values { reader, container })
            }
            _ => match reader.whole(marker)? {
                Some(number) => visitor.visit_i64(number),
                None => Err(Error(format!("unknown marker `{}`", marker.escape_ascii()))),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.marker == b'Z' { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// How a container's values stand in the file.
#[derive(Debug, Clone, Copy)]
struct Container {
    /// The marker that all values share.
    marker: Option<u8>,
    /// Values to come, where they are counted; else an end marker comes after the last.
    left: Option<usize>,
}

struct Values<'a, 'de> {
    reader: &'a mut Reader<'de>,
    container: Container,
}

impl Values<'_, '_> {
    /// Is there another value? If not, the container is left.
    fn more(&mut self, end: u8) -> Result<bool, Error> {
        let more = match &mut self.container.left {
            Some(left) => {
                let more = *left > 0;
                *left = left.saturating_sub(1);
                more
            }
            None => {
                while self.reader.peek() == Some(b'N') {
                    self.reader.take(1)?;
                }
                let more = self.reader.peek() != Some(end);
                if !more {
                    self.reader.take(1)?;
                }
                more
            }
        };
        if !more {
            self.reader.depth -= 1;
        }
        Ok(more)
    }
}

impl<'de> Values<'_, 'de> {
    fn next<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let marker = match self.container.marker {
            Some(marker) => marker,
            None => self.reader.marker()?,
        };
        seed.deserialize(Value { reader: self.reader, marker })
    }
}

impl<'de> SeqAccess<'de> for Values<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if self.more(b']')? { self.next(seed).map(Some) } else { Ok(None) }
    }
}

impl<'de> MapAccess<'de> for Values<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if !self.more(b'}')? {
            return Ok(None);
        }
        let key = self.reader.text()?;
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.next(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    fn read(bytes: &[u8]) -> Result<serde_json::Value, String> {
        let mut reader = Reader::new(bytes);
        let value = reader.value().and_then(serde_json::Value::deserialize);
        value.map_err(|error| error.to_string())
    }

    #[test]
    fn every_marker_is_read() {
        let file = b"{i\x01aZi\x01bTi\x01cFi\x01d[i\xffU\xffI\x01\x00l\x00\x01\x00\x00NL\0\0\0\0\0\0\0\x07]\
                     i\x01e[d\x3f\xc0\0\0D\x3f\xf8\0\0\0\0\0\0CzSi\x02\xc3\xa9HU\x031e2]\
                     i\x01f[$I#i\x02\0\x01\0\x02i\x01g{#i\x01i\x01hi\x03i\x01i{$i#i\x01i\x01k\x05}";
        let wanted = serde_json::json!({
            "a": null, "b": true, "c": false, "d": [-1, 255, 256, 65536, 7],
            "e": [1.5, 1.5, "z", "é", 100.0], "f": [1, 2], "g": {"h": 3}, "i": {"k": 5},
        });
        assert_eq!(read(file), Ok(wanted));
    }

    #[test]
    fn lengths_are_believed_as_far_as_there_are_bytes() {
        for file in
            [&b"[$d#L\x7f\0\0\0\0\0\0\0"[..], b"[$Z#l\x7f\0\0\0", b"Si\xff", b"[#i\x09i\x01"]
        {
            let error = read(file).unwrap_err();
            assert!(error.contains("length"), "{error}");
        }
        assert!(read(&b"[".repeat(100_000)).unwrap_err().contains("nest"));
        assert!(read(b"[i").unwrap_err().contains("truncated"));
        assert!(read(b"Q").unwrap_err().contains("marker `Q`"));
        assert!(read(b"[$i").unwrap_err().contains("without a length"));
    }
}
