//! The chunked transfer coding (RFC 9112, section 7.1), byte by byte, so that it may arrive in any pieces.
//!
//! Sizes, extensions and trailers must be what the grammar says, to the last line end: a lenient reading of any
//! of them is how requests were smuggled. Data is passed over at one step per piece.
//! Of requests only the end matters ([`Chunks::read`]); of answers also what is data and what is trailers
//! ([`Chunks::run`]).

use super::bytes::{is_token, is_value};
use crate::failure::Reason;

/// More hexadecimal digits than any size has.
const MOST_DIGITS: u16 = 16;

/// The most bytes of extensions of one chunk. Nobody uses them; without a limit they cost more than data.
const MOST_EXTENSION: u16 = 256;

/// The most bytes of the trailer section, which is read and dropped.
const MOST_TRAILER: u16 = 8192;

/// Fields that a trailer must not have (RFC 9110, section 6.5.1): those that frame or route.
const FORBIDDEN: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The first digit of a size is due.
    #[default]
    Start,
    Size,
    /// White space after the size: only an extension may follow.
    AfterSize,
    /// After `;`.
    NameStart,
    Name,
    AfterName,
    ValueStart,
    Value,
    Quoted,
    Escaped,
    /// After the closing quote.
    Unquoted,
    AfterValue,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a line of the trailer.
    Line,
    FieldName,
    FieldValue,
    FieldEnd,
    LastLf,
    Complete,
}

/// What bytes of a chunked body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sizes, extensions, line ends.
    Framing,
    /// What the body consists of.
    Data,
    /// The trailer section, from its first byte to the end of its empty line.
    Trailer,
}

/// How far a chunked body has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// The size that is being read, then what is left of the chunk's data.
    left: u64,
    /// Digits, bytes of extensions, or bytes of the trailer so far.
    spent: u16,
    state: State,
    /// Which of the forbidden names the name that is being read may still become, one bit each.
    suspects: u8,
    /// Bytes of that name so far.
    named: u8,
}

impl Default for Chunks {
    fn default() -> Chunks {
        Chunks { left: 0, spent: 0, state: State::Start, suspects: 0, named: 0 }
    }
}

