//! The grammar of HTTP/1.1 on the wire (RFC 9112), read so strictly that no other parser can read it differently.
//!
//! This is the only reader of what clients of HTTP/1.1 send: a head that is whole and without doubt, and the body that
//! it announces, one request at a time. Values only: no sockets, and no bytes but the caller's. What a request asks for
//! is not this module's concern.

pub mod answer;
mod authority;
mod body;
mod bytes;
mod chunks;
mod head;

pub use authority::{Authority, Scheme};
pub use body::Body;
pub use bytes::{are_token, is_framing_in_disguise, is_path, lists};
pub use chunks::{Chunks, Decoded, Kind};
pub use head::{Connection, Head, Limits, Reader, Target, Understood};

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

        /// What we take, another reader takes too, and finds the same end, line and fields.
        #[test]
        fn another_reader_agrees(bytes in nearly()) {
            let mut reader = Reader::default();
            let Ok(Some(head)) = reader.read(&bytes, LIMITS) else { return Ok(()) };
            let mut fields = [httparse::EMPTY_HEADER; 40];
            let mut parsed = httparse::Request::new(&mut fields);
            // The other knows no minor version above 1.
            let line = bytes.windows(7).position(|window| window == b"HTTP/1.").unwrap() + 7;
            let mut plain = bytes.clone();
            plain[line] = plain[line].min(b'1');
            prop_assert_eq!(parsed.parse(&plain), Ok(httparse::Status::Complete(head.length)));
            prop_assert_eq!(parsed.method.map(str::as_bytes), reader.method(&bytes));
            prop_assert_eq!(parsed.version, Some(u8::from(!reader.is_old())));
            let path = parsed.path.unwrap();
            match reader.target(&bytes).unwrap() {
                Target::Here(range) => prop_assert!(path.as_bytes().ends_with(&bytes[range])),
                Target::Root(range) => prop_assert!(path.as_bytes().ends_with(&bytes[range]) && path.contains("://")),
                Target::Asterisk => prop_assert!(path.contains("://")),
            }
            let ours = reader.fields().iter().map(|place| (&bytes[place.name.clone()], &bytes[place.value.clone()]));
            let theirs = parsed.headers.iter().map(|field| (field.name.as_bytes(), field.value.trim_ascii()));
            prop_assert!(ours.eq(theirs));
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
            prop_assert!(!reader.understood(&bytes).method.is_empty());
            prop_assert!(!matches!(outcome, Ok(Some(head)) if head.length > bytes.len()));
            let decoded = Body::in_chunks().decode(&mut bytes.clone(), &mut Vec::new());
            prop_assert!(decoded.is_ok_and(|decoded| decoded.data <= decoded.taken) || !bytes.is_empty());
            prop_assert!(Authority::parse(&bytes).is_none_or(|authority| !authority.host.is_empty()));
        }

        /// Of what is refused nothing is told that any reader would stumble over.
        #[test]
        fn what_was_understood_is_never_in_doubt(bytes in nearly()) {
            let mut reader = Reader::default();
            if reader.read(&bytes, LIMITS).is_err() {
                let Understood { method, target, host, accept } = reader.understood(&bytes);
                let mut request = [method, b" ", target, b" HTTP/1.1\r\n"].concat();
                for (name, value) in [(&b"host: "[..], host), (b"accept: ", accept)] {
                    request.extend(value.map(|value| [name, value, b"\r\n"].concat()).unwrap_or_default());
                }
                request.extend(b"\r\n");
                let mut fields = [httparse::EMPTY_HEADER; 5];
                let parsed = httparse::Request::new(&mut fields).parse(&request);
                prop_assert_eq!(parsed, Ok(httparse::Status::Complete(request.len())));
            }
        }
    }
}
