//! `X-Forwarded-For`: a list of addresses, the last written by whoever is nearest to us.
//!
//! There is no standard; entries may have ports, IPv6 addresses may stand in brackets. What is neither is no
//! address, also an empty entry: whoever wrote it did not say where its request came from.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use http::HeaderValue;

/// The entries of all fields, from the last to the first; none where one is no address.
pub(super) fn entries<'a>(
    fields: impl DoubleEndedIterator<Item = &'a HeaderValue>,
) -> impl Iterator<Item = Option<IpAddr>> {
    fields.rev().flat_map(|field| field.as_bytes().rsplit(|byte| *byte == b',')).map(address)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`; with white space around it.
pub(super) fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
                return None;
            }
            IpAddr::V6(Ipv6Addr::from_str(address).ok()?)
        }
        None => match text.split_once(':') {
            // A second colon makes it an IPv6 address, which has no port outside brackets.
            Some((address, port)) if !port.contains(':') => {
                if !is_port(port) {
                    return None;
                }
                IpAddr::V4(address.parse().ok()?)
            }
            Some(_) | None => text.parse().ok()?,
        },
    };
    Some(address.to_canonical())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entry_is_an_address_with_or_without_a_port() {
        for (entry, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            (" 192.0.2.1\t", Some("192.0.2.1")),
            ("192.0.2.1:65535", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:80", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("", None),
            ("unknown", None),
            ("unix:", None),
            ("192.0.2.1:", None),
            ("192.0.2.1:65536", None),
            ("192.0.2.1:+80", None),
            ("192.0.2.1.", None),
            ("192.0.2.01", None),
            ("3221225985", None),
            ("[192.0.2.1]", None),
            ("[2001:db8::1", None),
            ("[2001:db8::1]80", None),
            ("fe80::1%eth0", None),
            ("\"192.0.2.1\"", None),
            ("192.0.2.1 192.0.2.2", None),
        ] {
            assert_eq!(address(entry.as_bytes()), expected.map(|text| text.parse().unwrap()), "{entry}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            address(&bytes);
        }

        #[test]
        fn every_address_is_read_however_it_is_written(ip: IpAddr, port: u16) {
            let bracketed = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            for text in [ip.to_string(), bracketed.clone(), format!(" {bracketed}:{port} ")] {
                prop_assert_eq!(address(text.as_bytes()), Some(ip.to_canonical()));
            }
        }
    }
}
