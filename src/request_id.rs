//! Request identifiers: 128 random bits in hexadecimal. They are for correlation, they are no secrets.

use http::HeaderValue;

/// One request's identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// A new one, from the thread's generator.
    pub fn new() -> RequestId {
        RequestId::of(fastrand::u128(..))
    }

    fn of(bits: u128) -> RequestId {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (digit, shift) in text.iter_mut().zip((0..32).rev()) {
            let value = (bits >> (shift * 4)) as usize & 0xf;
            *digit = DIGITS.get(value).copied().unwrap_or(b'0');
        }
        RequestId(text)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// As the value of a field.
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
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
}
