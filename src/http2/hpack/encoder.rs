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
            path => literal(out, Indexing::Without, usize::from(PATH), None, path),
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
        let text = name.as_str();
        let print = fingerprint(text.as_bytes());
        match static_table::index_of(name, print) {
            Some((index, entry)) => {
                let indexing = if value.is_sensitive() { Indexing::Never } else { indexing::of_static(index) };
                if indexing != Indexing::Never && entry.value.as_ref() == Some(value) {
                    known(out, index);
                } else {
                    self.write(out, indexing, Known::Static(index), text, print, value.as_bytes());
                }
            }
            None => {
                let indexing = if value.is_sensitive() { Indexing::Never } else { indexing::of_own(text) };
                self.write(out, indexing, Known::Own(text.as_bytes()), text, print, value.as_bytes());
            }
        }
    }

    fn pseudo_field(&mut self, out: &mut Vec<u8>, index: u8, name: &str, value: &[u8]) {
        self.write(out, Indexing::With, Known::Static(index), name, u64::from(index), value);
    }

    /// Writes a field that is not wholly in the static table.
    #[inline]
    fn write(&mut self, out: &mut Vec<u8>, indexing: Indexing, name: Known, text: &str, print: u64, value: &[u8]) {
        if indexing == Indexing::With {
            let hash = together(print, fingerprint(value));
            match self.table.find(hash, name, value) {
                Some(place) => integer::write::<7>(out, 0x80, STATIC_ENTRIES + 1 + place),
                None => self.write_new(out, hash, name, text.len(), value),
            }
        } else {
            match name {
                Known::Static(index) => literal(out, indexing, usize::from(index), None, value),
                // It is in the table only if it was there before it was sensitive, which is not looked for.
                Known::Own(name) => literal(out, indexing, 0, Some(name), value),
            }
        }
    }

    /// Writes a field that is in no table, and puts it there unless it is too long.
    #[cold]
    fn write_new(&mut self, out: &mut Vec<u8>, hash: u32, name: Known, name_length: usize, value: &[u8]) {
        let size = sent::size(name_length, value.len());
        let fits = name_length + value.len() <= indexing::LONGEST && size <= self.table.most();
        let indexing = if fits { Indexing::With } else { Indexing::Without };
        match name {
            Known::Static(index) => literal(out, indexing, usize::from(index), None, value),
            Known::Own(own) => match self.table.find_name(own) {
                Some(place) => literal(out, indexing, STATIC_ENTRIES + 1 + place, None, value),
                None => literal(out, indexing, 0, Some(own), value),
            },
        }
        if fits {
            self.table.insert(hash, name, value, size);
        }
    }
}

/// Writes a field that stands in the static table (section 6.1).
#[inline]
fn known(out: &mut Vec<u8>, index: u8) {
    out.push(0x80 | index);
}

/// Writes a literal whose name has this index, or else is this one (section 6.2).
#[inline]
fn literal(out: &mut Vec<u8>, indexing: Indexing, index: usize, name: Option<&[u8]>, value: &[u8]) {
    match indexing {
        Indexing::With => integer::write::<6>(out, 0x40, index),
        Indexing::Without => integer::write::<4>(out, 0, index),
        Indexing::Never => integer::write::<4>(out, 0x10, index),
    }
    if let Some(name) = name {
        integer::write_string(out, name);
    }
    integer::write_string(out, value);
}

#[cfg(test)]
impl Encoder {
    /// What the entries of its table count for.
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }
}
