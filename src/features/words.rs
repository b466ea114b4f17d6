//! A fixed set of short strings, each with a number.

use std::collections::HashMap;

/// Object keys and their places, or a vocabulary's strings and their codes.
#[derive(Debug, Default)]
pub struct Words {
    numbers: HashMap<Box<str>, usize>,
}

impl Words {
    /// The number of `word`, if it is in the set.
    pub fn get(&self, word: &str) -> Option<usize> {
        self.numbers.get(word).copied()
    }
}

impl FromIterator<(String, usize)> for Words {
    /// The words are expected to differ.
    fn from_iter<I: IntoIterator<Item = (String, usize)>>(words: I) -> Self {
        Self { numbers: words.into_iter().map(|(word, n)| (word.into_boxed_str(), n)).collect() }
    }
}
