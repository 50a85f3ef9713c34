//! What a backend of HTTP/1.1 answers: its bytes become heads, pieces of a body, and an end. No sockets here.
//!
//! What is in doubt is a [`Fault`], and what is left over behind an answer makes its connection one that is not used again.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use pingora::http::ResponseHeader;

use crate::forward::call::{Asked, Part};
use crate::wire::answer::{Fault, Field, Head, Limits, Reader, Says};
use crate::wire::{Chunks, Kind};

/// The largest head that is read.
const LIMITS: Limits = Limits { bytes: 256 * 1024, fields: 256 };

/// With so much of a body behind it a head is copied.
const WORTH_COPYING: usize = 8 * 1024;

/// Fields for which there is room besides the backend's.
const OURS: usize = 2;

#[derive(Debug)]
enum Stage {
    Head(Reader),
    Length(u64),
    Chunked(Chunks, Vec<u8>),
    /// Up to the end of the connection.
    UntilClosed,
    /// Read to its end, which may have to be said still.
    Complete(Said),
    Tunnel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    NotYet,
    Said,
}

/// Reads the answer to one request.
#[derive(Debug)]
pub struct Answers {
    asked: Asked,
    stage: Stage,
    /// Read, and not looked at yet; of a head all that has come of it.
    held: Bytes,
    /// Whether the connection may be used for another request afterwards, by what the head says.
    lasts: bool,
}

impl Answers {
    /// Nothing has come yet.
    pub fn new(asked: Asked) -> Answers {
        Answers { asked, stage: Stage::Head(Reader::default()), held: Bytes::new(), lasts: true }
    }

