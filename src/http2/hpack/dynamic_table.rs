//! The fields that the peer has said before, for decoding (RFC 7541, section 2.3.2).
//!
//! Nothing is allocated until something is inserted. What stands here is at most some three times what it counts for: an
//! entry takes 96 bytes where the RFC counts 32, and its name and value have buffers of exactly their size.

use std::collections::VecDeque;

use super::static_table::Entry;

/// The newest entry comes first.
#[derive(Debug)]
pub struct DynamicTable {
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
}

impl DynamicTable {
    /// An empty table of at most `most` bytes, as the RFC counts them.
    pub fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, most }
    }

    /// The entry at this place; the newest has 0.
    #[inline]
    pub fn get(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    /// Inserts an entry and evicts what no longer has room (section 4.4). An entry that is larger than the table empties it.
    pub fn insert(&mut self, entry: Entry) {
        match self.most.checked_sub(entry.size) {
            Some(room) => {
                self.evict_to(room);
                self.size += entry.size;
                self.entries.push_front(entry);
            }
            None => self.evict_to(0),
        }
    }

    /// Changes how large it may be, and evicts what no longer has room (section 4.3).
    pub fn resize(&mut self, most: usize) {
        self.most = most;
        self.evict_to(most);
        if most == 0 {
            self.entries = VecDeque::new();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allocated_before_an_entry_and_after_the_table_was_switched_off() {
        let mut table = DynamicTable::new(4096);
        assert_eq!(table.entries.capacity(), 0);
        table.insert(Entry { name: None, value: None, name_length: 0, size: 32 });
        table.resize(0);
        assert_eq!(table.entries.capacity(), 0);
    }

    #[test]
    fn entries_take_at_most_three_times_what_they_count_for() {
        let mut table = DynamicTable::new(4096);
        for _ in 0..1000 {
            table.insert(Entry { name: None, value: None, name_length: 0, size: 32 });
        }
        assert_eq!(table.entries.len(), 128);
        // A full table of the smallest entries has no room to spare.
        assert!(table.entries.capacity() * size_of::<Entry>() <= 3 * 4096, "{}", table.entries.capacity());
    }
}
