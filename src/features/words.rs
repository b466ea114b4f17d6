//! A fixed set of short strings, each with a number: object keys and the places they lead to, a
//! vocabulary's strings and their codes.
//!
//! Every key of every event is looked up here. Keys and categories are short, and a string of up
//! to 16 bytes is told from all others by its length and its first and last 8 bytes; a longer one
//! is compared as well. The standard hash map costs 0.4 µs more an event.

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

/// The first and last 8 bytes of a word, and its length; of a word of less than 8, which the first
/// hold (the rest is 0), there are no last.
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
        let len = word.len();
        // Where two reads overlap they read the same bits, which may be put together by `or`.
        let (first, last) =
            if let (Some(first), Some(last)) = (word.first_chunk(), word.last_chunk()) {
                (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
            } else if let (Some(low), Some(high)) = (word.first_chunk(), word.last_chunk()) {
                let [low, high] = [low, high].map(|four| u64::from(u32::from_le_bytes(*four)));
                (low | high << (8 * (len - 4)), 0)
            } else if let (Some(&low), Some(&high)) = (word.first(), word.last()) {
                let [low, middle, high] = [low, word[len / 2], high].map(u64::from);
                (low | middle << (8 * (len / 2)) | high << (8 * (len - 1)), 0)
            } else {
                (0, 0)
            };
        Self { first, last, len }
    }

    /// The print of the first `len` bytes of `text`. With 8 bytes at hand a short word takes one
    /// read, and a processor has no length to guess.
    #[inline]
    fn of_beginning(text: &[u8], len: usize) -> Self {
        match text.first_chunk() {
            Some(eight) if (1..8).contains(&len) => {
                let first = u64::from_le_bytes(*eight) & (u64::MAX >> (64 - 8 * len));
                Self { first, last: 0, len }
            }
            _ => Self::of(&text[..len]),
        }
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
        self.find(Print::of(word.as_bytes()), word.as_bytes())
    }

    /// The number of the word that the first `len` bytes of `text` are, if it is in the set.
    #[inline]
    pub fn get_beginning(&self, text: &[u8], len: usize) -> Option<usize> {
        self.find(Print::of_beginning(text, len), &text[..len])
    }

    #[inline]
    fn find(&self, print: Print, word: &[u8]) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = print.slot(self.slots.len());
        while let Some(slot) = &self.slots[at] {
            if slot.print == print && (print.len <= Print::LEN_MAX || slot.word.as_bytes() == word)
            {
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
            for after in ["", "\": 12345"] {
                let text = format!("{word}{after}");
                assert_eq!(set.get_beginning(text.as_bytes(), word.len()), Some(number), "{text}");
            }
        }
        for word in ["aab", "aabaaaaa", "beginning-3-the-end", "é"] {
            assert_eq!(set.get(word), None, "{word}");
        }
        assert_eq!(Words::default().get(""), None);
    }
}
