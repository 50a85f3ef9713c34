//! The grammar of HTTP/1.1 on the wire (RFC 9112), read so strictly that no other parser can read it differently.
//!
//! The edge looks at every byte with this before pingora's parser does, and hands on exactly one request at a
//! time: a head that is whole and without doubt, and the body that it announces. Values only: no sockets, no
//! allocation but where a head is refused. What a request asks for is not this module's concern.

pub mod answer;
mod authority;
mod body;
mod bytes;
mod chunks;
mod head;

pub use authority::{Authority, Scheme};
pub use body::Body;
pub use bytes::{are_token, is_framing_in_disguise, is_path};
pub use chunks::{Chunks, Kind};
pub use head::{Head, Limits, Reader};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { bytes: 4000, fields: 30 };

    /// Bytes that parsers stumble over, more often than chance would have it.
    fn byte() -> impl Strategy<Value = u8> {
        let telling = b"\r\n \t:,;=\"\0\x0b\x0c\x7f\x80\xa0\xff%#?/*@[]_-+0158xX".to_vec();
        prop_oneof![3 => prop::sample::select(telling), 1 => any::<u8>()]
    }

    /// A request that is right but for some bytes.
    fn nearly() -> impl Strategy<Value = Vec<u8>> {
        let request = prop::sample::select(vec![
            "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "POST /a?b HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 5\r\n\r\nhello",
            "POST http://a.example/a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n",
            "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\nX-Empty:\r\n\r\n",
        ]);
        let edits = proptest::collection::vec((any::<prop::sample::Index>(), byte(), 0u8..3), 0..4);
        (request, edits).prop_map(|(request, edits)| {
            let mut bytes = request.as_bytes().to_vec();
            for (place, byte, kind) in edits {
                let place = place.index(bytes.len());
                match kind {
                    0 => bytes[place] = byte,
                    1 => bytes.insert(place, byte),
                    _ => drop(bytes.remove(place)),
                }
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        /// What we let pass, the parser behind us reads too, and finds the same end and the same fields.
        #[test]
        fn the_parser_behind_us_agrees(bytes in nearly()) {
            let mut reader = Reader::default();
            let Ok(Some(head)) = reader.read(&bytes, LIMITS) else { return Ok(()) };
            let plain = reader.plain_form(&bytes).unwrap_or_else(|| bytes[..head.length].to_vec());
            let mut fields = [httparse::EMPTY_HEADER; 40];
            let mut parsed = httparse::Request::new(&mut fields);
            prop_assert_eq!(parsed.parse(&plain), Ok(httparse::Status::Complete(plain.len())));
            prop_assert!(parsed.path.is_some_and(|path| path.starts_with('/') || path == "*"));
            let named = |name: &str| parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
            let expected = match head.body {
                Body::Complete => None,
                Body::Length(length) => Some(length),
                Body::Chunked(_) => {
                    prop_assert_eq!((named("transfer-encoding"), named("content-length")), (1, 0));
                    None
                }
            };
            let length = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
            let length = length.map(|field| std::str::from_utf8(field.value).unwrap().trim().parse::<u64>().unwrap());
            prop_assert_eq!(length.filter(|length| *length > 0), expected);
            prop_assert!(named("host") <= 1 && named("content-length") <= 1);
        }

        /// Bytes without any sense are refused or waited for, and nothing else happens.
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(byte(), 0..300)) {
            let mut reader = Reader::default();
            let outcome = reader.read(&bytes, LIMITS);
            drop(reader.stand_in(&bytes));
            prop_assert!(!matches!(outcome, Ok(Some(head)) if head.length > bytes.len()));
            prop_assert!(Body::in_chunks().read(&bytes).is_ok_and(|taken| taken <= bytes.len()) || !bytes.is_empty());
            prop_assert!(Authority::parse(&bytes).is_none_or(|authority| !authority.host.is_empty()));
        }

        /// Whatever is refused, its stand-in is a request that is not.
        #[test]
        fn a_stand_in_is_never_in_doubt(bytes in nearly()) {
            let mut reader = Reader::default();
            if reader.read(&bytes, LIMITS).is_err() {
                let stand_in = reader.stand_in(&bytes);
                let mut fields = [httparse::EMPTY_HEADER; 5];
                let parsed = httparse::Request::new(&mut fields).parse(&stand_in);
                prop_assert_eq!(parsed, Ok(httparse::Status::Complete(stand_in.len())));
            }
        }
    }
}