impl Chunks {
    /// Whether the last line end has been read.
    pub fn are_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Reads on, and says how many of the bytes belong to the body.
    ///
    /// # Errors
    /// The reason to refuse the request for.
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty())
            && !self.are_complete()
        {
            at += self.run(rest)?.1;
        }
        Ok(at)
    }

    /// Reads on as far as all bytes are of one kind, and says of which, and how many. None only if there are no bytes, or
    /// the body is complete.
    ///
    /// # Errors
    /// The reason to refuse the message for.
    pub fn run(&mut self, bytes: &[u8]) -> Result<(Kind, usize), Reason> {
        let kind = self.kind();
        if kind == Kind::Data {
            let data = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= data as u64;
            if self.left == 0 {
                self.state = State::DataCr;
            }
            return Ok((kind, data));
        }
        let mut at = 0;
        while let Some(byte) = bytes.get(at)
            && self.kind() == kind
            && self.state != State::Complete
        {
            self.state = self.next(*byte).ok_or(Reason::BadRequest)?;
            at += 1;
        }
        Ok((kind, at))
    }

    /// What the next byte is.
    fn kind(&self) -> Kind {
        match self.state {
            State::Data => Kind::Data,
            State::Line | State::FieldName | State::FieldValue | State::FieldEnd | State::LastLf | State::Complete => {
                Kind::Trailer
            }
            State::Start
            | State::Size
            | State::AfterSize
            | State::NameStart
            | State::Name
            | State::AfterName
            | State::ValueStart
            | State::Value
            | State::Quoted
            | State::Escaped
            | State::Unquoted
            | State::AfterValue
            | State::SizeEnd
            | State::DataCr
            | State::DataLf => Kind::Framing,
        }
    }

    /// The state after one more byte; none where the grammar has no such byte.
    fn next(&mut self, byte: u8) -> Option<State> {
        Some(match (self.state, byte) {
            (State::Start, _) => {
                (self.left, self.spent) = (0, 0);
                self.digit(byte)?
            }
            // Not after white space, which belongs to what follows.
            (State::Size | State::Name | State::Value | State::Unquoted, b'\r') => State::SizeEnd,
            (State::Size | State::AfterSize, b';') => {
                self.spent = 0;
                State::NameStart
            }
            (State::Size | State::AfterSize, b' ' | b'\t') => {
                self.spend(MOST_EXTENSION)?;
                State::AfterSize
            }
            (State::Size, _) => self.digit(byte)?,
            (State::SizeEnd, b'\n') if self.left == 0 => {
                self.spent = 0;
                State::Line
            }
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Start,
            (
                State::NameStart
                | State::Name
                | State::AfterName
                | State::ValueStart
                | State::Value
                | State::Quoted
                | State::Escaped
                | State::Unquoted
                | State::AfterValue,
                _,
            ) => {
                self.spend(MOST_EXTENSION)?;
                extension(self.state, byte)?
            }
            (State::Line, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Complete,
            (State::Line, _) => {
                (self.suspects, self.named) = ((1 << FORBIDDEN.len()) - 1, 0);
                self.name(byte)?
            }
            (State::FieldName, b':') => {
                let named = usize::from(self.named);
                let mut left = FORBIDDEN.iter().enumerate().filter(|(bit, _)| self.suspects & (1 << bit) != 0);
                if left.any(|(_, name)| name.len() == named) {
                    return None;
                }
                State::FieldValue
            }
            (State::FieldName, _) => self.name(byte)?,
            (State::FieldValue, b'\r') => State::FieldEnd,
            (State::FieldValue, _) if is_value(byte) => {
                self.spend(MOST_TRAILER)?;
                State::FieldValue
            }
            (State::FieldEnd, b'\n') => State::Line,
            (
                State::AfterSize
                | State::SizeEnd
                | State::Data
                | State::DataCr
                | State::DataLf
                | State::LastLf
                | State::FieldValue
                | State::FieldEnd
                | State::Complete,
                _,
            ) => return None,
        })
    }

    fn spend(&mut self, most: u16) -> Option<()> {
        self.spent += 1;
        (self.spent <= most).then_some(())
    }

    fn digit(&mut self, byte: u8) -> Option<State> {
        let digit = char::from(byte).to_digit(16)?;
        self.spend(MOST_DIGITS)?;
        self.left = self.left << 4 | u64::from(digit);
        // No length is negative to anybody who counts in 64 bits with a sign.
        i64::try_from(self.left).ok()?;
        Some(State::Size)
    }

    /// One byte of the name of a trailer field.
    fn name(&mut self, byte: u8) -> Option<State> {
        self.spend(MOST_TRAILER)?;
        if !is_token(byte) {
            return None;
        }
        // Some backends read an underscore as the hyphen.
        let byte = if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
        for (bit, name) in FORBIDDEN.iter().enumerate() {
            if name.get(usize::from(self.named)) != Some(&byte) {
                self.suspects &= !(1 << bit);
            }
        }
        self.named = self.named.saturating_add(1);
        Some(State::FieldName)
    }
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` after its first semicolon.
fn extension(state: State, byte: u8) -> Option<State> {
    let blank = matches!(byte, b' ' | b'\t');
    Some(match (state, byte) {
        (State::NameStart | State::ValueStart, _) if blank => state,
        (State::NameStart | State::Name, _) if is_token(byte) => State::Name,
        (State::Name | State::AfterName, _) if blank => State::AfterName,
        (State::Name | State::AfterName, b'=') => State::ValueStart,
        (State::ValueStart, b'"') => State::Quoted,
        (State::ValueStart | State::Value, _) if is_token(byte) => State::Value,
        (State::Value | State::Unquoted | State::AfterValue, _) if blank => State::AfterValue,
        (State::Name | State::AfterName | State::Value | State::Unquoted | State::AfterValue, b';') => State::NameStart,
        (State::Quoted, b'"') => State::Unquoted,
        (State::Quoted, b'\\') => State::Escaped,
        (State::Quoted | State::Escaped, _) if is_value(byte) => State::Quoted,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<(usize, bool), Reason> {
        let mut chunks = Chunks::default();
        let taken = chunks.read(body)?;
        Ok((taken, chunks.are_complete()))
    }

    #[test]
    fn what_the_grammar_has_is_read_to_its_end_and_no_further() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n",
            "0000000000000005\r\nhello\r\n0\r\n\r\n",
            "5;a\r\nhello\r\n0;b=c\r\n\r\n",
            "5 ; a = \"q\\\"; \t\" ;b=c\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n0\r\nx-sum: 1\r\nempty:\r\nhostname: a\r\n\r\n",
        ] {
            let with_more = format!("{body}GET /");
            assert_eq!(read(with_more.as_bytes()), Ok((body.len(), true)), "{}", body.escape_debug());
        }
    }

    #[test]
    fn what_the_grammar_has_not_is_refused() {
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(300));
        for body in [
            "\r\n",
            ";a\r\n",
            "0x5\r\nhello",
            "+5\r\n",
            "-5\r\n",
            " 5\r\n",
            "5 \r\nhello",
            "5\t\r\n",
            "5\nhello",
            "5\r\r\n",
            "5\rhello",
            "5\0\r\n",
            "5,\r\n",
            "00000000000000005\r\n",
            "8000000000000000\r\n",
            "ffffffffffffffff\r\n",
            "5;\r\n",
            "5;;a\r\n",
            "5;=a\r\n",
            "5;a=\r\n",
            "5;a=b=c\r\n",
            "5;a b\r\n",
            "5;a \r\n",
            "5;a=b \r\n",
            "5;a=\"b\"\t\r\n",
            "5;a=\"b\r\n",
            "5;a=\"b\"c\r\n",
            "5;a\nhello",
            "5;a\0\r\n",
            long.as_str(),
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "0\r\nGET / HTTP/1.1\r\n",
            "0\r\n\n",
            "0\r\n x: 1\r\n",
            "0\r\nx : 1\r\n",
            "0\r\n: 1\r\n",
            "0\r\nx: 1\n",
            "0\r\nx: 1\r\n y\r\n",
            "0\r\nx: \0\r\n",
            "0\r\nContent-Length: 1\r\n",
            "0\r\nTRANSFER_encoding: chunked\r\n",
            "0\r\nhost: a\r\n",
        ] {
            assert_eq!(read(body.as_bytes()), Err(Reason::BadRequest), "{}", body.escape_debug());
        }
    }

    #[test]
    fn a_trailer_without_end_is_cut_off() {
        let endless = "0\r\n".to_owned() + &"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(1000);
        assert_eq!(read(endless.as_bytes()), Err(Reason::BadRequest));
    }
}
