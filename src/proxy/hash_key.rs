//! What of a request decides where it goes, where the policy hashes.

use pingora::http::RequestHeader;

use super::context::Context;
use crate::balance::Key;
use crate::config::HashKey;
use crate::cookies;

impl Context {
    /// The key that the configuration names; none if the request does not have it.
    pub(super) fn hashed_by(&self, key: &HashKey, request: &RequestHeader) -> Option<Key> {
        match key {
            HashKey::ClientAddress => self.client_address().map(|address| Key::of_text(&address)),
            HashKey::Header(name) => request.headers.get(name).map(|value| Key::of(value.as_bytes())),
            HashKey::Cookie(name) => cookies::values(&request.headers, name).next().map(Key::of),
            HashKey::Path => Some(Key::of(self.normal_path().unwrap_or(request.uri.path()).as_bytes())),
            HashKey::Query => request.uri.query().map(|query| Key::of(query.as_bytes())),
            HashKey::Parameter(name) => parameter(request.uri.query()?, name).map(|value| Key::of(value.as_bytes())),
        }
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        assert_eq!(parameter("xuser=1&user=2&user=3", "user"), Some("2"));
        assert_eq!(parameter("user", "user"), None);
        assert_eq!(parameter("user=", "user"), Some(""));
    }
}
