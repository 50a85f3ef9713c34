//! The head of an answer (RFC 9112, sections 4 and 5), read line by line as it arrives.
//!
//! Backends are read more kindly than clients, where every reader is kind in the same way: lines may end with LF alone
//! (section 2.2), a space before a colon goes (section 5.1), a folded line is unfolded (section 5.2), an empty line may come
//! first, and a higher minor version is HTTP/1.1 (section 2.3). Nothing is guessed about where the answer ends: a length that
//! is no number, lengths that differ, or a coding other than `chunked` are a [`Fault`].

use std::ops::Range;

use super::bytes::{are_token, are_value, trimmed};

/// Every status line begins like this.
const BEGINNING: &[u8] = b"HTTP/1.";

/// What most answers have fewer of.
const USUAL_FIELDS: usize = 16;

/// How large the head of an answer may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes, line ends and the empty line included.
    pub bytes: usize,
    /// The most fields.
    pub fields: usize,
}

/// What is wrong with an answer, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusLine {
    /// Whether it is HTTP/1.0, which knows no chunks and keeps a connection only when it says so.
    pub old: bool,
    /// From 100 to 599.
    pub status: u16,
    /// Where the reason phrase stands; may be empty.
    pub reason: Range<usize>,
}

/// One field, by where its parts stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// A token.
    pub name: Range<usize>,
    /// Without white space around it.
    pub value: Range<usize>,
    /// Whether the value goes over several lines; each line end with the white space around it stands for one space.
    pub folded: bool,
    /// What it says.
    pub says: Says,
}

/// What a field says to whoever reads the answer's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// How long the body is.
    Length,
    /// That it comes in chunks.
    Coding,
    /// What becomes of the connection.
    Connection,
    /// Nothing.
    Nothing,
}

/// What the head says about the body and the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// The length, below 2^63.
    pub length: Option<u64>,
    /// Whether the body comes in chunks.
    pub chunked: bool,
    /// `Connection: close`
    pub close: bool,
    /// `Connection: keep-alive`
    pub keep_alive: bool,
}

/// Reads one head from bytes that may arrive in pieces.
#[derive(Debug, Default)]
pub struct Reader {
    /// Where the line that is being read begins.
    line: usize,
    /// Up to here there is no line end that was not dealt with.
    searched: usize,
    status: Option<StatusLine>,
    fields: Vec<Field>,
    framing: Framing,
}

/// A head that is complete.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// Its bytes, with the empty line.
    pub length: usize,
    /// The first line.
    pub status: StatusLine,
    /// The fields, in their order.
    pub fields: Vec<Field>,
    /// What they say about the body.
    pub framing: Framing,
}

