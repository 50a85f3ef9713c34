//! What an HTTP/2 request must be beyond what the parser sees to (RFC 9113, section 8).
//!
//! Pseudo-fields that are double, late, unknown or missing, fields of a connection, names that are none, and lengths
//! that the body disagrees with end the stream before they come as far as this. Here is what a parser of HTTP/1.1
//! behind us could read differently.

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method};
use pingora::http::RequestHeader;

use crate::failure::Reason;
use crate::wire::{Authority, Scheme, is_framing_in_disguise, is_path};

/// What a listener allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of names and values.
    pub header_bytes: u64,
    /// The most fields.
    pub header_fields: usize,
}

/// Checks a request of HTTP/2.
///
/// # Errors
/// The reason to refuse it for. Where it ends is not in doubt, so its connection may go on.
pub fn check(request: &RequestHeader, limits: Limits) -> Result<(), Reason> {
    // A tunnel is not what this proxy is for, and an echo of what it adds helps only an attacker.
    if matches!(request.method, Method::CONNECT | Method::TRACE) {
        return Err(Reason::MethodNotAllowed);
    }
    if size(request) > limits.header_bytes || request.headers.len() > limits.header_fields {
        return Err(Reason::HeaderTooLarge);
    }
    let right = is_target(request)
        && names_one_host(request).is_some()
        && has_one_length(request)
        && !request.headers.keys().any(|name| is_framing_in_disguise(name.as_str().as_bytes()))
        && request.headers.values().all(is_trimmed);
    if right { Ok(()) } else { Err(Reason::BadRequest) }
}

/// The bytes that the head would have in HTTP/1.1, but for its method.
fn size(request: &RequestHeader) -> u64 {
    // Name, colon, space, value, line end.
    let fields = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    fields.sum::<usize>() as u64 + request.raw_path().len() as u64
}

/// RFC 9113, section 8.3.1: an authority, or a host, or both, which then mean the same.
fn names_one_host(request: &RequestHeader) -> Option<()> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(Authority::parse(host.as_bytes())?),
        (Some(_), Some(_)) => return None,
    };
    // Without an authority the scheme is not kept.
    let Some(authority) = request.uri.authority() else { return host.map(drop) };
    let scheme = match request.uri.scheme_str()? {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let asked = Authority::parse(authority.as_str().as_bytes())?;
    host.is_none_or(|host| asked.is_same(&host, scheme)).then_some(())
}

/// RFC 9113, section 8.3.1: a path, or `*` for OPTIONS.
fn is_target(request: &RequestHeader) -> bool {
    let target = request.raw_path();
    is_path(target) || (target == b"*" && request.method == Method::OPTIONS)
}

/// RFC 9110, section 8.6: a list, or several fields, of one and the same length would be one; nobody sends them.
fn has_one_length(request: &RequestHeader) -> bool {
    let mut lengths = request.headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => true,
        (Some(length), None) => length.as_bytes().iter().all(u8::is_ascii_digit) && matches!(length.len(), 1..=18),
        (Some(_), Some(_)) => false,
    }
}

/// RFC 9113, section 8.2.1: no space at either end. Between lines of HTTP/1.1 it would vanish.
fn is_trimmed(value: &HeaderValue) -> bool {
    let space = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    let value = value.as_bytes();
    !space(value.first()) && !space(value.last())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Version;

    const LIMITS: Limits = Limits { header_bytes: 1000, header_fields: 10 };

    fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> RequestHeader {
        let mut request = http::Request::builder().method(method).uri(uri).version(Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, HeaderValue::from_str(value).unwrap());
        }
        request.body(()).unwrap().into_parts().0.into()
    }

    type Fields = &'static [(&'static str, &'static str)];

    #[test]
    fn what_http_1_1_would_read_differently_is_refused() {
        let bad = Err(Reason::BadRequest);
        let cases: &[(&str, &str, Fields, Result<(), Reason>)] = &[
            ("GET", "http://a/", &[("x", "1")], Ok(())),
            ("GET", "https://a:443/x?y", &[("x", "")], Ok(())),
            ("GET", "http://[::1]:80/", &[], Ok(())),
            ("GET", "http://a:/", &[], Ok(())),
            ("GET", "http://a/", &[("host", "A:80")], Ok(())),
            ("GET", "/", &[("host", "a")], Ok(())),
            ("OPTIONS", "http://a/*", &[], Ok(())),
            ("POST", "http://a/", &[("content-length", "5")], Ok(())),
            ("TRACE", "http://a/", &[], Err(Reason::MethodNotAllowed)),
            ("GET", "ftp://a/", &[], bad),
            ("GET", "http://:80/", &[], bad),
            ("GET", "http://a:b/", &[], bad),
            ("GET", "http://a:65536/", &[], bad),
            ("GET", "http://u@a/", &[], bad),
            ("GET", "http://a?x", &[], bad),
            ("GET", "/", &[], bad),
            ("GET", "/", &[("host", "")], bad),
            ("GET", "/", &[("host", "a"), ("host", "a")], bad),
            ("GET", "http://a/", &[("host", "b")], bad),
            ("GET", "http://a/", &[("host", "a:8080")], bad),
            ("GET", "http://a/", &[("x", " 1")], bad),
            ("GET", "http://a/", &[("x", "1\t")], bad),
            ("POST", "http://a/", &[("content-length", "5"), ("content-length", "5")], bad),
            ("POST", "http://a/", &[("content-length", "5, 5")], bad),
            ("POST", "http://a/", &[("content-length", "+5")], bad),
            ("POST", "http://a/", &[("content-length", "")], bad),
            ("POST", "http://a/", &[("content_length", "5")], bad),
            ("POST", "http://a/", &[("transfer_encoding", "chunked")], bad),
            ("GET", "http://a/", &[("x_other", "1")], Ok(())),
            ("GET", "http://a!b/", &[], bad),
            ("GET", "/", &[("host", "a,b;c")], bad),
            ("GET", "http://a/", &[("x", "1"); 11], Err(Reason::HeaderTooLarge)),
        ];
        let long = "y".repeat(1000);
        assert_eq!(check(&request("GET", "http://a/", &[("x", &long)]), LIMITS), Err(Reason::HeaderTooLarge));
        for (method, uri, fields, expected) in cases {
            assert_eq!(check(&request(method, uri, fields), LIMITS), *expected, "{method} {uri} {fields:?}");
        }
    }
}
