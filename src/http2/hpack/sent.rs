//! What the peer's table holds of what we have sent, for encoding (RFC 7541, section 2.3.2), and where in it a field stands.
//!
//! Entries are numbered as they are inserted, and each knows the one before it in its bucket. So the way from a bucket goes
//! from newer to older ones, and ends with the first that has been evicted: nothing needs to be done there for an eviction.
//! A stranger can fill one bucket, which then costs as much as looking at all entries.

use super::OVERHEAD;
use super::fingerprint::same;

/// More than the entries that a table of 4096 bytes usually has.
const BUCKETS: usize = 64;

/// What a ring begins with; a power of two.
const SHORTEST_RING: usize = 8;

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
    /// A ring: the entry of a number has the place that is its remainder by the length, which is a power of two, or 0 before
    /// something is inserted.
    ring: Vec<Entry>,
    /// The number of the newest entry of each bucket, or 0, which no entry has.
    buckets: Option<Box<[u64; BUCKETS]>>,
    /// The number of the newest entry.
    newest: u64,
    /// The number of the oldest entry; larger than that of the newest if there is none.
    oldest: u64,
    size: usize,
    most: usize,
}

#[derive(Debug)]
struct Entry {
    /// Its number, or [`NOBODY`].
    number: u64,
    /// The number of the entry before it in its bucket.
    before: u64,
    hash: u32,
    /// The index of its name in the static table; 0 for one of its own.
    static_name: u8,
    /// The name, unless it is a static one, and the value.
    bytes: Box<[u8]>,
    /// How much of them is the name.
    own_name: usize,
    /// What it counts for (section 4.1).
    size: usize,
}

/// The number of what is no entry.
const NOBODY: u64 = u64::MAX;

impl Sent {
    /// An empty table, which allocates nothing until something is inserted.
    pub fn new(most: usize) -> Self {
        Self { ring: Vec::new(), buckets: None, newest: 0, oldest: 1, size: 0, most }
    }

    /// How large it may be, as the RFC counts.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Where this field stands, whose hash must be what it was inserted with; the newest has 0.
    #[inline(always)]
    pub fn find(&self, hash: u32, name: Known, value: &[u8]) -> Option<usize> {
        let newest = *self.buckets.as_ref()?.get(bucket(hash))?;
        let entry = self.with_hash(hash, newest)?;
        let found = if entry.is(name, value) { entry } else { self.find_before(entry, name, value)? };
        usize::try_from(self.newest - found.number).ok()
    }

    /// What `find` looks for, before an entry that only has its hash.
    #[cold]
    fn find_before(&self, entry: &Entry, name: Known, value: &[u8]) -> Option<&Entry> {
        let mut entry = self.with_hash(entry.hash, entry.before)?;
        while !entry.is(name, value) {
            entry = self.with_hash(entry.hash, entry.before)?;
        }
        Some(entry)
    }

    /// The newest entry with this hash, from this number on backwards in its bucket.
    #[inline(always)]
    fn with_hash(&self, hash: u32, mut number: u64) -> Option<&Entry> {
        loop {
            let entry = self.ring.get(self.place(number)).filter(|entry| entry.number == number)?;
            if entry.hash == hash {
                return Some(entry);
            }
            number = entry.before;
        }
    }

    /// Where an entry with this name stands, which is not a static one.
    pub fn find_name(&self, name: &[u8]) -> Option<usize> {
        let has_name = |entry: &Entry| entry.own_name == name.len() && entry.bytes.starts_with(name);
        (self.oldest..=self.newest).rev().position(|number| self.ring.get(self.place(number)).is_some_and(has_name))
    }

    /// Inserts a field and evicts what no longer has room (section 4.4). Its size is known to the caller; it is not
    /// larger than the table.
    pub fn insert(&mut self, hash: u32, name: Known, value: &[u8], size: usize) {
        self.evict_to(self.most.saturating_sub(size));
        if self.newest + 1 - self.oldest == self.ring.len() as u64 {
            self.grow();
        }
        let (static_name, own) = match name {
            Known::Static(index) => (index, [].as_slice()),
            Known::Own(name) => (0, name),
        };
        self.newest += 1;
        let buckets = self.buckets.get_or_insert_with(|| Box::new([0; BUCKETS]));
        let before = buckets.get_mut(bucket(hash)).map_or(0, |newest| std::mem::replace(newest, self.newest));
        let bytes = [own, value].concat().into_boxed_slice();
        self.put(Entry { number: self.newest, before, hash, static_name, bytes, own_name: own.len(), size });
        self.size += size;
    }

    /// Changes how large it may be, and evicts what no longer has room (section 4.3).
    pub fn resize(&mut self, most: usize) {
        self.most = most;
        self.evict_to(most);
        if most == 0 {
            *self = Self { newest: self.newest, oldest: self.newest + 1, ..Self::new(0) };
        }
    }

    /// What its entries count for.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        assert_eq!(self.size, self.ring.iter().map(|entry| entry.size).sum::<usize>());
        assert!(self.size <= self.most);
        self.size
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size {
            let place = self.place(self.oldest);
            let Some(oldest) = self.ring.get_mut(place) else { return };
            self.size -= oldest.size;
            *oldest = Entry::nobody();
            self.oldest += 1;
        }
    }

    /// Makes the ring twice as long.
    fn grow(&mut self) {
        let longer = (self.ring.len() * 2).max(SHORTEST_RING);
        let entries = std::mem::take(&mut self.ring);
        self.ring.resize_with(longer, Entry::nobody);
        entries.into_iter().filter(|entry| entry.number != NOBODY).for_each(|entry| self.put(entry));
    }

    fn put(&mut self, entry: Entry) {
        let place = self.place(entry.number);
        if let Some(nobody) = self.ring.get_mut(place) {
            *nobody = entry;
        }
    }

    #[inline]
    fn place(&self, number: u64) -> usize {
        number as usize & self.ring.len().wrapping_sub(1)
    }
}

impl Entry {
    fn nobody() -> Self {
        Self { number: NOBODY, before: 0, hash: 0, static_name: 0, bytes: Box::default(), own_name: 0, size: 0 }
    }

    #[inline(always)]
    fn is(&self, name: Known, value: &[u8]) -> bool {
        match name {
            Known::Static(index) => self.static_name == index && same(&self.bytes, value),
            Known::Own(name) => {
                let parts = self.bytes.split_at_checked(self.own_name);
                self.static_name == 0 && parts.is_some_and(|parts| same(parts.0, name) && same(parts.1, value))
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
        assert!(sent.ring.capacity() == 0 && sent.buckets.is_none());
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