impl Reader {
    /// Reads on. `bytes` are all that have arrived of the head, and perhaps more, from its beginning. None: it is not
    /// complete yet. After a head the reader begins anew.
    ///
    /// # Errors
    /// What is wrong: nothing of it may be passed on.
    pub fn read(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<Head>, Fault> {
        loop {
            let rest = bytes.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'\n', rest) else {
                self.searched = bytes.len();
                if self.status.is_none() {
                    let line = bytes.get(self.line..).unwrap_or_default();
                    let begun = line.len().min(BEGINNING.len());
                    if line != b"\r" && line.get(..begun) != BEGINNING.get(..begun) {
                        return Err(Fault("no status line"));
                    }
                }
                return if bytes.len() > limits.bytes { Err(Fault("a head that is too large")) } else { Ok(None) };
            };
            let end = self.searched + found;
            let start = std::mem::replace(&mut self.line, end + 1);
            self.searched = end + 1;
            if self.line > limits.bytes {
                return Err(Fault("a head that is too large"));
            }
            let line = bytes.get(start..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match (&self.status, line) {
                (None, []) => {}
                (None, line) => self.status = Some(status_line(line, start)?),
                (Some(_), []) => return self.complete().map(Some),
                // So a name never begins with white space.
                (Some(_), [b' ' | b'\t', ..]) => self.fold(line, start)?,
                (Some(_), line) => {
                    if self.fields.len() >= limits.fields {
                        return Err(Fault("too many fields"));
                    }
                    self.field(line, start)?;
                }
            }
        }
    }

    fn field(&mut self, line: &[u8], start: usize) -> Result<(), Fault> {
        let colon = memchr::memchr(b':', line).ok_or(Fault("a field without a colon"))?;
        let (name, value) = line.split_at_checked(colon).ok_or(Fault("a field without a colon"))?;
        let name = trimmed(name);
        let value = value.get(1..).unwrap_or_default();
        if !are_token(name) {
            return Err(Fault("the name of a field that is no token"));
        }
        if !are_value(value) {
            return Err(Fault("a field with bytes that no value has"));
        }
        let before = value.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let value = trimmed(value);
        let begin = start + colon + 1 + before;
        let says = self.frames(name, value)?;
        if self.fields.capacity() == 0 {
            self.fields.reserve(USUAL_FIELDS);
        }
        self.fields.push(Field {
            name: start..start + name.len(),
            value: begin..begin + value.len(),
            folded: false,
            says,
        });
        Ok(())
    }

    /// A line that goes on with the field before it.
    fn fold(&mut self, line: &[u8], start: usize) -> Result<(), Fault> {
        let field = self.fields.last_mut().ok_or(Fault("white space before the first field"))?;
        if !are_value(line) {
            return Err(Fault("a field with bytes that no value has"));
        }
        // Whatever frames is read in one line, or not at all.
        if field.says != Says::Nothing {
            return Err(Fault("a folded field that frames"));
        }
        field.folded = true;
        field.value.end = start + line.len();
        Ok(())
    }

    /// Takes note of what a field says.
    fn frames(&mut self, name: &[u8], value: &[u8]) -> Result<Says, Fault> {
        Ok(match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|byte| *byte == b',').map(trimmed) {
                    self.framing.close |= option.eq_ignore_ascii_case(b"close");
                    self.framing.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
                Says::Connection
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                // RFC 9110, section 8.6: several of one and the same length are one.
                for number in value.split(|byte| *byte == b',').map(trimmed) {
                    let number = length(number).ok_or(Fault("a length that no body has"))?;
                    if self.framing.length.is_some_and(|length| length != number) {
                        return Err(Fault("lengths that differ"));
                    }
                    self.framing.length = Some(number);
                }
                Says::Length
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                // RFC 9112, section 6.1: we can undo chunks and nothing else, and HTTP/1.0 knows no codings.
                let old = self.status.as_ref().is_none_or(|status| status.old);
                if old || self.framing.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault("a transfer coding that cannot be undone"));
                }
                self.framing.chunked = true;
                Says::Coding
            }
            _ => Says::Nothing,
        })
    }

    fn complete(&mut self) -> Result<Head, Fault> {
        let Reader { line, status, fields, framing, .. } = std::mem::take(self);
        let status = status.ok_or(Fault("no status line"))?;
        Ok(Head { length: line, status, fields, framing })
    }
}

/// Digits alone, of a number below 2^63.
fn length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}

