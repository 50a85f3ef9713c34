//! Writes blocks of fields (RFC 7541, section 3).
//!
//! What stands in a table is one byte or two, and costs no allocation. Strings are not coded by Huffman's code.

use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::fingerprint::{fingerprint, together};
use super::indexing::{self, Indexing};
use super::sent::{self, Known, Sent};
use super::{STATIC_ENTRIES, USUAL_TABLE, integer, static_table};

/// The most bytes of the peer's table that are used, however many it has.
const MOST_TABLE: usize = USUAL_TABLE;

/// Indexes of names in the static table, and of the fields that are there whole (appendix A).
const AUTHORITY: u8 = 1;
const METHOD: u8 = 2;
const GET: u8 = 2;
const POST: u8 = 3;
const PATH: u8 = 4;
const SLASH: u8 = 4;
const INDEX_HTML: u8 = 5;
const SCHEME: u8 = 6;
const HTTP: u8 = 6;
const HTTPS: u8 = 7;
const STATUS: u8 = 8;

/// What one peer's decoder has been told so far.
#[derive(Debug)]
pub struct Encoder {
    table: Sent,
    /// What the peer has not been told yet about the size of the table.
    resized: Option<Resized>,
}

/// A change of the table's size between two blocks (section 4.2).
#[derive(Clone, Copy, Debug)]
struct Resized {
    /// The size that was told last.
    told: usize,
    /// The smallest that it had since.
    least: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder for a peer that has said nothing yet. It allocates nothing until something is indexed.
    pub fn new() -> Self {
        Self { table: Sent::new(MOST_TABLE), resized: None }
    }

    /// What the peer's SETTINGS_HEADER_TABLE_SIZE says; at most 4096 bytes of it are used. Not while a block is written.
    pub fn limit(&mut self, most: usize) {
        let told = self.table.most();
        let most = most.min(MOST_TABLE);
        let resized = self.resized.get_or_insert(Resized { told, least: told });
        resized.least = resized.least.min(most);
        self.table.resize(most);
    }

