//! What of a request decides where it goes, borrowed from the request itself.
//!
//! Invariant: nothing here allocates, but for a query value that is escaped and compared with an expression.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, Method};

use crate::cookies;

/// See the module's documentation.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The number of the listener that it came through.
    pub listener: usize,
    /// Without port, in lower case: [`Host::as_bytes`](super::Host::as_bytes).
    pub host: &'a [u8],
    /// As rules see it: [`Path::seen_by_rules`](super::Path::seen_by_rules).
    pub path: &'a str,
    /// Without the question mark, as it came.
    pub query: &'a [u8],
    /// The method.
    pub method: &'a Method,
    /// All fields.
    pub headers: &'a HeaderMap,
    /// None: a client without an address, as over a UNIX socket.
    pub client: Option<IpAddr>,
}

impl<'a> Request<'a> {
    /// The values of the query's parameters of this name, escaped as they came.
    pub(super) fn query_values<'n>(&self, name: &'n str) -> impl Iterator<Item = QueryText<'a>> + use<'a, 'n> {
        self.query.split(|byte| *byte == b'&').filter_map(move |pair| {
            let (key, value) = cut(pair, b'=');
            QueryText(key).is(name.as_bytes()).then_some(QueryText(value))
        })
    }

    /// The values of the cookies of this name.
    pub(super) fn cookie_values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        cookies::values(self.headers, name)
    }
}

/// What stands before and after the first `separator`; without one all of it is before.
fn cut(bytes: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == separator);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// A name or value of a query: `%XX` stands for a byte, `+` for a space (the form encoding of the URL standard).
#[derive(Clone, Copy, Debug)]
pub(super) struct QueryText<'a>(&'a [u8]);

impl<'a> QueryText<'a> {
    /// Whether it says `text`.
    pub fn is(self, text: &[u8]) -> bool {
        self.bytes().eq(text.iter().copied())
    }

    /// What it says.
    pub fn decoded(self) -> Cow<'a, [u8]> {
        if self.0.iter().any(|byte| matches!(byte, b'%' | b'+')) {
            Cow::Owned(self.bytes().collect())
        } else {
            Cow::Borrowed(self.0)
        }
    }

    fn bytes(self) -> impl Iterator<Item = u8> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            let (byte, after) = match rest {
                [b'%', high, low, after @ ..] => match (digit(*high), digit(*low)) {
                    (Some(high), Some(low)) => (u8::try_from(high << 4 | low).unwrap_or_default(), after),
                    _ => (b'%', rest.get(1..)?),
                },
                [b'+', after @ ..] => (b' ', after),
                [byte, after @ ..] => (*byte, after),
                [] => return None,
            };
            rest = after;
            Some(byte)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_of_a_query_is_found_however_it_is_escaped() {
        let headers = HeaderMap::new();
        let request = Request {
            listener: 0,
            host: b"",
            path: "/",
            query: b"a=1&b&%61=2+3&a=%zz&=x&a==",
            method: &Method::GET,
            headers: &headers,
            client: None,
        };
        let values = |name: &str| -> Vec<String> {
            request.query_values(name).map(|value| String::from_utf8_lossy(&value.decoded()).into_owned()).collect()
        };
        assert_eq!(values("a"), ["1", "2 3", "%zz", "="]);
        assert_eq!(values("b"), [""]);
        assert_eq!(values(""), ["x"]);
        assert!(values("c").is_empty());
    }
}
