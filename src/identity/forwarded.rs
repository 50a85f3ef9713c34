//! `Forwarded` (RFC 7239): elements such as `for="[2001:db8::1]:4711";proto=https;host=shop.example.com`, the
//! last written by whoever is nearest to us.
//!
//! It is taken apart from the right. What a client wrote stands to the left of what our proxies appended: a quote
//! that it left open must not swallow theirs. Read more loosely than written: colons and brackets are taken without
//! quotes too, and white space is allowed around `;`.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderValue;

use super::forwarded_for;

/// One element, as far as it is of use here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// Where the request came from; none for `unknown` and for a name that hides an address (`_proxy`).
    pub address: Option<IpAddr>,
    /// The scheme that was used.
    pub proto: Option<Cow<'a, [u8]>>,
    /// The host that was asked for.
    pub host: Option<Cow<'a, [u8]>>,
}

/// The elements of all fields, from the last to the first; none where one is malformed.
pub(super) fn elements<'a>(
    fields: impl DoubleEndedIterator<Item = &'a HeaderValue>,
) -> impl Iterator<Item = Option<Element<'a>>> {
    fields.rev().flat_map(|field| FromTheRight(Some(field.as_bytes()))).map(element)
}

/// What stands between commas that no quotes enclose, counting quotes from the right.
struct FromTheRight<'a>(Option<&'a [u8]>);

impl<'a> Iterator for FromTheRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0?;
        let mut quoted = false;
        for (at, byte) in text.iter().enumerate().rev() {
            match byte {
                b'"' if !is_escaped(text, at) => quoted = !quoted,
                b',' if !quoted => {
                    let (before, from) = text.split_at(at);
                    self.0 = Some(before);
                    return from.get(1..);
                }
                _ => {}
            }
        }
        self.0 = None;
        Some(text)
    }
}

/// Whether an odd number of backslashes stands before it.
fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Reads `name=value` pairs between semicolons; each name at most once (RFC 7239, section 4).
fn element(text: &[u8]) -> Option<Element<'_>> {
    let mut found = Element::default();
    let mut named_for = false;
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b";") {
            rest = after.trim_ascii_start();
            continue;
        }
        let equals = rest.iter().position(|byte| !is_token(*byte))?;
        let (name, value) = rest.split_at(equals);
        let (value, after) = value_of(value.strip_prefix(b"=")?)?;
        if name.is_empty() || !(after.is_empty() || after.starts_with(b";")) {
            return None;
        }
        let again = if name.eq_ignore_ascii_case(b"for") {
            found.address = node(&value);
            std::mem::replace(&mut named_for, true)
        } else if name.eq_ignore_ascii_case(b"proto") {
            found.proto.replace(value).is_some()
        } else if name.eq_ignore_ascii_case(b"host") {
            found.host.replace(value).is_some()
        } else {
            false
        };
        if again {
            return None;
        }
        rest = after;
    }
    Some(found)
}

/// A value at the beginning of the text, without its quotes, and what follows it and its white space.
fn value_of(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        let plain = |byte: &u8| is_token(*byte) || b":[]".contains(byte);
        return (!value.is_empty() && value.iter().all(plain)).then(|| (value.into(), after.trim_ascii_start()));
    };
    let end = (0..quoted.len()).find(|at| quoted.get(*at) == Some(&b'"') && !is_escaped(quoted, *at))?;
    let (value, after) = quoted.split_at(end);
    let after = after.get(1..)?.trim_ascii_start();
    if !value.contains(&b'\\') {
        return Some((value.into(), after));
    }
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        plain.push(if *byte == b'\\' { *bytes.next()? } else { *byte });
    }
    Some((plain.into(), after))
}

