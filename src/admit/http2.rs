//! What an HTTP/2 request must be beyond what the parser sees to (RFC 9113, section 8).
//!
//! Pseudo-fields that are double, late, unknown or missing, fields of a connection, names that are none, and lengths
//! that the body disagrees with end the stream before they come as far as this. Here is what a parser of HTTP/1.1
//! behind us could read differently.

use http::uri::Authority;
use http::{HeaderValue, Method, Version};
use pingora::http::RequestHeader;
use pingora_core::protocols::http::authority::validate_request_authority;

use crate::failure::Reason;

/// Checks a request of HTTP/2; one of HTTP/1 has passed.
///
/// # Errors
/// The reason to refuse it for. Where it ends is not in doubt, so its connection may go on.
pub fn check(request: &RequestHeader) -> Result<(), Reason> {
    if request.version != Version::HTTP_2 {
        return Ok(());
    }
    if request.method == Method::TRACE {
        return Err(Reason::MethodNotAllowed);
    }
    // Without an authority the scheme is not kept, and the host field was checked.
    let scheme = matches!(request.uri.scheme_str(), Some("http" | "https"));
    let right = request.uri.authority().is_none_or(|authority| scheme && is_authority(authority))
        && is_target(request)
        && validate_request_authority(request).is_ok()
        && request.headers.values().all(is_trimmed);
    if right { Ok(()) } else { Err(Reason::BadRequest) }
}

/// RFC 3986, section 3.2: a host, and a port that there is, if any.
fn is_authority(authority: &Authority) -> bool {
    let (host, whole) = (authority.host(), authority.as_str());
    let port = whole.strip_prefix(host);
    !host.is_empty() && port.is_some_and(|port| matches!(port, "" | ":") || authority.port_u16().is_some())
}

/// RFC 9113, section 8.3.1: a path, or `*` for OPTIONS.
fn is_target(request: &RequestHeader) -> bool {
    let target = request.raw_path();
    let whole = !target.iter().any(|byte| matches!(byte, 0 | b'\n' | b'\r' | b' '));
    whole && (target.starts_with(b"/") || (target == b"*" && request.method == Method::OPTIONS))
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

    fn request(method: &str, uri: &str, field: &str) -> RequestHeader {
        let request = http::Request::builder().method(method).uri(uri).version(Version::HTTP_2);
        let value = HeaderValue::from_str(field).unwrap();
        request.header("x", value).body(()).unwrap().into_parts().0.into()
    }

    #[test]
    fn what_http_1_1_would_read_differently_is_refused() {
        let cases = [
            ("GET", "http://a/", "1", Ok(())),
            ("GET", "https://a:443/x?y", "", Ok(())),
            ("GET", "http://[::1]:80/", "1", Ok(())),
            ("GET", "http://a:/", "1", Ok(())),
            ("OPTIONS", "http://a/*", "1", Ok(())),
            ("TRACE", "http://a/", "1", Err(Reason::MethodNotAllowed)),
            ("GET", "ftp://a/", "1", Err(Reason::BadRequest)),
            ("GET", "http://:80/", "1", Err(Reason::BadRequest)),
            ("GET", "http://a:b/", "1", Err(Reason::BadRequest)),
            ("GET", "http://a:65536/", "1", Err(Reason::BadRequest)),
            ("GET", "http://a?x", "1", Err(Reason::BadRequest)),
            ("GET", "http://a/", " 1", Err(Reason::BadRequest)),
            ("GET", "http://a/", "1\t", Err(Reason::BadRequest)),
        ];
        for (method, uri, field, expected) in cases {
            assert_eq!(check(&request(method, uri, field)), expected, "{method} {uri} {field:?}");
        }
    }
}