    /// Whether all of it has been read.
    pub fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Complete(_))
    }

    /// Whether another request may go over the connection, as far as the answer tells.
    pub fn leaves_reusable(&self) -> bool {
        self.is_complete() && self.lasts && self.held.is_empty()
    }

    /// Takes what has come.
    pub fn take(&mut self, bytes: Bytes) {
        if self.held.is_empty() {
            self.held = bytes;
        } else if !bytes.is_empty() {
            let mut both = BytesMut::with_capacity(self.held.len() + bytes.len());
            both.extend_from_slice(&self.held);
            both.extend_from_slice(&bytes);
            self.held = both.freeze();
        }
    }

    /// Whether a head is held to its end, which stays to be told.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn hold_head(&mut self) -> Result<bool, Fault> {
        match &mut self.stage {
            Stage::Head(reader) => Ok(reader.read(&self.held, LIMITS)?.is_some()),
            Stage::Length(_) | Stage::Chunked(..) | Stage::UntilClosed | Stage::Complete(_) | Stage::Tunnel => {
                Ok(false)
            }
        }
    }

    /// The next part of what has come; none if more must come first.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn part(&mut self) -> Result<Option<Part>, Fault> {
        match &mut self.stage {
            Stage::Head(reader) => match reader.read(&self.held, LIMITS)? {
                None => Ok(None),
                Some(head) => Ok(Some(Part::Head(Box::new(self.head(&head)?)))),
            },
            Stage::Complete(said @ Said::NotYet) => {
                *said = Said::Said;
                Ok(Some(Part::End(None)))
            }
            Stage::Complete(Said::Said) => Ok(None),
            Stage::Chunked(chunks, trailers) if chunks.are_complete() => {
                let trailers = fields_of(trailers)?;
                self.stage = Stage::Complete(Said::Said);
                Ok(Some(Part::End(trailers)))
            }
            Stage::Chunked(chunks, trailers) => match dechunk(chunks, trailers, &mut self.held)? {
                Some(data) => Ok(Some(Part::Body(data))),
                None if chunks.are_complete() => self.part(),
                None => Ok(None),
            },
            Stage::Length(_) | Stage::UntilClosed | Stage::Tunnel if self.held.is_empty() => Ok(None),
            Stage::Length(left) => {
                let now = usize::try_from(*left).unwrap_or(usize::MAX).min(self.held.len());
                *left -= now as u64;
                if *left == 0 {
                    self.stage = Stage::Complete(Said::NotYet);
                }
                Ok(Some(Part::Body(self.held.split_to(now))))
            }
            Stage::UntilClosed | Stage::Tunnel => Ok(Some(Part::Body(std::mem::take(&mut self.held)))),
        }
    }

    /// The backend says no more. True: that is the end of the answer.
    pub fn ends(&mut self) -> bool {
        self.lasts = false;
        match self.stage {
            Stage::UntilClosed | Stage::Tunnel => {
                self.stage = Stage::Complete(Said::Said);
                true
            }
            Stage::Complete(_) => true,
            Stage::Head(_) | Stage::Length(_) | Stage::Chunked(..) => false,
        }
    }

    /// The head's bytes. Its fields point into them for as long as the answer lasts, so what came with much of a body is
    /// copied: they would hold all of that.
    fn take_head(&mut self, length: usize) -> Bytes {
        if self.held.len() - length.min(self.held.len()) < WORTH_COPYING {
            return self.held.split_to(length);
        }
        let head = Bytes::copy_from_slice(self.held.get(..length).unwrap_or_default());
        self.held.advance(length);
        head
    }

    /// Makes a head of what was found, and knows from then on what follows it.
    fn head(&mut self, head: &Head) -> Result<ResponseHeader, Fault> {
        let bytes = self.take_head(head.length);
        let fault = Fault("a head that cannot be represented");
        let status = head.status.status;
        let mut response = Response::new(()).into_parts().0;
        response.status = StatusCode::from_u16(status).map_err(|_| fault)?;
        response.version = if head.status.old { Version::HTTP_10 } else { Version::HTTP_11 };
        response.headers = HeaderMap::with_capacity(head.fields.len() + OURS);
        for field in &head.fields {
            // RFC 9112, section 6.3: the chunks count, and whoever is told both may think otherwise.
            if field.says == Says::Length && head.framing.chunked {
                self.lasts = false;
                continue;
            }
            let name = HeaderName::from_bytes(bytes.get(field.name.clone()).unwrap_or_default()).map_err(|_| fault)?;
            response.headers.try_append(name, value(&bytes, field).ok_or(fault)?).map_err(|_| fault)?;
        }
        let mut response = ResponseHeader::from(response);
        let reason = bytes.get(head.status.reason.clone()).unwrap_or_default();
        if response.status.canonical_reason().is_none_or(|usual| usual.as_bytes() != reason) {
            // What is not UTF-8 has no other representation; nobody reads it.
            response.set_reason_phrase(std::str::from_utf8(reason).ok()).map_err(|_| fault)?;
        }
        let framing = head.framing;
        self.stage = match status {
            101 => Stage::Tunnel,
            100..=199 => return Ok(response),
            204 | 304 => Stage::Complete(Said::NotYet),
            _ if self.asked == Asked::Head => Stage::Complete(Said::NotYet),
            _ if framing.chunked => Stage::Chunked(Chunks::default(), Vec::new()),
            _ => match framing.length {
                Some(0) => Stage::Complete(Said::NotYet),
                Some(length) => Stage::Length(length),
                None => Stage::UntilClosed,
            },
        };
        // RFC 9110, section 8.6: a 204 announces no body. Whoever announces one may send it, behind what ends the answer, and to
        // whoever asks next.
        let announces = framing.chunked || framing.length.is_some_and(|length| length > 0);
        self.lasts &= status != 204 || !announces;
        self.lasts &= !framing.close && (!head.status.old || framing.keep_alive);
        Ok(response)
    }
}

/// The value of a field, in one line.
fn value(bytes: &Bytes, field: &Field) -> Option<HeaderValue> {
    if !field.folded {
        return HeaderValue::from_maybe_shared(bytes.slice(field.value.clone())).ok();
    }
    let lines = bytes.get(field.value.clone())?.split(|byte| *byte == b'\n').map(|line| line.trim_ascii());
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    HeaderValue::from_maybe_shared(Bytes::from(lines.join(&b' '))).ok()
}

