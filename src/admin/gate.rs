//! Who may use the admin address: by its own name, not from another site's page, and with the token if there is one.
//!
//! A browser carries requests of any page to this machine, and a name of somebody's own may resolve to us. What no
//! browser adds by itself is the token; so `/livez`, `/readyz` and the page itself, which tell nothing, need none.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, StatusCode};
use subtle::ConstantTimeEq as _;

use crate::config::{self, Secret, Token};

/// The longest file that can hold a token.
const LONGEST_TOKEN: usize = 4096;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Gate {
    token: Option<Secret>,
    hosts: Vec<String>,
}

/// How much a resource shows or does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// Nothing that a stranger could not know.
    Open,
    /// The page: nothing by itself, and a link to it may be followed from anywhere.
    Page,
    /// What only operators may see or do.
    Closed,
}

/// The field by which a client asks how its request was decided; its value is the token.
pub const DECISION_ASKED: HeaderName = HeaderName::from_static("x-evenkeel-explain");

/// Whether a client is told how its request was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disclosure {
    /// It has not asked, or nobody is told.
    NotAsked,
    /// It has asked with a wrong token.
    Refused,
    /// It is told.
    Granted,
}

impl Gate {
    /// The gate of a configuration; reads the token's file.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn new(admin: Option<&config::Admin>) -> Result<Gate, String> {
        let Some(admin) = admin else { return Ok(Gate::default()) };
        let token = match &admin.token {
            None => None,
            Some(Token::Environment(secret)) => Some(secret.clone()),
            Some(Token::File(path)) => {
                let fault = |why: &dyn std::fmt::Display| {
                    format!("the admin token in `{}` cannot be used: {why}", path.display())
                };
                let text = std::fs::read_to_string(path).map_err(|error| fault(&error))?;
                let token = text.lines().next().unwrap_or_default().trim();
                if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic())
                {
                    return Err(fault(&"its first line must be a token of printable characters without spaces"));
                }
                Some(Secret(token.to_owned()))
            }
        };
        Ok(Gate { token, hosts: admin.hosts.clone() })
    }

    /// The gate after a reload. The address changes with an upgrade only, so a token that guards it stays until then.
    ///
    /// # Errors
    /// As those of [`Gate::new`].
    pub fn follow(&self, admin: Option<&config::Admin>) -> Result<Gate, String> {
        let next = Gate::new(admin)?;
        Ok(Gate { token: next.token.or_else(|| self.token.clone()), ..next })
    }

    /// Whether a request may see what is `guarded`; else the status and the reason to refuse it with.
    ///
    /// # Errors
    /// 403 where it should not have come here, 401 where the token is missing or wrong.
    pub fn admit(&self, headers: &HeaderMap, guarded: Guarded) -> Result<(), (StatusCode, &'static str)> {
        let text = |name: &http::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        if !text(&HOST).is_some_and(|host| self.is_ours(host)) {
            return Err((StatusCode::FORBIDDEN, "this address answers only to its own name"));
        }
        let foreign = text(&ORIGIN).is_some_and(|origin| !self.is_our_origin(origin, text(&HOST)));
        let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or_default());
        let crossed = site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
        let followed = guarded == Guarded::Page
            && headers.get("sec-fetch-mode").is_some_and(|mode| mode.as_bytes() == b"navigate");
        if foreign || (crossed && !followed) {
            return Err((StatusCode::FORBIDDEN, "this address answers no page of another site"));
        }
        match (&self.token, guarded) {
            (None, _) | (Some(_), Guarded::Open | Guarded::Page) => Ok(()),
            (Some(token), Guarded::Closed) => {
                let given = text(&AUTHORIZATION).and_then(bearer).unwrap_or_default();
                let right: bool = token.0.as_bytes().ct_eq(given.as_bytes()).into();
                right.then_some(()).ok_or((StatusCode::UNAUTHORIZED, "the token is missing or wrong"))
            }
        }
    }

    /// Whether a client of a listener may be told how its request was decided: it asks with the token. Without a token
    /// nobody may.
    pub fn discloses(&self, headers: &HeaderMap) -> Disclosure {
        let Some(token) = &self.token else { return Disclosure::NotAsked };
        let Some(given) = headers.get(DECISION_ASKED) else { return Disclosure::NotAsked };
        let right: bool = token.0.as_bytes().ct_eq(given.as_bytes()).into();
        if right { Disclosure::Granted } else { Disclosure::Refused }
    }

    /// Whether a `Host` is one that we are asked by: an address, `localhost`, or a name from the configuration. Any
    /// other could be a page's.
    fn is_ours(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) | None => host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || address.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(name))
    }

    fn is_our_origin(&self, origin: &str, host: Option<&str>) -> bool {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| {
            self.is_ours(authority) && host.is_some_and(|host| authority.eq_ignore_ascii_case(host))
        })
    }
}

