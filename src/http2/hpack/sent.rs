//! What the peer's table holds of what we have sent, for encoding (RFC 7541, section 2.3.2), and where in it a field stands.
//!
//! Entries are numbered as they are inserted, and each knows the one before it in its bucket. So the way from a bucket goes
//! from newer to older ones, and ends with the first that has been evicted: nothing needs to be done for an eviction.
//! A stranger can fill one bucket, which then costs as much as looking at all entries.

use std::collections::VecDeque;

use super::OVERHEAD;

/// More than the entries that a table of 4096 bytes usually has.
const BUCKETS: usize = 64;

/// The name of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// That of this index in the static table.
    Static(u8),
    /// One that is not there.
    Own(&'a [u8]),
}

/// Its own copies of what was sent: no entry keeps a buffer of others.
#[derive(Debug)]
pub struct Sent {
    /// The newest comes first.
    entries: VecDeque<Entry>,
    /// The number of the newest entry of each bucket, or 0, which no entry has.
    buckets: Option<Box<[u64; BUCKETS]>>,
    /// The number of the newest entry.
    newest: u64,
    size: usize,
    most: usize,
}

#[derive(Debug)]
struct Entry {
    /// The name, unless it is a static one, and the value.
    bytes: Box<[u8]>,
    /// How much of them is the name.
    own_name: usize,
    /// The index of its name in the static table; 0 for one of its own.
    static_name: u8,
    hash: u32,
    /// The number of the entry before it in its bucket.
    before: u64,
    /// What it counts for (section 4.1).
    size: usize,
}

impl Sent {
    /// An empty table, which allocates nothing until something is inserted.
    pub fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), buckets: None, newest: 0, size: 0, most }
    }

    /// How large it may be, as the RFC counts.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Where this field stands, whose hash must be what it was inserted with; the newest has 0.
    #[inline]
    pub fn find(&self, hash: u32, name: Known, value: &[u8]) -> Option<usize> {
        let mut number = *self.buckets.as_ref()?.get(bucket(hash))?;
        loop {
            let place = usize::try_from(self.newest - number).ok()?;
            let entry = self.entries.get(place)?;
            if entry.hash == hash && entry.is(name, value) {
                return Some(place);
            }
            number = entry.before;
        }
    }

    /// Where an entry with this name stands, which is not a static one.
    pub fn find_name(&self, name: &[u8]) -> Option<usize> {
        self.entries.iter().position(|entry| entry.own_name == name.len() && entry.bytes.starts_with(name))
    }

    /// Inserts a field and evicts what no longer has room (section 4.4). Its size is known to the caller; it is not
    /// larger than the table.
    pub fn insert(&mut self, hash: u32, name: Known, value: &[u8], size: usize) {
        self.evict_to(self.most.saturating_sub(size));
        let (static_name, own) = match name {
            Known::Static(index) => (index, [].as_slice()),
            Known::Own(name) => (0, name),
        };
        self.newest += 1;
        let buckets = self.buckets.get_or_insert_with(|| Box::new([0; BUCKETS]));
        let before = buckets.get_mut(bucket(hash)).map_or(0, |newest| std::mem::replace(newest, self.newest));
        let bytes = [own, value].concat().into_boxed_slice();
        self.entries.push_front(Entry { bytes, own_name: own.len(), static_name, hash, before, size });
        self.size += size;
    }

    /// Changes how large it may be, and evicts what no longer has room (section 4.3).
    pub fn resize(&mut self, most: usize) {
        self.most = most;
        self.evict_to(most);
        if most == 0 {
            *self = Self { newest: self.newest, ..Self::new(0) };
        }
    }

    /// What its entries count for.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        assert_eq!(self.size, self.entries.iter().map(|entry| entry.size).sum::<usize>());
        assert!(self.size <= self.most);
        self.size
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= oldest.size;
        }
    }
}

impl Entry {
    #[inline]
    fn is(&self, name: Known, value: &[u8]) -> bool {
        match name {
            Known::Static(index) => self.static_name == index && *self.bytes == *value,
            Known::Own(name) => {
                self.own_name == name.len()
                    && self.static_name == 0
                    && self.bytes.split_at_checked(name.len()) == Some((name, value))
            }
        }
    }
}

/// What a field counts for (section 4.1).
#[inline]
pub const fn size(name: usize, value: usize) -> usize {
    name + value + OVERHEAD
}

const fn bucket(hash: u32) -> usize {
    hash as usize % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_evicted_is_not_found_and_all_else_is_even_in_one_bucket() {
        let mut sent = Sent::new(10 * size(1, 2));
        assert_eq!(sent.find(7, Known::Own(b"n"), b"00"), None);
        for number in 0..50 {
            sent.insert(7, Known::Own(b"n"), format!("{number:02}").as_bytes(), size(1, 2));
            for older in 0..=number {
                let found = sent.find(7, Known::Own(b"n"), format!("{older:02}").as_bytes());
                assert_eq!(found, Some(number - older).filter(|place| *place < 10));
            }
        }
        assert_eq!(sent.find(7, Known::Static(1), b"49"), None);
        assert_eq!(sent.find_name(b"n"), Some(0));
        sent.resize(0);
        assert_eq!(sent.find(7, Known::Own(b"n"), b"49"), None);
        sent.resize(100);
        assert_eq!(sent.find(7, Known::Own(b"n"), b"49"), None);
        sent.insert(7, Known::Own(b"n"), b"49", size(1, 2));
        assert_eq!(sent.find(7, Known::Own(b"n"), b"49"), Some(0));
    }

    #[test]
    fn a_name_and_a_value_are_not_another_name_and_the_rest() {
        let mut sent = Sent::new(4096);
        sent.insert(7, Known::Own(b"ab"), b"c", size(2, 1));
        assert_eq!(sent.find(7, Known::Own(b"a"), b"bc"), None);
        assert_eq!(sent.find(7, Known::Own(b"abc"), b""), None);
        assert_eq!(sent.find_name(b"a"), None);
        assert_eq!(sent.find(7, Known::Own(b"ab"), b"c"), Some(0));
    }
}