/// The data of the chunks that are held; none if there is none, or before the trailers.
fn dechunk(chunks: &mut Chunks, trailers: &mut Vec<u8>, held: &mut Bytes) -> Result<Option<Bytes>, Fault> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while !held.is_empty() && !chunks.are_complete() {
        let (kind, length) = chunks.run(held).map_err(|_| Fault("chunks that are none"))?;
        match kind {
            Kind::Framing => held.advance(length),
            Kind::Trailer => trailers.extend_from_slice(&held.split_to(length)),
            Kind::Data if first.is_empty() => first = held.split_to(length),
            Kind::Data => {
                if more.is_empty() {
                    more.reserve(first.len() + held.len());
                    more.extend_from_slice(&first);
                }
                more.extend_from_slice(&held.split_to(length));
            }
        }
    }
    Ok(match (first.is_empty(), more.is_empty()) {
        (true, _) => None,
        (false, true) => Some(first),
        (false, false) => Some(more.freeze()),
    })
}

/// Trailers that were read as the grammar has them.
fn fields_of(section: &[u8]) -> Result<Option<Box<HeaderMap>>, Fault> {
    let mut fields = HeaderMap::new();
    for line in section.split(|byte| *byte == b'\n').map(|line| line.trim_ascii()).filter(|line| !line.is_empty()) {
        let fault = Fault("trailers that cannot be represented");
        let colon = line.iter().position(|byte| *byte == b':').ok_or(fault)?;
        let (name, value) = line.split_at_checked(colon).ok_or(fault)?;
        let name = HeaderName::from_bytes(name).map_err(|_| fault)?;
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default().trim_ascii()).map_err(|_| fault)?;
        fields.try_append(name, value).map_err(|_| fault)?;
    }
    Ok((!fields.is_empty()).then(|| Box::new(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is made of bytes that come in pieces of this size, as text; and whether the connection can be used again.
    fn read(bytes: &[u8], piece: usize, asked: Asked) -> (String, bool) {
        let mut answers = Answers::new(asked);
        let mut seen = String::new();
        let mut body = false;
        for piece in bytes.chunks(piece.max(1)) {
            answers.take(Bytes::copy_from_slice(piece));
            loop {
                match answers.part() {
                    Ok(None) => break,
                    Ok(Some(Part::Head(head))) => {
                        seen += &format!("{} {:?} {:?}\n", head.status, head.get_reason_phrase(), head.headers);
                        body = false;
                    }
                    Ok(Some(Part::Body(data))) => {
                        assert!(!data.is_empty());
                        seen += if body { "" } else { "body " };
                        seen += &data.escape_ascii().to_string();
                        body = true;
                    }
                    Ok(Some(Part::End(trailers))) => seen += &format!("end {trailers:?}"),
                    Err(Fault(_)) => return (seen + "fault", false),
                }
            }
        }
        (seen, answers.leaves_reusable())
    }

    #[test]
    fn a_head_does_not_hold_the_body_that_came_with_it() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\nx: value\r\n\r\n";
        for (behind, apart) in [(WORTH_COPYING, true), (10, false)] {
            let piece = Bytes::from(format!("{head}{}", "x".repeat(behind)));
            let memory = piece.as_ptr_range();
            let mut answers = Answers::new(Asked::Other);
            answers.take(piece);
            let Some(Part::Head(response)) = answers.part().unwrap() else { panic!("no head") };
            assert_eq!(!memory.contains(&response.headers["x"].as_bytes().as_ptr()), apart, "{behind}");
            assert!(matches!(answers.part(), Ok(Some(Part::Body(body))) if body.len() == behind));
        }
    }

    #[test]
    fn trailers_come_with_the_end() {
        let bytes =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x\r\nhello\r\n1\r\n!\r\n0\r\nx-sum: 1\r\n\r\n";
        for piece in [1, 7, 1000] {
            let (seen, reusable) = read(bytes, piece, Asked::Other);
            assert!(seen.ends_with("body hello!end Some({\"x-sum\": \"1\"})") && reusable, "{piece}: {seen}");
        }
    }

    #[test]
    fn an_empty_size_is_no_last_chunk_and_what_is_left_over_is_no_answer() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert!(read(format!("{head}5\r\nhello\r\n\r\n").as_bytes(), 1000, Asked::Other).0.ends_with("fault"));
        let beside = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(!read(beside.as_bytes(), 1000, Asked::Other).1, "a length beside chunks");
        let more = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP";
        let (seen, reusable) = read(more.as_bytes(), 1000, Asked::Other);
        assert!(seen.ends_with("body okend None") && !reusable, "{seen}");
        assert!(!read(more.as_bytes(), 1000, Asked::Head).1, "a body for HEAD");
    }

    #[test]
    fn a_204_that_announces_a_body_may_have_one_yet() {
        let head = "HTTP/1.1 204 No Content\r\n";
        for (fields, lasts) in [
            ("", true),
            ("content-length: 0\r\n", true),
            ("content-length: 4\r\n", false),
            ("transfer-encoding: chunked\r\n", false),
        ] {
            let (seen, reusable) = read(format!("{head}{fields}\r\n").as_bytes(), 1000, Asked::Other);
            assert!(seen.ends_with("end None") && reusable == lasts, "{fields}: {seen}");
        }
    }

    #[test]
    fn a_connection_lasts_as_the_answer_says() {
        for (head, lasts) in [
            ("HTTP/1.1 200 OK\r\n", true),
            ("HTTP/1.1 200 OK\r\nconnection: x, close\r\n", false),
            ("HTTP/1.0 200 OK\r\n", false),
            ("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\n", true),
        ] {
            let bytes = format!("{head}content-length: 0\r\n\r\n");
            assert_eq!(read(bytes.as_bytes(), 1000, Asked::Other).1, lasts, "{head}");
        }
    }

    #[test]
    fn a_head_that_was_looked_at_is_still_told() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let mut answers = Answers::new(Asked::Other);
        answers.take(Bytes::from_static(&bytes[..20]));
        assert_eq!(answers.hold_head(), Ok(false));
        answers.take(Bytes::from_static(&bytes[20..]));
        assert_eq!((answers.hold_head(), answers.hold_head()), (Ok(true), Ok(true)));
        assert!(matches!(answers.part(), Ok(Some(Part::Head(head))) if head.status == 200));
        assert!(matches!(answers.part(), Ok(Some(Part::Body(body))) if body == "ok"));
        let mut wrong = Answers::new(Asked::Other);
        wrong.take(Bytes::from_static(b"SMTP\r\n"));
        assert!(wrong.hold_head().is_err());
    }

    fn answer() -> impl Strategy<Value = Vec<u8>> {
        let answers = prop::sample::select(vec![
            "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\na: b\r\n\r\nmore",
            "HTTP/1.1 204 No Content\r\nx: a\r\n b\r\n\r\n",
            "HTTP/1.0 200 OK\n\nuntil the end",
        ]);
        let edits = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
        (answers, edits).prop_map(|(answer, edits)| {
            let mut bytes = answer.as_bytes().to_vec();
            for (place, byte) in edits {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

        /// However the bytes arrive, the same is made of them. What was passed on before a fault cannot be called back.
        #[test]
        fn the_pieces_make_no_difference(bytes in answer(), piece in 1usize..40) {
            let whole = read(&bytes, 10_000, Asked::Other);
            let pieced = read(&bytes, piece, Asked::Other);
            prop_assert_eq!(whole.0.ends_with("fault"), pieced.0.ends_with("fault"));
            if !whole.0.ends_with("fault") {
                prop_assert_eq!(whole, pieced);
            }
        }
    }
}