    /// Begins a block: says what has become of the table's size (section 4.2).
    #[inline]
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(resized) = self.resized.take() {
            self.tell(resized, out);
        }
    }

    #[cold]
    fn tell(&self, Resized { told, least }: Resized, out: &mut Vec<u8>) {
        let now = self.table.most();
        if least < told && least < now {
            integer::write::<5>(out, 0x20, least);
        }
        if least < told || now != told {
            integer::write::<5>(out, 0x20, now);
        }
    }

    /// Writes `:method`.
    pub fn method(&mut self, out: &mut Vec<u8>, method: &Method) {
        match *method {
            Method::GET => known(out, GET),
            Method::POST => known(out, POST),
            _ => self.pseudo_field(out, METHOD, ":method", method.as_str().as_bytes()),
        }
    }

    /// Writes `:scheme`.
    pub fn scheme(&mut self, out: &mut Vec<u8>, scheme: &Scheme) {
        match scheme.as_str() {
            "http" => known(out, HTTP),
            "https" => known(out, HTTPS),
            other => self.pseudo_field(out, SCHEME, ":scheme", other.as_bytes()),
        }
    }

    /// Writes `:authority`.
    pub fn authority(&mut self, out: &mut Vec<u8>, authority: &[u8]) {
        self.pseudo_field(out, AUTHORITY, ":authority", authority);
    }

    /// Writes `:path`, which is not indexed.
    pub fn path(&mut self, out: &mut Vec<u8>, path: &[u8]) {
        match path {
            b"/" => known(out, SLASH),
            b"/index.html" => known(out, INDEX_HTML),
            path => literal(out, Indexing::Without, Known::Static(PATH), path),
        }
    }

    /// Writes `:status`.
    pub fn status(&mut self, out: &mut Vec<u8>, status: StatusCode) {
        match status.as_u16() {
            200 => known(out, STATUS),
            204 => known(out, STATUS + 1),
            206 => known(out, STATUS + 2),
            304 => known(out, STATUS + 3),
            400 => known(out, STATUS + 4),
            404 => known(out, STATUS + 5),
            500 => known(out, STATUS + 6),
            _ => self.pseudo_field(out, STATUS, ":status", status.as_str().as_bytes()),
        }
    }

    /// Writes a field.
    pub fn field(&mut self, out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
        let text = name.as_str().as_bytes();
        let print = fingerprint(text);
        let found = static_table::index_of(name, print);
        let name = found.map_or(Known::Own(text), |(index, _)| Known::Static(index));
        if value.is_sensitive() {
            return literal(out, Indexing::Never, name, value.as_bytes());
        }
        if let Some((index, entry)) = found {
            if entry.value.as_ref() == Some(value) {
                return known(out, index);
            }
            let indexing = indexing::of_static(index);
            if indexing != Indexing::With {
                return literal(out, indexing, name, value.as_bytes());
            }
        }
        self.write(out, name, print, text.len(), value.as_bytes());
    }

    fn pseudo_field(&mut self, out: &mut Vec<u8>, index: u8, name: &str, value: &[u8]) {
        self.write(out, Known::Static(index), u64::from(index), name.len(), value);
    }

    /// Writes a field that is not wholly in the static table, but perhaps in the other one.
    #[inline(always)]
    fn write(&mut self, out: &mut Vec<u8>, name: Known, print: u64, name_length: usize, value: &[u8]) {
        let hash = together(print, fingerprint(value));
        match self.table.find(hash, name, value) {
            Some(place) => integer::write::<7>(out, 0x80, STATIC_ENTRIES + 1 + place),
            None => self.write_new(out, hash, name, name_length, value),
        }
    }

    /// Writes a field that is in no table, and puts it there if it is worth it.
    #[cold]
    fn write_new(&mut self, out: &mut Vec<u8>, hash: u32, name: Known, name_length: usize, value: &[u8]) {
        if let Known::Own(own) = name
            && indexing::is_seldom_twice(own)
        {
            // Its name is not in the table either.
            return literal(out, Indexing::Without, name, value);
        }
        let size = sent::size(name_length, value.len());
        let is_kept = name_length + value.len() <= indexing::LONGEST && size <= self.table.most();
        let indexing = if is_kept { Indexing::With } else { Indexing::Without };
        let sent_name = match name {
            Known::Static(_) => None,
            Known::Own(own) => self.table.find_name(own),
        };
        match sent_name {
            Some(place) => {
                begin_literal(out, indexing, STATIC_ENTRIES + 1 + place);
                integer::write_string(out, value);
            }
            None => literal(out, indexing, name, value),
        }
        if is_kept {
            self.table.insert(hash, name, value, size);
        }
    }
}

/// Writes a field that stands in the static table (section 6.1).
#[inline]
fn known(out: &mut Vec<u8>, index: u8) {
    out.push(0x80 | index);
}

/// Writes a literal whose name is not in the dynamic table (section 6.2).
fn literal(out: &mut Vec<u8>, indexing: Indexing, name: Known, value: &[u8]) {
    match name {
        Known::Static(index) => begin_literal(out, indexing, usize::from(index)),
        Known::Own(name) => {
            begin_literal(out, indexing, 0);
            integer::write_string(out, name);
        }
    }
    integer::write_string(out, value);
}

/// Writes the first bytes of a literal, with the index of its name, or 0.
#[inline]
fn begin_literal(out: &mut Vec<u8>, indexing: Indexing, index: usize) {
    match indexing {
        Indexing::With => integer::write::<6>(out, 0x40, index),
        Indexing::Without => integer::write::<4>(out, 0, index),
        Indexing::Never => integer::write::<4>(out, 0x10, index),
    }
}

#[cfg(test)]
impl Encoder {
    /// What the entries of its table count for.
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }
}
