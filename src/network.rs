//! A network of addresses, as in `10.0.0.0/8`.
//!
//! Invariant: no bit is set beyond the prefix, so that equal networks are equal values. IPv4 addresses that are
//! written in IPv6 (`::ffff:10.0.0.1`) are IPv4 addresses. Deliberately absent: zones (`%eth0`), ranges, names.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::units::Mistake;

const HELP: &str = "an IP address, or one and the length of its prefix, such as `10.0.0.0/8` or `2001:db8::/32`";

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the address belongs to it; of another family, none does.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => (base.to_bits() ^ address.to_bits()) & self.mask_v4() == 0,
            (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits() ^ address.to_bits()) & self.mask_v6() == 0,
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The network of this prefix that the address lies in.
    fn around(address: IpAddr, prefix: u8) -> Network {
        let network = Network { base: address, prefix };
        let base = match address {
            IpAddr::V4(address) => IpAddr::from((address.to_bits() & network.mask_v4()).to_be_bytes()),
            IpAddr::V6(address) => IpAddr::from((address.to_bits() & network.mask_v6()).to_be_bytes()),
        };
        Network { base, prefix }
    }

    fn mask_v4(&self) -> u32 {
        u32::MAX.checked_shl(32_u32.saturating_sub(self.prefix.into())).unwrap_or(0)
    }

    fn mask_v6(&self) -> u128 {
        u128::MAX.checked_shl(128_u32.saturating_sub(self.prefix.into())).unwrap_or(0)
    }
}

impl FromStr for Network {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        let wrong = || Mistake::new(format!("`{text}` is not a network"), HELP);
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest: u8 = if written.is_ipv4() { 32 } else { 128 };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            None => longest,
            Some(text) if digits(text) => text.parse().ok().filter(|prefix| *prefix <= longest).ok_or_else(|| {
                Mistake::new(format!("`/{text}` is not the length of a prefix"), format!("from `/0` to `/{longest}`"))
            })?,
            Some(_) => return Err(wrong()),
        };
        // `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
        let (base, prefix) = match (written.to_canonical(), prefix.checked_sub(96)) {
            (canonical, Some(shorter)) if written.is_ipv6() && canonical.is_ipv4() => (canonical, shorter),
            _ => (written, prefix),
        };
        let network = Network::around(base, prefix);
        if network.base == base {
            return Ok(network);
        }
        Err(Mistake::new(format!("`{text}` has bits beyond its prefix"), format!("write `{network}`")))
    }
}

/// The form in which it is written.
impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let single = if self.base.is_ipv4() { 32 } else { 128 };
        match self.prefix {
            prefix if prefix == single => write!(formatter, "{}", self.base),
            prefix => write!(formatter, "{}/{prefix}", self.base),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|mistake| panic!("{mistake}"))
    }

    #[test]
    fn an_address_belongs_to_the_networks_that_share_its_prefix() {
        for (text, address, belongs) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "::10.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
        ] {
            assert_eq!(network(text).contains(address.parse().unwrap()), belongs, "{address} in {text}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_help() {
        let help = |text: &str| text.parse::<Network>().map_err(|mistake| mistake.help);
        assert_eq!(help("10.1.0.0/8"), Err("write `10.0.0.0/8`".to_owned()));
        assert_eq!(help("10.0.0.0/33"), Err("from `/0` to `/32`".to_owned()));
        for wrong in ["", "/", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "fe80::1%eth0", "lo", "::/129"] {
            assert!(wrong.parse::<Network>().is_err(), "`{wrong}` was taken for a network");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_the_same(address: IpAddr, prefix in 0..=128u8) {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let written = Network::around(address, prefix.min(longest));
            let read = network(&written.to_string());
            prop_assert_eq!(network(&read.to_string()), read);
            prop_assert!(read.contains(address) || address.to_canonical() != address);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            drop(text.parse::<Network>());
        }
    }
}
