//! The trailers of a request on their way to a backend: which of them go on.
//!
//! A backend may take trailers for fields of the head. So whatever frames, routes, authenticates, modifies a request or
//! describes its content, and whatever tells who asked, goes no further (RFC 9110, section 6.5.1); nor does what the rules of
//! the route remove or set.

use http::HeaderMap;
use http::header::{self, HeaderName};

use super::header_rules::HeaderRules;

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

/// Those that may pass by these rules of the route; none if there are none.
pub fn passing(trailers: &HeaderMap, rules: Option<&HeaderRules>) -> Option<HeaderMap> {
    let passing = trailers.iter().filter(|(name, _)| passes(name, rules));
    let mut all = HeaderMap::new();
    all.extend(passing.map(|(name, value)| (name.clone(), value.clone())));
    (!all.is_empty()).then_some(all)
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
    use http::HeaderValue;

    fn trailers(names: &[&str]) -> HeaderMap {
        names.iter().map(|name| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("1"))).collect()
    }

    /// The names of those that pass.
    fn passed(names: &[&str], rules: Option<&HeaderRules>) -> Vec<String> {
        let passed = passing(&trailers(names), rules).unwrap_or_default();
        passed.keys().map(|name| name.as_str().to_owned()).collect()
    }

    #[test]
    fn what_sums_up_a_body_passes_and_what_could_pass_for_a_head_does_not() {
        let sent = ["x-checksum", "X-Forwarded-For", "x_forwarded_for", "authorization", "Content-Type", "grpc-status"];
        assert_eq!(passed(&sent, None), ["x-checksum", "grpc-status"]);
        assert_eq!(passing(&trailers(&["host", "if-match", "content_length"]), None), None);
        assert_eq!(passing(&HeaderMap::new(), None), None);
    }

    #[test]
    fn what_the_rules_of_a_route_remove_or_set_does_not_pass_in_any_spelling() {
        let role = (HeaderName::from_static("x-role"), Value::Fixed(HeaderValue::from_static("guest")));
        let rules = HeaderRules {
            remove: vec![HeaderName::from_static("x-debug")],
            set: vec![role.clone()],
            add: vec![(HeaderName::from_static("x-more"), role.1)],
        };
        let sent = ["x-debug", "x_debug", "X-Role", "x_role", "x-more", "x-sum"];
        assert_eq!(passed(&sent, Some(&rules)), ["x-more", "x-sum"]);
    }
}