/// RFC 6750, section 2.1.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(token: Option<&str>) -> Gate {
        Gate { token: token.map(|token| Secret(token.to_owned())), hosts: vec!["lb1.internal".to_owned()] }
    }

    fn admitted(gate: &Gate, fields: &[(&'static str, &'static str)], guarded: Guarded) -> u16 {
        let headers = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        gate.admit(&headers, guarded).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn only_addresses_localhost_and_our_names_are_our_names() {
        for ours in
            ["127.0.0.1:9901", "127.0.0.1", "localhost:9901", "LOCALHOST", "[::1]:9901", "[::1]", "LB1.internal:9901"]
        {
            assert!(gate(None).is_ours(ours), "{ours}");
        }
        for foreign in [
            "evil.example",
            "evil.example:9901",
            "localhost.evil.example",
            "",
            "127.0.0.1.evil.example:9901",
            "internal",
        ] {
            assert!(!gate(None).is_ours(foreign), "{foreign}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused_and_links_to_the_page_are_followed() {
        let host = ("host", "127.0.0.1:9901");
        for (fields, expected) in [
            (&[host][..], 200),
            (&[], 403),
            (&[host, ("origin", "http://127.0.0.1:9901")], 200),
            (&[host, ("origin", "http://evil.example")], 403),
            (&[host, ("origin", "http://127.0.0.1:8080")], 403),
            (&[host, ("origin", "null")], 403),
            (&[host, ("sec-fetch-site", "same-origin")], 200),
            (&[host, ("sec-fetch-site", "none")], 200),
            (&[host, ("sec-fetch-site", "same-site")], 403),
            (&[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], 403),
        ] {
            assert_eq!(admitted(&gate(None), fields, Guarded::Closed), expected, "{fields:?}");
        }
        let followed = [host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(admitted(&gate(None), &followed, Guarded::Page), 200);
    }

    #[test]
    fn what_is_closed_needs_the_token_and_nothing_less() {
        let host = ("host", "lb1.internal:9901");
        for (value, expected) in [
            ("Bearer sesame", 200),
            ("bearer  sesame", 200),
            ("Bearer sesam", 401),
            ("Bearer sesame2", 401),
            ("Bearer", 401),
            ("Basic sesame", 401),
            ("sesame", 401),
        ] {
            assert_eq!(
                admitted(&gate(Some("sesame")), &[host, ("authorization", value)], Guarded::Closed),
                expected,
                "{value}"
            );
        }
        assert_eq!(admitted(&gate(Some("sesame")), &[host], Guarded::Closed), 401);
        assert_eq!(admitted(&gate(Some("sesame")), &[host], Guarded::Open), 200);
    }

    #[test]
    fn a_token_stays_until_its_address_goes() {
        let gate = gate(Some("sesame")).follow(Some(&config::Admin::default())).unwrap();
        assert_eq!(gate.token, Some(Secret("sesame".to_owned())));
    }
}
