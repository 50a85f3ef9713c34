//! Telling HTTP/2 by prior knowledge from HTTP/1.1 by the first bytes of a connection.
//!
//! pingora's own check reads exactly 24 bytes and waits for ever; here a difference in the first byte is
//! enough, and a client that stops in the middle meets the head's deadline.

/// What every HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a connection say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// Anything but the preface.
    Http1,
    /// The whole preface.
    Http2,
    /// A beginning of the preface: more bytes are needed.
    Undecided,
}

/// Reads the first bytes of a connection.
pub fn spoken(bytes: &[u8]) -> Spoken {
    if bytes.starts_with(PREFACE) {
        Spoken::Http2
    } else if PREFACE.starts_with(bytes) {
        Spoken::Undecided
    } else {
        Spoken::Http1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_of_the_preface_is_undecided_and_every_difference_decides() {
        for length in 0..PREFACE.len() {
            assert_eq!(spoken(&PREFACE[..length]), Spoken::Undecided);
            let mut other = PREFACE[..=length].to_vec();
            other[length] ^= 1;
            assert_eq!(spoken(&other), Spoken::Http1);
        }
        assert_eq!(spoken(PREFACE), Spoken::Http2);
        assert_eq!(spoken(&[PREFACE, b"\0\0\0"].concat()), Spoken::Http2);
        assert_eq!(spoken(b"POST / HTTP/1.1\r\n"), Spoken::Http1);
    }
}
