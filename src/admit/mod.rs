//! Whether a request is one that can be understood without doubt.
//!
//! pingora's parser is lenient where two parsers could read differently; what reaches here and is in doubt is
//! refused before a route is looked for.

pub mod connection;
mod http2;

use http::header::{CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Version};
use pingora::http::RequestHeader;

use crate::failure::Reason;

/// What a listener allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of names and values.
    pub header_bytes: u64,
    /// The most fields.
    pub header_fields: usize,
}

/// Checks a request's head.
///
/// # Errors
/// The reason to refuse it for; its connection must then be closed, since where it ends is in doubt.
pub fn check(request: &RequestHeader, limits: Limits) -> Result<(), Reason> {
    // A tunnel is not what this proxy is for, and an echo of what it adds helps only an attacker.
    if matches!(request.method, Method::CONNECT | Method::TRACE) {
        return Err(Reason::MethodNotAllowed);
    }
    size(request, limits)?;
    framing(request)?;
    host(request)?;
    target(request)?;
    http2::check(request)
}

/// Whether the body that a checked request announces is one of at most so many bytes.
///
/// # Errors
/// [`Reason::BodyTooLarge`]. A body of unknown length is counted when it comes.
pub fn body(request: &RequestHeader, most: Option<u64>) -> Result<(), Reason> {
    let Some((most, length)) = most.zip(request.headers.get(CONTENT_LENGTH)) else { return Ok(()) };
    // Of a list all are equal.
    let first = length.as_bytes().split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    let announced = std::str::from_utf8(first).ok().and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > most) { Err(Reason::BodyTooLarge) } else { Ok(()) }
}

/// The host that the client asks for: the authority in HTTP/2, the field in HTTP/1.
pub fn host_of(request: &RequestHeader) -> Option<HeaderValue> {
    match request.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => request.headers.get(HOST).cloned(),
    }
}

/// Whether the client says that it reads trailers (RFC 9110, section 10.1.4); in HTTP/2 it can say nothing else.
pub fn reads_trailers(request: &RequestHeader) -> bool {
    request.version == Version::HTTP_2 && request.headers.contains_key(TE)
}

fn size(request: &RequestHeader, limits: Limits) -> Result<(), Reason> {
    let mut bytes = request.raw_path().len() as u64;
    for (name, value) in &request.headers {
        // Name, colon, space, value, line end.
        bytes += name.as_str().len() as u64 + value.len() as u64 + 4;
    }
    if bytes > limits.header_bytes || request.headers.len() > limits.header_fields {
        return Err(Reason::HeaderTooLarge);
    }
    Ok(())
}

/// RFC 9112, section 6: how long the body is must not be a matter of opinion.
fn framing(request: &RequestHeader) -> Result<(), Reason> {
    let codings: Vec<&HeaderValue> = request.headers.get_all(TRANSFER_ENCODING).iter().collect();
    match codings.as_slice() {
        [] => lengths_agree(&request.headers),
        [coding] if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => {
            if request.version == Version::HTTP_10 || request.headers.contains_key(CONTENT_LENGTH) {
                return Err(Reason::BadRequest);
            }
            Ok(())
        }
        _ => Err(Reason::UnknownCoding),
    }
}

fn lengths_agree(headers: &HeaderMap) -> Result<(), Reason> {
    let mut lengths =
        headers.get_all(CONTENT_LENGTH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let Some(first) = lengths.next().map(<[u8]>::trim_ascii) else { return Ok(()) };
    let is_number = !first.is_empty() && first.iter().all(u8::is_ascii_digit) && first.len() <= 18;
    if !is_number || lengths.any(|length| length.trim_ascii() != first) {
        return Err(Reason::BadRequest);
    }
    Ok(())
}

/// RFC 9112, section 3.2: exactly one `Host` in HTTP/1.1, and one that can be a host.
fn host(request: &RequestHeader) -> Result<(), Reason> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let first = hosts.next();
    let authority = request.uri.authority().is_some();
    let right = match first {
        None => authority || request.version == Version::HTTP_10 || request.version == Version::HTTP_09,
        Some(host) => hosts.next().is_none() && !host.is_empty() && host.as_bytes().iter().all(may_be_in_a_host),
    };
    if right { Ok(()) } else { Err(Reason::BadRequest) }
}