fn status_line(line: &[u8], start: usize) -> Result<StatusLine, Fault> {
    let fault = Fault("no status line");
    let rest = line.strip_prefix(BEGINNING).ok_or(fault)?;
    let [minor, b' ', hundreds @ b'1'..=b'5', tens, ones, rest @ ..] = rest else { return Err(fault) };
    if ![minor, tens, ones].into_iter().all(u8::is_ascii_digit) {
        return Err(fault);
    }
    let status = [hundreds, tens, ones].into_iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    let reason = match rest {
        [] => &[][..],
        [b' ', reason @ ..] => reason,
        _ => return Err(fault),
    };
    if !are_value(reason) {
        return Err(Fault("a reason phrase with bytes that none has"));
    }
    let end = start + line.len();
    Ok(StatusLine { old: *minor == b'0', status, reason: end - reason.len()..end })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { bytes: 2000, fields: 20 };

    fn read(bytes: &[u8]) -> Result<Option<Head>, Fault> {
        Reader::default().read(bytes, LIMITS)
    }

    fn framing(fields: &str) -> Result<Framing, Fault> {
        Ok(read(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes())?.expect("a whole head").framing)
    }

    #[test]
    fn a_head_is_read_to_its_empty_line() {
        let bytes = b"\r\nHTTP/1.0 404 Not  Found\r\nA:  b c \r\nx :\r\n\r\nbody";
        let head = read(bytes).unwrap().unwrap();
        let text = |range: &Range<usize>| std::str::from_utf8(&bytes[range.clone()]).unwrap();
        assert_eq!(&bytes[head.length..], b"body");
        assert_eq!((head.status.old, head.status.status, text(&head.status.reason)), (true, 404, "Not  Found"));
        let fields: Vec<_> = head.fields.iter().map(|field| (text(&field.name), text(&field.value))).collect();
        assert_eq!(fields, [("A", "b c"), ("x", "")]);
    }

    #[test]
    fn what_the_head_says_about_its_body_is_understood_or_refused() {
        let none = Framing::default();
        assert_eq!(framing(""), Ok(none));
        assert_eq!(framing("Content-Length: 5\r\ncontent-length: 5, 5\r\n"), Ok(Framing { length: Some(5), ..none }));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing { chunked: true, ..none }));
        assert_eq!(framing("connection: x, Close\r\n"), Ok(Framing { close: true, ..none }));
        assert_eq!(framing("connection: Keep-Alive\r\n"), Ok(Framing { keep_alive: true, ..none }));
        for fields in [
            "content-length:\r\n",
            "content-length: 5,\r\n",
            "content-length: +5\r\n",
            "content-length: 5 5\r\n",
            "content-length: 5\r\n 5\r\n",
            "content-length: 9223372036854775808\r\n",
            "content-length: 5\r\ncontent-length: 6\r\n",
            "transfer-encoding: chunked\r\n , gzip\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding:\r\n",
        ] {
            assert!(framing(fields).is_err(), "{}", fields.escape_debug());
        }
    }

    #[test]
    fn what_does_not_begin_as_an_answer_is_refused_before_its_line_ends() {
        for bytes in [&b"<html>"[..], b"HTTP/2", b"SSH-2.0", b" HTTP/1.1", b"\nhttp"] {
            assert!(read(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        for bytes in [&b""[..], b"\r", b"\r\n", b"HTT", b"HTTP/1.1 20"] {
            assert_eq!(read(bytes), Ok(None), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_head_beyond_its_limits_is_refused() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(2000));
        assert!(read(long.as_bytes()).is_err() && read(format!("{long}\r\n\r\n").as_bytes()).is_err());
        assert!(framing(&"x: y\r\n".repeat(20)).is_ok() && framing(&"x: y\r\n".repeat(21)).is_err());
    }

    fn nearly() -> impl Strategy<Value = Vec<u8>> {
        let telling = b"\r\n \t:,;=\"\0\x7f\x80\xff+-0159xHT/.".to_vec();
        let byte = prop_oneof![3 => prop::sample::select(telling), 1 => any::<u8>()];
        let answer = prop::sample::select(vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello",
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0\r\n\r\n",
            "\r\nHTTP/1.0 500 \r\nConnection: keep-alive\r\nx: a\r\n  b\r\n\r\n",
        ]);
        let edits = proptest::collection::vec((any::<prop::sample::Index>(), byte, 0u8..3), 0..4);
        (answer, edits).prop_map(|(answer, edits)| {
            let mut bytes = answer.as_bytes().to_vec();
            for (place, byte, kind) in edits {
                let place = place.index(bytes.len());
                match kind {
                    0 => bytes[place] = byte,
                    1 => bytes.insert(place, byte),
                    _ => drop(bytes.remove(place)),
                }
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

        /// However the bytes arrive, the same is made of them.
        #[test]
        fn the_pieces_make_no_difference(bytes in nearly(), piece in 1usize..20) {
            let whole = read(&bytes);
            let mut reader = Reader::default();
            let mut pieced = Ok(None);
            for end in (piece..).step_by(piece) {
                pieced = reader.read(&bytes[..end.min(bytes.len())], LIMITS);
                if end >= bytes.len() || !matches!(pieced, Ok(None)) {
                    break;
                }
            }
            prop_assert_eq!(whole, pieced);
        }

        /// What we take, another parser takes too, and finds the same end and the same number of fields.
        #[test]
        fn another_parser_agrees(bytes in nearly()) {
            let Ok(Some(head)) = read(&bytes) else { return Ok(()) };
            let mut fields = [httparse::EMPTY_HEADER; 30];
            let mut parsed = httparse::Response::new(&mut fields);
            let mut config = httparse::ParserConfig::default();
            config
                .allow_spaces_after_header_name_in_responses(true)
                .allow_obsolete_multiline_headers_in_responses(true);
            let outcome = config.parse_response(&mut parsed, &bytes);
            // The other knows no minor versions but these.
            let known = bytes.windows(7).position(|at| at == b"HTTP/1.").and_then(|at| bytes.get(at + 7));
            if matches!(known, Some(b'0' | b'1')) {
                prop_assert_eq!(outcome, Ok(httparse::Status::Complete(head.length)));
                prop_assert_eq!(parsed.code, Some(head.status.status));
                prop_assert_eq!(parsed.headers.len(), head.fields.len());
            }
        }
    }
}
