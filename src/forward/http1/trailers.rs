//! The trailers of a request on their way to a backend of HTTP/1.1: which of them go on, and how they are written.
//!
//! A backend may take trailers for fields of the head. So whatever frames, routes, authenticates, modifies a request or
//! describes its content, and whatever tells who asked, goes no further (RFC 9110, section 6.5.1).

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

/// Names that no trailer may have.
const REFUSED: [HeaderName; 24] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::COOKIE,
    header::EXPECT,
    header::FORWARDED,
    header::HOST,
    header::MAX_FORWARDS,
    header::ORIGIN,
    header::PRAGMA,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::REFERER,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
    header::VIA,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("x-request-id"),
];

/// How names begin that no trailer may have.
const REFUSED_FAMILIES: [&str; 5] = ["content-", "if-", "sec-", "x-forwarded-", "x-real-"];

/// The lines of those that may pass; none if there are none.
pub fn lines(trailers: &HeaderMap) -> Option<Bytes> {
    let passing = || trailers.iter().filter(|(name, _)| passes(name));
    passing().next()?;
    let length = passing().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut lines = Vec::with_capacity(length);
    for (name, value) in passing() {
        for part in [name.as_str().as_bytes(), b": ", HeaderValue::as_bytes(value), b"\r\n"] {
            lines.extend_from_slice(part);
        }
    }
    Some(Bytes::from(lines))
}

/// Some backends read an underscore as the hyphen.
fn passes(name: &HeaderName) -> bool {
    let plain = name.as_str().replace('_', "-");
    !REFUSED.iter().any(|refused| refused.as_str() == plain)
        && !REFUSED_FAMILIES.iter().any(|family| plain.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailers(names: &[&str]) -> HeaderMap {
        names.iter().map(|name| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("1"))).collect()
    }

    #[test]
    fn what_sums_up_a_body_passes_and_what_could_pass_for_a_head_does_not() {
        let sent = trailers(&[
            "x-checksum",
            "X-Forwarded-For",
            "x_forwarded_for",
            "authorization",
            "Content-Type",
            "grpc-status",
        ]);
        assert_eq!(lines(&sent).unwrap(), "x-checksum: 1\r\ngrpc-status: 1\r\n");
        assert_eq!(lines(&trailers(&["host", "if-match", "content_length"])), None);
        assert_eq!(lines(&HeaderMap::new()), None);
    }
}
