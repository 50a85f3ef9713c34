//! An answer of HTTP/1.1 on the wire: its head, and where its body ends (RFC 9112, sections 6 and 7). No sockets here.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use pingora::http::ResponseHeader;
use pingora_core::protocols::http::date::get_cached_date;

/// How long a date is (RFC 9110, section 5.6.7); anything else is none.
const HTTP_DATE: usize = 29;

/// Whom an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// For the head alone.
    pub head_only: bool,
    /// By a client of HTTP/1.0, which knows no chunks.
    pub old: bool,
}

/// What is still to come of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Its head.
    Head,
    /// Nothing: it is complete.
    Nothing,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunks,
    /// Whatever comes, till the connection ends.
    UntilClose,
    /// Whatever comes, in another protocol.
    Tunnel,
    /// Nothing that could be understood: a write was given up in the middle.
    Torn,
}

/// What the body of an answer is: what its head says, or what has to be added where it does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// What follows the head.
    pub rest: Rest,
    added: Added,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Added {
    Nothing,
    Chunks,
    NoLength,
}

impl Framing {
    /// The framing of a final answer; `bodiless` is one of which nothing follows its head.
    pub fn of(head: &ResponseHeader, asked: Asked, bodiless: bool) -> Framing {
        let by_head = |rest| Framing { rest, added: Added::Nothing };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return by_head(Rest::Tunnel);
        }
        if asked.head_only || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return by_head(Rest::Nothing);
        }
        if head.headers.contains_key(TRANSFER_ENCODING) {
            return by_head(if asked.old { Rest::UntilClose } else { Rest::Chunks });
        }
        let length = head.headers.get(CONTENT_LENGTH).and_then(|length| std::str::from_utf8(length.as_bytes()).ok());
        match length.and_then(|length| length.trim().parse().ok()) {
            Some(0) => by_head(Rest::Nothing),
            Some(length) => by_head(Rest::Length(length)),
            None if bodiless => Framing { rest: Rest::Nothing, added: Added::NoLength },
            None if asked.old => by_head(Rest::UntilClose),
            None => Framing { rest: Rest::Chunks, added: Added::Chunks },
        }
    }
}

/// Writes the head of an interim answer, or of a switch of protocols: as it is.
pub fn write_as_it_is(head: &ResponseHeader, out: &mut Vec<u8>) {
    write_line(head, out);
    each_field(head, |name, value| write_field(name, value, out));
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of a final answer, with its framing, a date if it has none, and what becomes of the connection.
pub fn write_final(head: &ResponseHeader, framing: Framing, asked: Asked, ends: bool, out: &mut Vec<u8>) {
    write_line(head, out);
    let mut dated = false;
    each_field(head, |name, value| {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"date") => {
                if dated || value.len() != HTTP_DATE {
                    return;
                }
                dated = true;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => return,
            // Chunks alone are what counts (RFC 9112, section 6.3).
            14 if framing.rest == Rest::Chunks && name.eq_ignore_ascii_case(b"content-length") => return,
            17 if asked.old && name.eq_ignore_ascii_case(b"transfer-encoding") => return,
            _ => {}
        }
        write_field(name, value, out);
    });
    if !dated {
        write_field(b"Date", get_cached_date().as_bytes(), out);
    }
    match framing.added {
        Added::Nothing => {}
        Added::Chunks => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Added::NoLength => out.extend_from_slice(b"Content-Length: 0\r\n"),
    }
    // In HTTP/1.1 a connection that stays goes without saying (RFC 9112, section 9.3).
    out.extend_from_slice(match (ends, asked.old) {
        (true, _) => b"Connection: close\r\n\r\n",
        (false, true) => b"Connection: keep-alive\r\n\r\n",
        (false, false) => b"\r\n",
    });
}