/// `node` of RFC 7239, section 6: an address, `unknown` or a hidden name, and a port that may be hidden too.
fn node(value: &[u8]) -> Option<IpAddr> {
    let hidden_port = value.windows(2).rposition(|two| two == b":_");
    let name = hidden_port.and_then(|at| value.get(..at)).unwrap_or(value);
    // An IPv6 address stands in brackets.
    let bare = name.first() != Some(&b'[') && name.iter().filter(|byte| **byte == b':').count() > 1;
    if bare { None } else { forwarded_for::address(name) }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Appends an element to a field. Without an address it says `unknown`.
pub fn append(field: &mut Vec<u8>, address: Option<IpAddr>, proto: Option<&str>, host: Option<&[u8]>) {
    if !field.is_empty() {
        field.extend_from_slice(b", ");
    }
    let node = match address {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => format!("[{address}]"),
    };
    pair(field, "for", node.as_bytes());
    if let Some(host) = host {
        field.push(b';');
        pair(field, "host", host);
    }
    if let Some(proto) = proto {
        field.push(b';');
        pair(field, "proto", proto.as_bytes());
    }
}

fn pair(field: &mut Vec<u8>, name: &str, value: &[u8]) {
    field.extend_from_slice(name.as_bytes());
    field.push(b'=');
    if !value.is_empty() && value.iter().all(|byte| is_token(*byte)) {
        field.extend_from_slice(value);
        return;
    }
    field.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            field.push(b'\\');
        }
        field.push(*byte);
    }
    field.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(field: &[u8]) -> Vec<Option<Element<'_>>> {
        FromTheRight(Some(field)).map(element).collect()
    }

    fn addresses(field: &str) -> Vec<Option<String>> {
        let address = |element: Option<Element<'_>>| element?.address.map(|address| address.to_string());
        read(field.as_bytes()).into_iter().map(address).collect()
    }

    #[test]
    fn the_examples_of_the_rfc_are_read_from_the_right() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(addresses("for=\"_gazonk\""), [None]);
        assert_eq!(addresses("For=\"[2001:db8:cafe::17]:4711\""), [some("2001:db8:cafe::17")]);
        assert_eq!(addresses("for=192.0.2.60;proto=http;by=203.0.113.43"), [some("192.0.2.60")]);
        assert_eq!(addresses("for=192.0.2.43, for=198.51.100.17"), [some("198.51.100.17"), some("192.0.2.43")]);
        assert_eq!(addresses("for=_SEVKISEK, for=unknown, for=\"192.0.2.1:_x\""), [some("192.0.2.1"), None, None]);
        let element = read(b"for=192.0.2.60;proto=http;host=\"a.example:8080\"").remove(0).unwrap();
        assert_eq!(element.proto.as_deref(), Some(&b"http"[..]));
        assert_eq!(element.host.as_deref(), Some(&b"a.example:8080"[..]));
    }

    #[test]
    fn commas_and_quotes_inside_quotes_separate_nothing() {
        assert_eq!(addresses("by=\"a, b\\\" c\";for=192.0.2.1").len(), 1);
        assert_eq!(addresses("for=192.0.2.1;x=\"a,b\", for=192.0.2.2").len(), 2);
    }

    #[test]
    fn what_is_malformed_is_said_to_be() {
        for wrong in [
            "for",
            "for=",
            "=192.0.2.1",
            "for = 192.0.2.1",
            "for=192.0.2.1 192.0.2.2",
            "for=192.0.2.1;for=192.0.2.2",
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\"x",
            "for=192.0.2.1;host=a;HOST=b",
            "192.0.2.1",
        ] {
            assert_eq!(read(wrong.as_bytes()), [None], "{wrong}");
        }
        // No address, but not malformed.
        for hidden in ["", "by=192.0.2.1", "for=2001:db8::1", "for=\"2001:db8::1\"", "for=10.0.0.300"] {
            assert_eq!(addresses(hidden), [None], "{hidden}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_none_is_read_without_end(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).len() <= bytes.len() + 1);
        }

        #[test]
        fn whatever_a_client_wrote_the_element_that_a_proxy_appended_is_read(
            client in "[ -~]{0,60}",
            address: IpAddr,
            host in proptest::option::of("[ -~]{0,20}"),
        ) {
            let mut field = client.clone().into_bytes();
            append(&mut field, Some(address), Some("https"), host.as_deref().map(str::as_bytes));
            let last = read(&field).remove(0).unwrap();
            prop_assert_eq!(last.address, Some(address.to_canonical()));
            prop_assert_eq!(last.proto.as_deref(), Some(&b"https"[..]));
            prop_assert_eq!(last.host.as_deref(), host.as_deref().map(str::as_bytes));
        }
    }
}
