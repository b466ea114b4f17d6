//! What may happen to a model file: for tests that no damage makes its reading panic.

use proptest::prelude::*;

/// What a damaged disk, a careless editor or an attacker makes of a file.
#[derive(Debug, Clone)]
pub enum Damage {
    Cut(prop::sample::Index),
    Byte(prop::sample::Index, u8),
    Gone(prop::sample::Index),
    Twice(prop::sample::Index),
    Word(prop::sample::Index, &'static str),
    Line { from: prop::sample::Index, to: prop::sample::Index },
}

impl Damage {
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Byte(at, byte) => *at.get_mut(bytes) = *byte,
            Self::Gone(at) => {
                bytes.remove(at.index(bytes.len()));
            }
            Self::Twice(at) => {
                let at = at.index(bytes.len());
                bytes.insert(at, bytes[at]);
            }
            Self::Word(at, word) => {
                let start = at.index(bytes.len());
                let is_end = |byte: &u8| byte.is_ascii_whitespace() || b",]}".contains(byte);
                let length = bytes[start..].iter().position(is_end).unwrap_or(0);
                bytes.splice(start..start + length, word.bytes());
            }
            Self::Line { from, to } => {
                let mut lines: Vec<Vec<u8>> =
                    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                let line = from.get(&lines).clone();
                lines.insert(to.index(lines.len()), line);
                *bytes = lines.concat();
            }
        }
    }
}

/// Some damages, one after another.
pub fn damages() -> impl Strategy<Value = Vec<Damage>> {
    prop::collection::vec(damage(), 1..4)
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    let words =
        vec!["-1", "99999999999", "nan", "inf", "1e400", "", "0", "8", "Tree=1", "is_linear=1"];
    prop_oneof![
        2 => index().prop_map(Damage::Cut),
        // In files of numbers, most of what a byte does is make another number.
        3 => (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        1 => index().prop_map(Damage::Gone),
        1 => index().prop_map(Damage::Twice),
        3 => (index(), prop::sample::select(words)).prop_map(|(at, word)| Damage::Word(at, word)),
        2 => (index(), index()).prop_map(|(from, to)| Damage::Line { from, to }),
    ]
}
