//! Hashes that decide where a request goes: the same in every build, on every machine, in every process.
//!
//! Deliberately absent: secrecy. Several balancers must agree, so whoever knows the backends can find keys of one of
//! them; the bound of the ring's load is the answer to that.

use std::fmt::{Display, Write};

use crc32fast::Hasher;

/// What of a request decides where it goes, hashed. CRC-32, as nginx's `hash … consistent` takes it: a ring of the same
/// addresses sends the same keys to the same places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u32);

impl Key {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Key {
        Key(crc32fast::hash(bytes))
    }

    /// Of the text of a value, without writing it anywhere.
    pub fn of_text(value: &impl Display) -> Key {
        let mut text = Text(Hasher::new());
        let written = write!(text, "{value}");
        debug_assert!(written.is_ok(), "a hasher takes everything");
        Key(text.0.finalize())
    }

    /// The hash itself, where the ring is looked up.
    pub fn ring(self) -> u32 {
        self.0
    }

    /// A number of 64 bits that depends on the key and on `with`, and looks random in both.
    pub fn mixed(self, with: u64) -> u64 {
        mix((u64::from(self.0) << 32 | u64::from(self.0)) ^ mix(with))
    }
}

struct Text(Hasher);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// FNV-1a over the bytes, then mixed: short names that differ in one digit end far apart.
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325 ^ seed, step))
}

/// The finaliser of MurmurHash3: every bit of the input reaches every bit of the output.
pub fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_what_they_were_in_every_build_before() {
        assert_eq!(Key::of(b"123456789").ring(), 0xcbf4_3926);
        assert_eq!(hash(0, b"127.0.0.1:9001"), 3_723_438_244_016_189_156);
        assert_eq!(hash(1, b""), 1_345_043_401_796_196_485);
        assert_eq!(Key::of(b"123456789").mixed(3), 17_102_738_768_556_224_688);
    }

    #[test]
    fn the_key_of_an_address_is_the_key_of_its_text() {
        let address: std::net::IpAddr = "2001:db8::7".parse().unwrap();
        assert_eq!(Key::of_text(&address), Key::of(b"2001:db8::7"));
    }
}