/// RFC 3986, section 3.2.2, with a port; no user information.
fn may_be_in_a_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte)
}

/// RFC 9112, section 3.2: a path, an absolute URI, or `*` for OPTIONS.
fn target(request: &RequestHeader) -> Result<(), Reason> {
    let target = request.raw_path();
    let absolute = || {
        target.iter().position(|byte| *byte == b':').is_some_and(|colon| target.get(colon..colon + 3) == Some(b"://"))
    };
    let right = target.starts_with(b"/")
        || (target == b"*" && request.method == http::Method::OPTIONS)
        || (request.version == Version::HTTP_2 && request.uri.path().starts_with('/'))
        || absolute();
    if right { Ok(()) } else { Err(Reason::BadRequest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { header_bytes: 1000, header_fields: 10 };

    fn request(method: &str, target: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build(method, target.as_bytes(), None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    #[test]
    fn a_body_that_says_it_is_too_large_is_refused() {
        let length = |length| request("POST", "/", &[("content-length", length)]);
        assert_eq!(body(&length("11"), Some(10)), Err(Reason::BodyTooLarge));
        assert_eq!(body(&length("11, 11"), Some(10)), Err(Reason::BodyTooLarge));
        assert_eq!(body(&length("10"), Some(10)), Ok(()));
        assert_eq!(body(&length("11"), None), Ok(()));
        assert_eq!(body(&request("POST", "/", &[("transfer-encoding", "chunked")]), Some(10)), Ok(()));
    }

    #[test]
    fn what_is_in_doubt_is_refused_and_what_is_not_passes() {
        let host = ("host", "a.example");
        let cases: &[(&str, RequestHeader, Result<(), Reason>)] = &[
            ("plain", request("GET", "/", &[host]), Ok(())),
            ("one length", request("POST", "/", &[host, ("content-length", "5")]), Ok(())),
            (
                "the same length twice",
                request("POST", "/", &[host, ("content-length", "5"), ("content-length", "5")]),
                Ok(()),
            ),
            ("two lengths", request("POST", "/", &[host, ("content-length", "5, 6")]), Err(Reason::BadRequest)),
            ("a signed length", request("POST", "/", &[host, ("content-length", "+5")]), Err(Reason::BadRequest)),
            (
                "a length beyond 2^63",
                request("POST", "/", &[host, ("content-length", "9223372036854775808")]),
                Err(Reason::BadRequest),
            ),
            ("chunked", request("POST", "/", &[host, ("transfer-encoding", "Chunked")]), Ok(())),
            (
                "gzip, chunked",
                request("POST", "/", &[host, ("transfer-encoding", "gzip, chunked")]),
                Err(Reason::UnknownCoding),
            ),
            (
                "chunked and a length",
                request("POST", "/", &[host, ("transfer-encoding", "chunked"), ("content-length", "5")]),
                Err(Reason::BadRequest),
            ),
            ("no host", request("GET", "/", &[]), Err(Reason::BadRequest)),
            ("two hosts", request("GET", "/", &[host, host]), Err(Reason::BadRequest)),
            ("an empty host", request("GET", "/", &[("host", "")]), Err(Reason::BadRequest)),
            ("a host with a space", request("GET", "/", &[("host", "a b")]), Err(Reason::BadRequest)),
            ("a host with a user", request("GET", "/", &[("host", "u@a")]), Err(Reason::BadRequest)),
            ("an address and a port", request("GET", "/", &[("host", "[::1]:8080")]), Ok(())),
            ("a word as target", request("GET", "x", &[host]), Err(Reason::BadRequest)),
            ("the star", request("OPTIONS", "*", &[host]), Ok(())),
            ("the star of a GET", request("GET", "*", &[host]), Err(Reason::BadRequest)),
            ("many bytes", request("GET", "/", &[host, ("x", &"y".repeat(1000))]), Err(Reason::HeaderTooLarge)),
            ("many fields", request("GET", "/", &[("x", "1"); 11]), Err(Reason::HeaderTooLarge)),
        ];
        for (name, request, expected) in cases {
            assert_eq!(check(request, LIMITS), *expected, "{name}");
        }
    }
}
