//! Hosts: as rules name them, and as requests ask for them.
//!
//! Invariant: both sides are in lower case, without port and final dot; what rules name is in ASCII (IDNA, UTS 46), as
//! it comes over the wire. Deliberately absent: resolving.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::units::Mistake;

/// RFC 1035, section 2.3.4.
const LONGEST: usize = 253;

/// Which hosts a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This one.
    Exact(String),
    /// All below this domain (`example.com` for `*.example.com`), however many labels; not the domain itself.
    Below(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(host) => formatter.write_str(host),
            HostPattern::Below(domain) => write!(formatter, "*.{domain}"),
        }
    }
}

impl HostPattern {
    /// Reads `shop.example.com`, `*.example.com`, `bücher.example`, `192.0.2.1`, `[2001:db8::1]`.
    ///
    /// # Errors
    /// It is no host, or names a port or a scheme.
    pub fn new(text: &str) -> Result<HostPattern, Mistake> {
        if text == "*" {
            return Err(Mistake::new("`*` is not a host", "leave `hosts` out: a route without it is for all"));
        }
        match text.strip_prefix("*.") {
            Some(domain) => Ok(HostPattern::Below(name(domain, text)?)),
            None => Ok(HostPattern::Exact(one_host(text)?)),
        }
    }
}

fn one_host(text: &str) -> Result<String, Mistake> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Option<Ipv6Addr> = inner.parse().ok();
        return address.map(|address| format!("[{address}]")).ok_or_else(|| no_host(text));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(Mistake::new(format!("`{text}` is not a host"), format!("write `[{text}]`, as in a URL")));
    }
    if text.parse::<Ipv4Addr>().is_ok() {
        return Ok(text.to_owned());
    }
    name(text, text)
}

/// A name in ASCII; `written` is what stands in the file.
fn name(text: &str, written: &str) -> Result<String, Mistake> {
    if text.contains("://") {
        return Err(Mistake::new(
            format!("`{written}` is a URL, not a host"),
            "write the host alone: `listeners` choose the scheme, `path` the path",
        ));
    }
    if let Some((host, port)) = text.split_once(':')
        && !host.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        let help = "leave the port out: hosts are compared without it, and `listeners` choose where a request came in";
        return Err(Mistake::new(format!("`{written}` has a port"), help));
    }
    if text.contains('*') {
        return Err(Mistake::new(
            format!("`{written}` has a `*` within"),
            "a wildcard stands at the beginning and for whole labels: `*.example.com`",
        ));
    }
    let ascii = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::URL).map_err(|_| no_host(written))?;
    let ascii = ascii.strip_suffix('.').unwrap_or(&ascii);
    let fine = |label: &str| !label.is_empty() && label.len() <= 63;
    if ascii.len() > LONGEST || !ascii.split('.').all(fine) {
        return Err(no_host(written));
    }
    Ok(ascii.to_owned())
}

fn no_host(text: &str) -> Mistake {
    Mistake::new(
        format!("`{text}` is not a host"),
        "write a name such as `shop.example.com` or `*.example.com`, or an address such as `192.0.2.1` or `[2001:db8::1]`",
    )
}

/// The host that a request asks for, as rules are written: without port and final dot, in lower case.
#[derive(Clone, Copy)]
pub struct Host {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Host {
    /// From `Host` or `:authority`. What is longer than any host is the empty one, which only rules for all hosts match.
    pub fn of(authority: &[u8]) -> Host {
        let end = match authority.first() {
            Some(b'[') => authority.iter().position(|byte| *byte == b']').map(|bracket| bracket + 1),
            Some(_) | None => authority.iter().position(|byte| *byte == b':'),
        };
        let host = authority.get(..end.unwrap_or(authority.len())).unwrap_or_default();
        let host = host.strip_suffix(b".").unwrap_or(host);
        // An address has many spellings (RFC 5952), of which rules have one.
        let address = host.strip_prefix(b"[").and_then(|rest| std::str::from_utf8(rest.strip_suffix(b"]")?).ok());
        if let Some(address) = address.and_then(|text| text.parse::<Ipv6Addr>().ok()) {
            return Host::of_name(format!("[{address}]").as_bytes());
        }
        Host::of_name(host)
    }

    fn of_name(host: &[u8]) -> Host {
        let mut bytes = [0; LONGEST];
        let length = match bytes.get_mut(..host.len()) {
            Some(place) => {
                place.copy_from_slice(host);
                place.make_ascii_lowercase();
                host.len()
            }
            None => 0,
        };
        Host { bytes, length }
    }

    /// Its bytes; ASCII after admission.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The same as text; empty if it is none.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_a_rule_is_brought_into_the_form_of_the_wire() {
        let exact = |text: &str| HostPattern::Exact(text.to_owned());
        let below = |text: &str| HostPattern::Below(text.to_owned());
        for (text, pattern) in [
            ("Shop.Example.COM.", exact("shop.example.com")),
            ("*.Example.com", below("example.com")),
            ("bücher.example", exact("xn--bcher-kva.example")),
            ("*.bücher.example", below("xn--bcher-kva.example")),
            ("xn--bcher-kva.example", exact("xn--bcher-kva.example")),
            ("faß.de", exact("xn--fa-hia.de")),
            ("my_service", exact("my_service")),
            ("a--b.example", exact("a--b.example")),
            ("192.0.2.1", exact("192.0.2.1")),
            ("[2001:DB8:0::1]", exact("[2001:db8::1]")),
        ] {
            assert_eq!(HostPattern::new(text), Ok(pattern), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_with_a_word_on_what_to_write() {
        let long = format!("{}.example", "x".repeat(64));
        for (text, part) in [
            ("*", "leave `hosts` out"),
            ("a.*.com", "at the beginning"),
            ("*example.com", "at the beginning"),
            ("shop.example:8080", "leave the port out"),
            ("https://shop.example", "the host alone"),
            ("2001:db8::1", "write `[2001:db8::1]`"),
            ("[x]", "write a name"),
            ("a b", "write a name"),
            ("shop.example/x", "write a name"),
            ("", "write a name"),
            ("a..b", "write a name"),
            (&long, "write a name"),
        ] {
            let mistake = HostPattern::new(text).unwrap_err();
            assert!(mistake.to_string().contains(part), "{text}: {mistake}");
        }
    }

    #[test]
    fn the_host_of_a_request_has_no_port_no_final_dot_and_no_case() {
        let long = "x".repeat(254);
        for (authority, host) in [
            ("Shop.Example.com", "shop.example.com"),
            ("shop.example.com:8443", "shop.example.com"),
            ("shop.example.com.", "shop.example.com"),
            ("shop.example.com.:80", "shop.example.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
            (&long, ""),
        ] {
            assert_eq!(Host::of(authority.as_bytes()).as_str(), host);
        }
    }
}
