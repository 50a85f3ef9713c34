//! Request identifiers: 128 random bits in hexadecimal, or what a trusted proxy calls the request. They are for
//! correlation, they are no secrets.
//!
//! Invariant: an identifier stands in fields, logs and answers as it is: nothing in it has to be escaped.

use http::HeaderValue;

/// Holds a UUID, a ULID and what load balancers make; longer ones are replaced.
const LONGEST: usize = 64;

/// One request's identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    text: [u8; LONGEST],
    length: u8,
}

impl RequestId {
    /// A new one, from the thread's generator.
    pub fn new() -> RequestId {
        RequestId::of(fastrand::u128(..))
    }

    /// The one that a trusted proxy gave: 1 to 64 letters, digits and `- _ . : = + / @ ~`; none if it is another.
    pub fn given(value: &[u8]) -> Option<RequestId> {
        let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/@~".contains(byte);
        if value.is_empty() || !value.iter().all(safe) {
            return None;
        }
        let mut text = [0; LONGEST];
        text.get_mut(..value.len())?.copy_from_slice(value);
        Some(RequestId { text, length: u8::try_from(value.len()).ok()? })
    }

    fn of(bits: u128) -> RequestId {
        // Computed, not looked up: so the compiler makes all of them at once.
        let digit = |value: u8| value + if value < 10 { b'0' } else { b'a' - 10 };
        let mut text = [0; LONGEST];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bits.to_be_bytes()) {
            *pair = [digit(byte >> 4), digit(byte & 0xf)];
        }
        RequestId { text, length: 32 }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// As the value of a field.
    pub fn value(&self) -> HeaderValue {
        let mut value = HeaderValue::from_bytes(self.bytes()).unwrap_or_else(|_| HeaderValue::from_static(""));
        // No other request has it: in the table of HPACK (RFC 7541, section 6.2.3) it would take the place of fields that
        // come again, and would have to be looked at for each request after it.
        value.set_sensitive(true);
        value
    }

    fn bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl Default for RequestId {
    fn default() -> RequestId {
        RequestId::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_its_bits_in_hexadecimal() {
        let bits = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
        assert_eq!(RequestId::of(bits).as_str(), format!("{bits:032x}"));
        assert_ne!(RequestId::new(), RequestId::new());
    }

    #[test]
    fn a_given_one_is_kept_if_it_is_short_and_harmless() {
        let longest = "x".repeat(LONGEST);
        for kept in ["a", "3fa85f64-5717-4562-b3fc-2c963f66afa6", "Root=1-67891233-abcdef", longest.as_str()] {
            assert_eq!(RequestId::given(kept.as_bytes()).unwrap().as_str(), kept);
        }
        let longer = "x".repeat(LONGEST + 1);
        for replaced in ["", "a b", "a\"b", "<a>", "a,b", "a\n", "\u{e9}", "a;b", longer.as_str()] {
            assert_eq!(RequestId::given(replaced.as_bytes()), None, "{replaced:?}");
        }
    }
}
