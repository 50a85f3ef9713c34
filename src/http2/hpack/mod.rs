//! HPACK, the compression of fields in HTTP/2 (RFC 7541).
//!
//! ```text
//! a block → decoder ─┬─ integer, huffman                 (what stands in the block)
//!                    └─ static_table, dynamic_table      (what it refers to)
//! fields  → encoder ─┬─ static_table, sent               (what can be referred to)
//!                    ├─ indexing                         (what is worth being kept)
//!                    └─ integer
//! ```
//!
//! Nearly all fields of a connection that has been used before come and go as references to the dynamic table: such a field
//! costs two clones when it is read, and a hash of a few bytes and two comparisons when it is written.

mod decoder;
mod dynamic_table;
mod encoder;
mod fingerprint;
mod huffman;
mod indexing;
mod integer;
mod name;
mod sent;
mod static_table;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, List};
pub use encoder::Encoder;
pub use name::Name;

/// The size of a dynamic table before anything was said about it (RFC 9113, section 6.5.2).
const USUAL_TABLE: usize = 4096;

/// What an entry or a field counts for beside its name and value (RFC 7541, section 4.1; RFC 9113, section 6.5.2).
const OVERHEAD: usize = 32;

/// How many entries the static table has; the indexes of the dynamic table follow (RFC 7541, section 2.3.3).
const STATIC_ENTRIES: usize = 61;

/// The block cannot be decoded: a connection error of type COMPRESSION_ERROR (RFC 9113, section 4.3). What the table holds
/// is unknown from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;
