//! Reads blocks of fields (RFC 7541, section 3).
//!
//! A reference to the table is two clones. A literal is one buffer for its value, and one for its name unless that is a
//! standard one; none of them shares a buffer with the block.

use http::HeaderValue;

use super::dynamic_table::DynamicTable;
use super::static_table::{self, Entry};
use super::{Broken, Name, OVERHEAD, STATIC_ENTRIES, USUAL_TABLE, huffman, integer};

/// The bytes for decoding strings that are kept from one block to the next.
const KEPT_SCRATCH: usize = 1024;

/// What becomes of a literal, by the highest bits of its first byte (section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Literal {
    Indexed,
    NotIndexed,
    NeverIndexed,
}

/// What became of a list of fields that could be decoded: the first of these that was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// All of it was handed over.
    Whole,
    /// It is larger than allowed.
    TooLarge,
    /// It has a name or a value that no message may have (RFC 9113, section 8.2.1).
    Malformed,
}

/// What one peer's encoder has said so far.
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable,
    /// What the peer may have the table resized to.
    most: usize,
    scratch: Vec<u8>,
}

impl Decoder {
    /// A decoder with a table of at most `most` bytes, which is what our SETTINGS_HEADER_TABLE_SIZE says.
    ///
    /// A peer takes the table for one of 4096 bytes until it has read our settings. With a smaller one, references of its
    /// to what had no room are errors; with a larger one it says when it begins to use it.
    pub fn new(most: usize) -> Self {
        Self { table: DynamicTable::new(most.min(USUAL_TABLE)), most, scratch: Vec::new() }
    }

    /// Decodes a whole block and gives its fields to `field` in their order, until one is malformed or the list is larger than
    /// `most` bytes (RFC 9113, section 6.5.2). The rest of the block is decoded all the same, since the table must follow.
    ///
    /// Values that the peer wants never to be indexed are marked as sensitive. How large a block may be is for the caller to
    /// say, and so is which fields a message may have, and in what order.
    ///
    /// # Errors
    /// The block cannot be decoded, and no further one either.
    pub fn decode(
        &mut self,
        block: &[u8],
        most: usize,
        mut field: impl FnMut(Name, HeaderValue),
    ) -> Result<List, Broken> {
        let mut room = Room { list: List::Whole, left: most };
        let mut rest = self.resized(block)?;
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            if first & 0x80 == 0 {
                rest = self.literal(first, rest, &mut room, &mut field)?;
                continue;
            }
            let index = integer::read::<7>(first, &mut rest)?;
            let entry = entry(&self.table, index)?;
            if room.is_for(entry.size) {
                match (&entry.name, &entry.value) {
                    (Some(name), Some(value)) => field(name.clone(), value.clone()),
                    (_, None) | (None, _) => room.end(List::Malformed),
                }
            }
        }
        if self.scratch.len() > KEPT_SCRATCH {
            self.scratch = Vec::new();
        }
        Ok(room.list)
    }

    /// The block without the changes of the table's size that it begins with (section 6.3).
    fn resized<'a>(&mut self, mut block: &'a [u8]) -> Result<&'a [u8], Broken> {
        while let Some((&first @ 0x20..=0x3f, mut rest)) = block.split_first() {
            let size = integer::read::<5>(first, &mut rest)?;
            if size > self.most {
                return Err(Broken);
            }
            self.table.resize(size);
            block = rest;
        }
        Ok(block)
    }

    /// Reads the rest of a literal (section 6.2), and returns what follows.
    #[inline(never)]
    fn literal<'a>(
        &mut self,
        first: u8,
        mut rest: &'a [u8],
        room: &mut Room,
        field: &mut impl FnMut(Name, HeaderValue),
    ) -> Result<&'a [u8], Broken> {
        let (literal, index) = match first {
            0x40.. => (Literal::Indexed, integer::read::<6>(first, &mut rest)?),
            // A change of the table's size belongs to the beginning of a block (section 4.2).
            0x20.. => return Err(Broken),
            0x10.. => (Literal::NeverIndexed, integer::read::<4>(first, &mut rest)?),
            0x00.. => (Literal::NotIndexed, integer::read::<4>(first, &mut rest)?),
        };
        let (name, name_length) = if index == 0 {
            let name = string(&mut rest, &mut self.scratch)?;
            (Name::read(name), name.len())
        } else {
            let entry = entry(&self.table, index)?;
            (entry.name.clone(), entry.name_length)
        };
        let value = string(&mut rest, &mut self.scratch)?;
        let size = name_length + value.len() + OVERHEAD;
        let has_room = room.is_for(size);
        if !has_room && literal != Literal::Indexed {
            return Ok(rest);
        }
        let mut value = read_value(value);
        if let Some(value) = &mut value {
            value.set_sensitive(literal == Literal::NeverIndexed);
        }
        if literal == Literal::Indexed {
            self.table.insert(Entry { name: name.clone(), value: value.clone(), name_length, size });
        }
        match (name, value) {
            (Some(name), Some(value)) if has_room => field(name, value),
            (Some(_), Some(_)) => {}
            (_, None) | (None, _) => room.end(List::Malformed),
        }
        Ok(rest)
    }
}

/// The room that is left in a list.
struct Room {
    list: List,
    /// The bytes that further fields may count for; none once something is wrong with the list.
    left: usize,
}

impl Room {
    /// Takes the room of a field, if there is so much.
    #[inline]
    fn is_for(&mut self, size: usize) -> bool {
        match self.left.checked_sub(size) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.end(List::TooLarge);
                false
            }
        }
    }

    /// No further field has room.
    #[cold]
    fn end(&mut self, list: List) {
        if self.list == List::Whole {
            self.list = list;
        }
        self.left = 0;
    }
}

/// The entry of an index (section 2.3.3).
#[inline]
fn entry(table: &DynamicTable, index: usize) -> Result<&Entry, Broken> {
    let found = match index.checked_sub(STATIC_ENTRIES + 1) {
        Some(place) => table.get(place),
        None => static_table::entry(index),
    };
    found.ok_or(Broken)
}

/// Takes a string (section 5.2), which is in the block itself or in `scratch`.
#[inline]
fn string<'a, 'block: 'a>(rest: &mut &'block [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Broken> {
    let (&first, mut after) = rest.split_first().ok_or(Broken)?;
    let length = integer::read::<7>(first, &mut after)?;
    let (bytes, after) = after.split_at_checked(length).ok_or(Broken)?;
    *rest = after;
    if first & 0x80 == 0 { Ok(bytes) } else { huffman_string(bytes, scratch) }
}

fn huffman_string<'a>(coded: &[u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Broken> {
    let most = huffman::most_decoded(coded.len());
    if scratch.len() < most {
        scratch.resize(most, 0);
    }
    let length = huffman::decode(coded, scratch)?;
    scratch.get(..length).ok_or(Broken)
}

/// The value that these bytes are. None: no message may have it (RFC 9113, section 8.2.1).
#[inline]
fn read_value(bytes: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(bytes).ok()
}

#[cfg(test)]
impl Decoder {
    /// What the entries of its table count for.
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }

    /// What it holds beside its table.
    pub(super) fn scratch_size(&self) -> usize {
        self.scratch.capacity()
    }
}
