//! Which fields are worth a place in the table.
//!
//! What is seldom said twice would only drive out what is. What is secret is marked so that nobody on the way indexes it, since
//! the size of what is sent could tell it to whoever may add fields of his own (RFC 7541, section 7.1).

/// How a field is sent that is not in a table yet (RFC 7541, section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexing {
    /// It is put into the table.
    With,
    /// It is not.
    Without,
    /// It must not be, here and further on.
    Never,
}

/// The longest name and value together that are put into the table, which would soon be full of longer ones.
pub const LONGEST: usize = 256;

/// `authorization`, `cookie`, `proxy-authorization`, by their indexes in the static table.
const SECRET: u64 = 1 << 23 | 1 << 32 | 1 << 49;

/// `age`, `content-length`, `date`, `etag`, `if-modified-since`, `if-none-match`, `location`, `set-cookie`, and `:path`.
const SELDOM_TWICE: u64 = 1 << 21 | 1 << 28 | 1 << 33 | 1 << 34 | 1 << 40 | 1 << 41 | 1 << 46 | 1 << 55 | 1 << 4;

/// How a field is sent whose name has this index in the static table.
#[inline]
pub const fn of_static(index: u8) -> Indexing {
    let bit = 1_u64.wrapping_shl(index as u32);
    match (SECRET & bit, SELDOM_TWICE & bit) {
        (0, 0) => Indexing::With,
        (0, _) => Indexing::Without,
        (_, _) => Indexing::Never,
    }
}

/// Whether a field is seldom said twice whose name is not in the static table: each request has another one.
#[inline]
pub fn is_seldom_twice(name: &[u8]) -> bool {
    matches!(name, b"x-request-id" | b"traceparent" | b"grpc-timeout")
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::http2::hpack::{fingerprint::fingerprint, static_table};

    #[test]
    fn indexes_are_those_of_the_names_that_are_meant() {
        let of = |name: &'static str| {
            let index = static_table::index_of(&HeaderName::from_static(name), fingerprint(name.as_bytes())).unwrap();
            of_static(index.0)
        };
        let secret = ["authorization", "cookie", "proxy-authorization"];
        assert_eq!(secret.map(of), [Indexing::Never; 3]);
        let seldom = ["age", "content-length", "date", "etag", "if-modified-since", "if-none-match", "location"];
        assert_eq!(seldom.map(of), [Indexing::Without; 7]);
        assert_eq!(of("set-cookie"), Indexing::Without);
        assert_eq!((SECRET | SELDOM_TWICE).count_ones(), 12);
        assert_eq!(["user-agent", "content-type", "accept"].map(of), [Indexing::With; 3]);
    }
}
