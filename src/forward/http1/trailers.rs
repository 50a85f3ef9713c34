//! The trailers of a request on their way to a backend of HTTP/1.1: which of them go on, and how they are written.
//!
//! A backend may take trailers for fields of the head. So whatever frames, routes, authenticates, modifies a request or
//! describes its content, and whatever tells who asked, goes no further (RFC 9110, section 6.5.1); nor does what the rules of
//! the route remove or set.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::forward::header_rules::HeaderRules;

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

/// The lines of those that may pass by these rules of the route; none if there are none.
pub fn lines(trailers: &HeaderMap, rules: Option<&HeaderRules>) -> Option<Bytes> {
    let passing = || trailers.iter().filter(|(name, _)| passes(name, rules));
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
fn passes(name: &HeaderName, rules: Option<&HeaderRules>) -> bool {
    let plain = name.as_str().replace('_', "-");
    rules.is_none_or(|rules| !rules.replaces(&plain))
        && !REFUSED.iter().any(|refused| refused.as_str() == plain)
        && !REFUSED_FAMILIES.iter().any(|family| plain.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::header_rules::Value;

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
        assert_eq!(lines(&sent, None).unwrap(), "x-checksum: 1\r\ngrpc-status: 1\r\n");
        assert_eq!(lines(&trailers(&["host", "if-match", "content_length"]), None), None);
        assert_eq!(lines(&HeaderMap::new(), None), None);
    }

    #[test]
    fn what_the_rules_of_a_route_remove_or_set_does_not_pass_in_any_spelling() {
        let role = (HeaderName::from_static("x-role"), Value::Fixed(HeaderValue::from_static("guest")));
        let rules = HeaderRules {
            remove: vec![HeaderName::from_static("x-debug")],
            set: vec![role.clone()],
            add: vec![(HeaderName::from_static("x-more"), role.1)],
        };
        let sent = trailers(&["x-debug", "x_debug", "X-Role", "x_role", "x-more", "x-sum"]);
        assert_eq!(lines(&sent, Some(&rules)).unwrap(), "x-more: 1\r\nx-sum: 1\r\n");
    }
}
