//! The text of an address, for fields and lines of a log: on the stack, and without the machinery of formatting, which
//! costs more than finding the route.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};

/// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`.
const LONGEST: usize = 45;

/// See the module's documentation.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Text {
    /// No address.
    pub const NONE: Text = Text { bytes: [0; LONGEST], length: 0 };

    /// As everybody writes it (RFC 5952).
    pub fn of(address: IpAddr) -> Text {
        let mut text = Text::NONE;
        let fits = match address {
            IpAddr::V4(address) => text.decimals(address),
            IpAddr::V6(address) => write!(text, "{address}"),
        };
        debug_assert!(fits.is_ok(), "no address is longer than the longest");
        text
    }

    /// The text; empty where there is no address.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
    }

    fn decimals(&mut self, address: Ipv4Addr) -> fmt::Result {
        let mut digits = itoa::Buffer::new();
        for (index, octet) in address.octets().into_iter().enumerate() {
            if index > 0 {
                self.write_str(".")?;
            }
            self.write_str(digits.format(octet))?;
        }
        Ok(())
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_reads_as_everywhere(address: IpAddr) {
            let text = Text::of(address);
            prop_assert_eq!(text.as_str(), address.to_string());
        }
    }

    #[test]
    fn the_longest_address_has_room() {
        let longest: IpAddr = "abcd:abcd:abcd:abcd:abcd:abcd:abcd:abcd".parse().unwrap();
        assert_eq!(Text::of(longest).as_str(), longest.to_string());
        assert_eq!(Text::NONE.as_str(), "");
    }
}