fn write_line(head: &ResponseHeader, out: &mut Vec<u8>) {
    // Always our own version (RFC 9110, section 2.5).
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.get_reason_phrase().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Each field, with its name in the case that it came in.
fn each_field(head: &ResponseHeader, mut field: impl FnMut(&[u8], &[u8])) {
    if head.has_case() {
        head.case_header_iter().for_each(|(name, value)| field(name.as_slice(), value.as_bytes()));
    } else {
        head.headers.iter().for_each(|(name, value)| field(name.as_str().as_bytes(), value.as_bytes()));
    }
}

fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes what stands before the data of a chunk.
pub fn write_size(length: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 16];
    let (mut left, mut written) = (length, 0);
    for digit in digits.iter_mut().rev() {
        *digit = char::from_digit((left & 0xf) as u32, 16).map_or(b'0', |digit| digit as u8);
        left >>= 4;
        written += 1;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - written..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// What ends the data of a chunk, and of the last one.
pub const CHUNK_END: &[u8] = b"\r\n";
pub const LAST_CHUNK_END: &[u8] = b"\r\n0\r\n\r\n";
/// What ends chunks when there is no data before it.
pub const NO_MORE_CHUNKS: &[u8] = b"0\r\n\r\n";

/// Fields that a trailer must not have (RFC 9110, section 6.5.1): those that frame, route or belong to the connection.
const NEVER_TRAILERS: [&str; 8] =
    ["connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// Writes the last chunk with trailers.
pub fn write_trailers(trailers: &HeaderMap, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        if !NEVER_TRAILERS.contains(&name.as_str()) {
            write_field(name.as_str().as_bytes(), value.as_bytes(), out);
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Asked = Asked { head_only: false, old: false };
    const OLD: Asked = Asked { head_only: false, old: true };
    const HEAD: Asked = Asked { head_only: true, old: false };
    const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");
    const LENGTH: (&str, &str) = ("content-length", "5");

    fn answer(status: u16, fields: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn written(head: &ResponseHeader, asked: Asked, bodiless: bool, ends: bool) -> String {
        let mut out = Vec::new();
        write_final(head, Framing::of(head, asked, bodiless), asked, ends, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_follows_a_head_is_what_it_says_and_its_client_knows() {
        for (status, fields, asked, bodiless, rest) in [
            (200, &[LENGTH][..], NEW, false, Rest::Length(5)),
            (200, &[LENGTH], HEAD, false, Rest::Nothing),
            (200, &[CHUNKED], NEW, false, Rest::Chunks),
            (200, &[CHUNKED, LENGTH], NEW, false, Rest::Chunks),
            (200, &[CHUNKED], OLD, false, Rest::UntilClose),
            (200, &[], NEW, false, Rest::Chunks),
            (200, &[], NEW, true, Rest::Nothing),
            (200, &[], OLD, false, Rest::UntilClose),
            (200, &[LENGTH], OLD, false, Rest::Length(5)),
            (204, &[], NEW, false, Rest::Nothing),
            (304, &[LENGTH], NEW, false, Rest::Nothing),
            (101, &[], NEW, false, Rest::Tunnel),
        ] {
            let head = answer(status, fields);
            assert_eq!(Framing::of(&head, asked, bodiless).rest, rest, "{status} {fields:?} {asked:?}");
        }
    }

    #[test]
    fn a_head_keeps_its_fields_and_says_what_becomes_of_the_connection() {
        let head = answer(
            200,
            &[
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ("date", "then"),
                ("connection", "x"),
                ("server", "s"),
                LENGTH,
            ],
        );
        let expected = "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nserver: s\r\ncontent-length: 5\r\nConnection: close\r\n\r\n";
        assert_eq!(written(&head, NEW, false, true), expected);
        let chunked = answer(200, &[CHUNKED, LENGTH]);
        assert!(!written(&chunked, NEW, false, false).contains("length"));
        assert!(written(&chunked, NEW, false, false).ends_with("GMT\r\n\r\n"));
        assert!(written(&answer(200, &[LENGTH]), OLD, false, false).ends_with("GMT\r\nConnection: keep-alive\r\n\r\n"));
        assert!(!written(&chunked, OLD, false, true).contains("chunked"));
        assert!(written(&answer(200, &[]), NEW, false, false).contains("\r\nTransfer-Encoding: chunked\r\n"));
        assert!(written(&answer(200, &[]), NEW, true, false).contains("\r\nContent-Length: 0\r\n"));
    }

    #[test]
    fn a_size_is_written_in_hexadecimal_digits() {
        for (length, expected) in
            [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (65_536, "10000\r\n"), (usize::MAX, "ffffffffffffffff\r\n")]
        {
            let mut out = Vec::new();
            write_size(length, &mut out);
            assert_eq!(out, expected.as_bytes());
        }
    }

    #[test]
    fn trailers_cannot_frame() {
        let mut out = Vec::new();
        let trailers = [("x-sum", "1"), ("content-length", "5"), ("transfer-encoding", "chunked")];
        let trailers = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        write_trailers(&HeaderMap::from_iter(trailers), &mut out);
        assert_eq!(out, b"0\r\nx-sum: 1\r\n\r\n");
    }
}
