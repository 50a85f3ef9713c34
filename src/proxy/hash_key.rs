//! What of a request decides where it goes, where the policy hashes.

use http::HeaderMap;
use http::header::COOKIE;
use pingora::http::RequestHeader;

use super::context::Context;
use crate::balance::Key;
use crate::config::HashKey;

impl Context {
    /// The key that the configuration names; none if the request does not have it.
    pub(super) fn hashed_by(&self, key: &HashKey, request: &RequestHeader) -> Option<Key> {
        match key {
            HashKey::ClientAddress => self.client_address().map(|address| Key::of_text(&address)),
            HashKey::Header(name) => request.headers.get(name).map(|value| Key::of(value.as_bytes())),
            HashKey::Cookie(name) => cookie(&request.headers, name).map(Key::of),
            HashKey::Path => Some(Key::of(request.uri.path().as_bytes())),
            HashKey::Query => request.uri.query().map(|query| Key::of(query.as_bytes())),
            HashKey::Parameter(name) => parameter(request.uri.query()?, name).map(|value| Key::of(value.as_bytes())),
        }
    }
}

/// The value of the first cookie of this name (RFC 6265, section 4.2.1), which may stand in one of several fields in
/// HTTP/2.
fn cookie<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = fields.get_all(COOKIE).into_iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut fields = HeaderMap::new();
        fields.append(COOKIE, HeaderValue::from_static("xsession=1; session-id=2;session=three"));
        fields.append(COOKIE, HeaderValue::from_static("late=4"));
        assert_eq!(cookie(&fields, "session"), Some(&b"three"[..]));
        assert_eq!(cookie(&fields, "late"), Some(&b"4"[..]));
        assert_eq!(cookie(&fields, "id"), None);
    }

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        assert_eq!(parameter("xuser=1&user=2&user=3", "user"), Some("2"));
        assert_eq!(parameter("user", "user"), None);
        assert_eq!(parameter("user=", "user"), Some(""));
    }
}
