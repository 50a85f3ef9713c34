//! The fields that both sides know from the beginning (RFC 7541, appendix A), and which of them have a name.

use http::{HeaderName, HeaderValue};

use super::fingerprint::fingerprint;
use super::{Name, OVERHEAD, STATIC_ENTRIES};

/// What stands in a table for decoding. What was malformed has its place all the same, so that both sides count alike, and
/// is malformed for whoever refers to it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// None: no message may have such a name.
    pub name: Option<Name>,
    /// None: no message may have such a value.
    pub value: Option<HeaderValue>,
    /// How long the name was.
    pub name_length: usize,
    /// What the entry counts for (RFC 7541, section 4.1).
    pub size: usize,
}

/// The entry of an index. Indexes begin with 1.
#[inline]
pub fn entry(index: usize) -> Option<&'static Entry> {
    TABLE.get(index.wrapping_sub(1))
}

/// The first index with this name, whose fingerprint is given too. Names of pseudo-fields are not looked for.
#[inline]
pub fn index_of(name: &HeaderName, print: u64) -> Option<(u8, &'static Entry)> {
    let index = *INDEXES.get(slot(print, MULTIPLIER))?;
    let entry = entry(usize::from(index))?;
    match &entry.name {
        Some(Name::Field(own)) if own == name => Some((index, entry)),
        Some(_) | None => None,
    }
}

const fn made(name: &'static str, value: &'static str) -> Entry {
    Entry {
        name: Some(Name::of_static(name)),
        value: Some(HeaderValue::from_static(value)),
        name_length: name.len(),
        size: name.len() + value.len() + OVERHEAD,
    }
}

/// More than five for each name, so that a multiplier is soon found that gives each a slot of its own.
const SLOTS: usize = 256;

const fn slot(print: u64, multiplier: u64) -> usize {
    (print.wrapping_mul(multiplier) >> (u64::BITS - SLOTS.ilog2())) as usize
}

/// Each name of a field has a slot of its own with this one.
const MULTIPLIER: u64 = {
    let mut multiplier = 1_u64;
    while indexes(multiplier).is_none() {
        multiplier = multiplier.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(2);
    }
    multiplier
};

/// The index of the name that would have the slot, or 0, which no entry has.
static INDEXES: [u8; SLOTS] = match indexes(MULTIPLIER) {
    Some(indexes) => indexes,
    None => [0; SLOTS],
};

/// None: two names would have the same slot.
#[expect(clippy::indexing_slicing, reason = "evaluated when compiling, where a panic is an error of the build")]
const fn indexes(multiplier: u64) -> Option<[u8; SLOTS]> {
    let mut indexes = [0_u8; SLOTS];
    // Fields follow after the pseudo-fields, and each of their names is there once.
    let mut at = 14;
    while at < STATIC_ENTRIES {
        let slot = slot(fingerprint(NAMES[at].as_bytes()), multiplier);
        if indexes[slot] != 0 {
            return None;
        }
        at += 1;
        indexes[slot] = at as u8;
    }
    Some(indexes)
}

macro_rules! table {
    ($($name:literal: $value:literal,)*) => {
        const NAMES: [&str; STATIC_ENTRIES] = [$($name),*];
        static TABLE: [Entry; STATIC_ENTRIES] = [$(made($name, $value)),*];
    };
}

table! {
    ":authority": "",
    ":method": "GET",
    ":method": "POST",
    ":path": "/",
    ":path": "/index.html",
    ":scheme": "http",
    ":scheme": "https",
    ":status": "200",
    ":status": "204",
    ":status": "206",
    ":status": "304",
    ":status": "400",
    ":status": "404",
    ":status": "500",
    "accept-charset": "",
    "accept-encoding": "gzip, deflate",
    "accept-language": "",
    "accept-ranges": "",
    "accept": "",
    "access-control-allow-origin": "",
    "age": "",
    "allow": "",
    "authorization": "",
    "cache-control": "",
    "content-disposition": "",
    "content-encoding": "",
    "content-language": "",
    "content-length": "",
    "content-location": "",
    "content-range": "",
    "content-type": "",
    "cookie": "",
    "date": "",
    "etag": "",
    "expect": "",
    "expires": "",
    "from": "",
    "host": "",
    "if-match": "",
    "if-modified-since": "",
    "if-none-match": "",
    "if-range": "",
    "if-unmodified-since": "",
    "last-modified": "",
    "link": "",
    "location": "",
    "max-forwards": "",
    "proxy-authenticate": "",
    "proxy-authorization": "",
    "range": "",
    "referer": "",
    "refresh": "",
    "retry-after": "",
    "server": "",
    "set-cookie": "",
    "strict-transport-security": "",
    "transfer-encoding": "",
    "user-agent": "",
    "vary": "",
    "via": "",
    "www-authenticate": "",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_field_is_found_and_others_are_not() {
        for index in 15..=STATIC_ENTRIES {
            let own = entry(index).unwrap();
            let Some(Name::Field(name)) = &own.name else { panic!("no field at {index}") };
            let found = index_of(name, fingerprint(name.as_str().as_bytes())).unwrap();
            assert_eq!(usize::from(found.0), index);
            assert_eq!(own.size, name.as_str().len() + own.value.as_ref().unwrap().len() + OVERHEAD);
        }
        for name in ["te", "x-own", "grpc-timeout", "traceparent", "connection"].map(HeaderName::from_static) {
            // Whatever its fingerprint says.
            for print in (0..=u8::MAX).map(|byte| u64::from_be_bytes([byte; 8])) {
                assert!(index_of(&name, print).is_none());
            }
        }
    }

    #[test]
    fn indexes_begin_with_one_and_end_with_sixty_one() {
        assert!(entry(0).is_none());
        assert_eq!(entry(1).unwrap().name, Some(Name::Authority));
        assert_eq!(entry(8).unwrap().value, Some(HeaderValue::from_static("200")));
        assert_eq!(entry(61).unwrap().name, Some(Name::Field(http::header::WWW_AUTHENTICATE)));
        assert!(entry(62).is_none());
    }
}
