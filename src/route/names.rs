//! Words that are found by hash: hosts, domains and segments of paths, each under a number of its own.
//!
//! Invariant: a look-up compares the word itself, so hashes decide nothing but the time that it takes. What is stored
//! comes from the configuration alone; strangers only ask. The words of a table stand in one text, since a hundred
//! thousand small allocations would cost more than the words.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Any seed will do: what it makes of a word is never seen.
const HASHER: FixedState = FixedState::with_seed(0);

/// See the module's documentation; `V` is what is found.
#[derive(Debug)]
pub(super) struct Names<V> {
    text: Vec<u8>,
    entries: HashTable<Entry<V>>,
}

#[derive(Debug)]
struct Entry<V> {
    /// Words under different numbers are different.
    under: u32,
    start: u32,
    end: u32,
    value: V,
}

impl<V: Copy> Names<V> {
    pub fn new() -> Names<V> {
        Names { text: Vec::new(), entries: HashTable::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is stored for `word` under this number.
    pub fn find(&self, under: u32, word: &[u8]) -> Option<V> {
        let same = |entry: &Entry<V>| entry.under == under && word_of(&self.text, entry) == word;
        self.entries.find(hash(under, word), same).map(|entry| entry.value)
    }

    /// Stores a value for a word that is not there yet.
    pub fn insert(&mut self, under: u32, word: &[u8], value: V) {
        debug_assert!(self.find(under, word).is_none(), "each word is stored once");
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let start = place(self.text.len());
        self.text.extend_from_slice(word);
        let entry = Entry { under, start, end: place(self.text.len()), value };
        let text = &self.text;
        self.entries.insert_unique(hash(under, word), entry, |entry| hash(entry.under, word_of(text, entry)));
    }

    /// Gives back what was reserved for words that never came.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
        let text = &self.text;
        self.entries.shrink_to_fit(|entry| hash(entry.under, word_of(text, entry)));
    }
}

fn word_of<'a, V>(text: &'a [u8], entry: &Entry<V>) -> &'a [u8] {
    text.get(entry.start as usize..entry.end as usize).unwrap_or_default()
}

fn hash(under: u32, word: &[u8]) -> u64 {
    let mut hasher = HASHER.build_hasher();
    hasher.write_u32(under);
    hasher.write(word);
    hasher.finish()
}
