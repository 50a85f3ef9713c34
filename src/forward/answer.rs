//! Whether what a backend answers can be passed on without doubt, and what is put right in it.
//!
//! An answer of HTTP/1.1 has been [read strictly](crate::wire::answer), one of HTTP/2 by its library, which takes statuses that
//! there are none of. Here is what both must be held to, and what only the request tells: whether a switch of protocols is
//! the one that was asked for, and how many interim answers there were. What is in doubt becomes 502, and the connection
//! that it came on is not used again.

use http::header::{self, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode, Version};
use pingora::http::ResponseHeader;

/// The most interim answers (1xx) before the final one. A backend that says nothing else would hold its request for
/// ever, since each of them is a sign of life.
pub const MOST_INTERIM: u32 = 64;

/// What is wrong with an answer, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt(pub &'static str);

/// Checks the head of an answer. `interim` of them came before it; `upgrade` is the protocol that was asked for.
///
/// # Errors
/// What is wrong with it: nothing of it may be passed on.
pub fn check(response: &ResponseHeader, interim: u32, upgrade: Option<&HeaderValue>) -> Result<(), Doubt> {
    let status = response.status;
    // RFC 9110, section 15.
    if status.as_u16() >= 600 {
        return Err(Doubt("a status that there is not"));
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return switches_as_asked(response, upgrade);
    }
    if status.is_informational() {
        return if interim < MOST_INTERIM { Ok(()) } else { Err(Doubt("interim answers without end")) };
    }
    coding(response)?;
    length(response)
}

/// Makes the framing of an answer what it must be for its status, and the version ours (RFC 9112, section 2.3).
pub fn put_right(response: &mut ResponseHeader) {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    response.set_version(Version::HTTP_11);
    single_length(response);
    let status = response.status;
    if status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        // RFC 9112, section 6.1; what a 304 stands for may have had chunks.
        remove(response, &TRANSFER_ENCODING);
        if status != StatusCode::NOT_MODIFIED {
            // RFC 9110, section 8.6.
            remove(response, &CONTENT_LENGTH);
        }
    }
}

/// RFC 9110, section 8.6: several of one and the same length become one.
fn single_length(response: &mut ResponseHeader) {
    let mut lengths = response.headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return };
    if lengths.next().is_none() && !first.as_bytes().contains(&b',') {
        return;
    }
    let length = HeaderValue::from_bytes(first_of(first));
    if let Ok(length) = length
        && response.insert_header(CONTENT_LENGTH, length).is_err()
    {
        debug_assert!(false, "a length can be set where there was one");
    }
}

/// The first of a list.
fn first_of(list: &HeaderValue) -> &[u8] {
    list.as_bytes().split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii()
}

fn remove(response: &mut ResponseHeader, name: &header::HeaderName) {
    if response.headers.contains_key(name) {
        response.remove_header(name);
    }
}

/// RFC 9110, section 7.8: only to a protocol that the client has named.
fn switches_as_asked(response: &ResponseHeader, asked: Option<&HeaderValue>) -> Result<(), Doubt> {
    let Some(asked) = asked else { return Err(Doubt("a switch of protocols that was not asked for")) };
    let answered = response.headers.get(header::UPGRADE).map(|protocol| protocol.as_bytes().trim_ascii());
    let named = |protocol: &[u8]| {
        asked.as_bytes().split(|byte| *byte == b',').any(|asked| asked.trim_ascii().eq_ignore_ascii_case(protocol))
    };
    if answered.is_some_and(named) { Ok(()) } else { Err(Doubt("a switch to another protocol than was asked for")) }
}

/// RFC 9112, section 6.1: we can undo chunks and nothing else, and HTTP/1.0 knows no codings.
fn coding(response: &ResponseHeader) -> Result<(), Doubt> {
    let mut codings = response.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(first) = codings.next() else { return Ok(()) };
    let chunked = first.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    match response.version {
        Version::HTTP_11 if chunked => Ok(()),
        _ => Err(Doubt("a transfer coding that cannot be undone")),
    }
}

/// RFC 9110, section 8.6. That all lengths are the same one the parser has seen to.
fn length(response: &ResponseHeader) -> Result<(), Doubt> {
    let Some(length) = response.headers.get(CONTENT_LENGTH) else { return Ok(()) };
    let number = std::str::from_utf8(first_of(length)).ok().and_then(|first| first.parse::<i64>().ok());
    if number.is_some() { Ok(()) } else { Err(Doubt("a length that no body has")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, version: Version, fields: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(status, None).unwrap();
        response.set_version(version);
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        response
    }

    #[test]
    fn what_cannot_be_read_in_one_way_only_is_refused() {
        let chunked = ("transfer-encoding", "chunked");
        let cases = [
            (true, response(200, Version::HTTP_11, &[])),
            (true, response(200, Version::HTTP_11, &[chunked])),
            (true, response(599, Version::HTTP_11, &[("content-length", "5, 5")])),
            (true, response(200, Version::HTTP_2, &[("content-length", "9223372036854775807")])),
            (false, response(600, Version::HTTP_11, &[])),
            (false, response(200, Version::HTTP_10, &[chunked])),
            (false, response(200, Version::HTTP_2, &[chunked])),
            (false, response(200, Version::HTTP_11, &[chunked, chunked])),
            (false, response(200, Version::HTTP_11, &[("transfer-encoding", "gzip, chunked")])),
            (false, response(200, Version::HTTP_11, &[("content-length", "9223372036854775808")])),
        ];
        for (right, response) in cases {
            assert_eq!(check(&response, 0, None).is_ok(), right, "{response:?}");
        }
    }

    #[test]
    fn protocols_are_switched_as_asked_or_not_at_all() {
        let websocket = HeaderValue::from_static("WebSocket");
        let switch = |protocol: &'static [(&'static str, &'static str)]| response(101, Version::HTTP_11, protocol);
        assert!(check(&switch(&[("upgrade", "websocket")]), 0, Some(&websocket)).is_ok());
        assert!(check(&switch(&[("upgrade", "websocket")]), 0, None).is_err());
        assert!(check(&switch(&[("upgrade", "h2c")]), 0, Some(&websocket)).is_err());
        assert!(check(&switch(&[]), 0, Some(&websocket)).is_err());
    }

    #[test]
    fn interim_answers_come_to_an_end() {
        let hints = response(103, Version::HTTP_11, &[]);
        assert!(check(&hints, MOST_INTERIM - 1, None).is_ok());
        assert!(check(&hints, MOST_INTERIM, None).is_err());
    }

    #[test]
    fn an_answer_without_a_body_has_no_framing_of_one() {
        let framing = [("content-length", "5"), ("transfer-encoding", "chunked")];
        for (status, left) in [(103, &[][..]), (204, &[]), (304, &["content-length"])] {
            let mut response = response(status, Version::HTTP_10, &framing);
            put_right(&mut response);
            assert_eq!(response.headers.keys().map(header::HeaderName::as_str).collect::<Vec<_>>(), left, "{status}");
            assert_eq!(response.version, Version::HTTP_11);
        }
    }
}
