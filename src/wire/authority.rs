//! A host and its port, as `Host`, the absolute form of a target and `:authority` have them.

/// How a target is to be reached; what else there is, nobody can ask a proxy of HTTP for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// The port that is meant where none is written (RFC 9110, section 4.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// `uri-host [ ":" port ]` (RFC 9110, section 7.2). Never with user information.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets; not empty.
    pub host: &'a [u8],
    /// None where there is none, or only a colon.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads one. Of a registered name only what can be a name of the DNS is taken: RFC 3986 allows more (`,`
    /// and `;` and percent-encoding among it), which no client sends and backends disagree on.
    pub fn parse(bytes: &'a [u8]) -> Option<Authority<'a>> {
        let (host, rest) = match bytes {
            [b'[', inside @ ..] => {
                let end = inside.iter().position(|byte| *byte == b']')?;
                let (address, rest) = inside.split_at_checked(end)?;
                std::str::from_utf8(address).ok()?.parse::<std::net::Ipv6Addr>().ok()?;
                (bytes.get(..end + 2)?, rest.get(1..)?)
            }
            _ => {
                let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
                let (name, rest) = bytes.split_at_checked(end)?;
                (is_name(name).then_some(name)?, rest)
            }
        };
        let port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
                let port = digits.iter().fold(0, |port, digit| port * 10 + u32::from(digit - b'0'));
                Some(u16::try_from(port).ok()?)
            }
            _ => return None,
        };
        Some(Authority { host, port })
    }

    /// Whether both mean the same origin (RFC 9110, section 4.3.1).
    pub fn is_same(&self, other: &Authority<'_>, scheme: Scheme) -> bool {
        let port = |authority: &Authority<'_>| authority.port.unwrap_or(scheme.default_port());
        self.host.eq_ignore_ascii_case(other.host) && port(self) == port(other)
    }
}

/// Labels, with a dot between them and perhaps after the last (RFC 1034, section 3.1): letters, digits, and what else
/// is found in names that people really use. Also an IPv4 address.
fn is_name(name: &[u8]) -> bool {
    let is_of_label = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
    let name = name.strip_suffix(b".").unwrap_or(name);
    name.split(|byte| *byte == b'.').all(|label| !label.is_empty() && label.iter().all(is_of_label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_taken_and_nothing_else() {
        for (text, host, port) in [
            ("a", "a", None),
            ("A.example.", "A.example.", None),
            ("a_b-c:80", "a_b-c", Some(80)),
            ("a:", "a", None),
            ("10.0.0.1:65535", "10.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[2001:db8::1]:8443", "[2001:db8::1]", Some(8443)),
        ] {
            let authority = Authority::parse(text.as_bytes()).expect(text);
            assert_eq!((authority.host, authority.port), (host.as_bytes(), port), "{text}");
        }
        for text in [
            "",
            ":80",
            "a b",
            "a,b",
            "a/b",
            "u@a",
            "u:p@a",
            "a:65536",
            "a:0x50",
            "a:8 0",
            "a:-1",
            "a:1:2",
            "[::1",
            "::1",
            "[::g]",
            "[::1]x",
            "[]",
            "[127.0.0.1]",
            "a%20b",
            "a\u{e4}",
            "a?",
            "a#",
            "[fe80::1%25eth0]",
            "a:000080",
            ".",
            "a..",
            "a..b",
            ".a",
        ] {
            assert!(Authority::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn the_default_port_is_that_of_the_scheme() {
        let parse = |text: &'static str| Authority::parse(text.as_bytes()).unwrap();
        assert!(parse("a.example").is_same(&parse("A.EXAMPLE:80"), Scheme::Http));
        assert!(!parse("a.example").is_same(&parse("a.example:80"), Scheme::Https));
        assert!(!parse("a.example").is_same(&parse("b.example"), Scheme::Http));
    }
}
