//! A fixed set of short strings, each with a number: object keys and the places they lead to, a
//! vocabulary's strings and their codes.
//!
//! Every key of every event is looked up here. Keys and categories are short, and a string of up
//! to 16 bytes is told from all others by its length and two overlapping reads of 8, 4 or 1
//! bytes; a longer one is compared as well. The standard hash map costs 0.4 µs more an event.

/// The set, as an open hash table that is at most half full.
#[derive(Debug, Default)]
pub struct Words {
    /// A power of two long, or empty.
    slots: Vec<Option<Slot>>,
}

#[derive(Debug, Clone)]
struct Slot {
    print: Print,
    number: usize,
    word: Box<str>,
}

/// The first and last bytes of a word, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print {
    first: u64,
    last: u64,
    len: usize,
}

impl Print {
    /// Longest word of which a print leaves out nothing.
    const LEN_MAX: usize = 16;

    #[inline]
    fn of(word: &[u8]) -> Self {
        let (first, last) =
            if let (Some(first), Some(last)) = (word.first_chunk(), word.last_chunk()) {
                (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
            } else if let (Some(first), Some(last)) = (word.first_chunk(), word.last_chunk()) {
                (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
            } else if let (Some(first), Some(last)) = (word.first(), word.last()) {
                let middle = u64::from(word[word.len() / 2]);
                (u64::from(*first) | middle << 8, u64::from(*last))
            } else {
                (0, 0)
            };
        Self { first, last, len: word.len() }
    }

    /// The slot to begin with, in a table of 2^n slots: the upper bits of a product, on which all
    /// bits have worked.
    #[inline]
    fn slot(self, slots: usize) -> usize {
        let mixed = self.first ^ self.last.rotate_left(29) ^ (self.len as u64) << 56;
        let product = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (product >> 32) as usize & (slots - 1)
    }
}

impl Words {
    /// The number of `word`, if it is in the set.
    #[inline]
    pub fn get(&self, word: &str) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let print = Print::of(word.as_bytes());
        let mut at = print.slot(self.slots.len());
        while let Some(slot) = &self.slots[at] {
            if slot.print == print && (print.len <= Print::LEN_MAX || *slot.word == *word) {
                return Some(slot.number);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        None
    }
}

impl FromIterator<(String, usize)> for Words {
    /// The words are expected to differ.
    fn from_iter<I: IntoIterator<Item = (String, usize)>>(words: I) -> Self {
        let words: Vec<_> = words.into_iter().collect();
        if words.is_empty() {
            return Self::default();
        }
        let mut slots = vec![None; (words.len() * 2).next_power_of_two()];
        for (word, number) in words {
            let print = Print::of(word.as_bytes());
            let mut at = print.slot(slots.len());
            while slots[at].is_some() {
                at = (at + 1) & (slots.len() - 1);
            }
            slots[at] = Some(Slot { print, number, word: word.into_boxed_str() });
        }
        Self { slots }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_every_length_are_told_apart() {
        let lengths = (0..40).flat_map(|len| ["a", "b"].map(|letter| letter.repeat(len)));
        // Alike in all that a print sees.
        let alike = ["beginning-1-the-end", "beginning-2-the-end"].map(str::to_owned);
        let words: Vec<_> = lengths.skip(1).chain(alike).collect();
        let set: Words = words.iter().cloned().zip(0..).collect();
        for (number, word) in words.iter().enumerate() {
            assert_eq!(set.get(word), Some(number), "{word}");
        }
        for word in ["aab", "aabaaaaa", "beginning-3-the-end", "é"] {
            assert_eq!(set.get(word), None, "{word}");
        }
        assert_eq!(Words::default().get(""), None);
    }
}
