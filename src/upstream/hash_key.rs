//! What of a request decides where it goes, where the policy hashes.

use std::net::IpAddr;

use http::HeaderMap;

use crate::balance::Key;
use crate::config::HashKey;
use crate::cookies;

/// What a key can be made of.
#[derive(Clone, Copy, Debug)]
pub struct Hashable<'a> {
    /// Behind trusted proxies.
    pub client: Option<IpAddr>,
    /// All fields of the request.
    pub headers: &'a HeaderMap,
    /// In its one form.
    pub path: &'a str,
    /// As it came.
    pub query: Option<&'a str>,
}

impl Hashable<'_> {
    /// The key that the configuration names; none if the request does not have it.
    pub fn by(&self, key: &HashKey) -> Option<Key> {
        match key {
            HashKey::ClientAddress => self.client.map(|address| Key::of_text(&address)),
            HashKey::Header(name) => self.headers.get(name).map(|value| Key::of(value.as_bytes())),
            HashKey::Cookie(name) => cookies::values(self.headers, name).next().map(Key::of),
            HashKey::Path => Some(Key::of(self.path.as_bytes())),
            HashKey::Query => self.query.map(|query| Key::of(query.as_bytes())),
            HashKey::Parameter(name) => parameter(self.query?, name).map(|value| Key::of(value.as_bytes())),
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
