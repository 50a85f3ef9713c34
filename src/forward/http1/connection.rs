//! One connection to a backend: what waits to be sent over it, and how it is read.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use pingora_core::protocols::Stream;
use tokio::io::AsyncWrite;

use crate::forward::call::{Follows, Misfit, Outgoing};
use crate::scratch;

/// A piece of a body that is as small is copied behind what waits: one slice is written faster than three.
const SMALL: usize = 1024;

const CRLF: &[u8] = b"\r\n";
const NO_MORE_CHUNKS: &[u8] = b"0\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const CRLF_LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// How a request's body is framed (RFC 9112, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Whatever comes: a tunnel.
    Raw,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// Whether it has served a request before.
    pub reused: bool,
    /// Sent first: a head, or the size of a chunk.
    head: Vec<u8>,
    /// How much of `head` is sent.
    sent: usize,
    /// Sent next.
    body: Bytes,
    /// Sent last.
    tail: Bytes,
    /// Whether anything was sent since it was taken.
    pub touched: bool,
    unflushed: bool,
    /// Whether the backend is told that nothing else is sent once all of it is.
    ends: bool,
}

impl Connection {
    pub(super) fn new(stream: Stream, reused: bool) -> Connection {
        Connection {
            stream,
            reused,
            head: Vec::new(),
            sent: 0,
            body: Bytes::new(),
            tail: Bytes::new(),
            touched: false,
            unflushed: false,
            ends: false,
        }
    }

    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Sends the head of a request, before anything else.
    pub fn queue_head(&mut self, head: Vec<u8>) {
        debug_assert!(!self.has_unsent(), "one request at a time");
        (self.head, self.sent) = (head, 0);
    }

    /// Sends a piece of a body, behind a head that waits. Nothing else may wait.
    ///
    /// # Errors
    /// If it does not fit what was announced.
    pub fn queue_body(&mut self, framing: &mut Framing, piece: Bytes, follows: Follows) -> Result<(), Misfit> {
        debug_assert!(self.body.is_empty() && self.tail.is_empty(), "one piece at a time");
        let size = piece.len() as u64;
        match framing {
            Framing::Length(left) => {
                *left = left.checked_sub(size).ok_or(Misfit::Long)?;
                if follows != Follows::More && *left > 0 {
                    return Err(Misfit::Short);
                }
            }
            Framing::Chunked if size > 0 => {
                write!(self.head, "{size:x}\r\n").map_err(|_| Misfit::Long)?;
                self.tail = match follows {
                    Follows::More => Bytes::from_static(CRLF),
                    Follows::End => Bytes::from_static(CRLF_LAST_CHUNK),
                    Follows::Trailers(trailers) => [CRLF, NO_MORE_CHUNKS, &lines(&trailers), CRLF].concat().into(),
                };
            }
            Framing::Chunked => match follows {
                Follows::More => {}
                Follows::End => self.tail = Bytes::from_static(LAST_CHUNK),
                Follows::Trailers(trailers) => self.tail = [NO_MORE_CHUNKS, &lines(&trailers), CRLF].concat().into(),
            },
            Framing::Raw => {}
        }
        if piece.len() <= SMALL {
            self.head.extend_from_slice(&piece);
            self.head.extend_from_slice(&self.tail);
            self.tail = Bytes::new();
        } else {
            self.body = piece;
        }
        Ok(())
    }

    /// Tells the backend, behind what waits, that nothing else is sent.
    pub fn queue_end(&mut self) {
        self.ends = true;
    }

    fn advance(&mut self, wrote: usize) {
        let of_head = wrote.min(self.head.len() - self.sent);
        self.sent += of_head;
        let of_body = (wrote - of_head).min(self.body.len());
        self.body.advance(of_body);
        self.tail.advance((wrote - of_head - of_body).min(self.tail.len()));
    }

    /// Reads what has come, 56 KiB at most; nothing where the backend says no more.
    pub fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        scratch::poll_read(&mut self.stream, context, usize::MAX, |mut read| {
            let all = read.bytes().len();
            read.take(all)
        })
    }
}

impl Outgoing for Connection {
    fn has_unsent(&self) -> bool {
        self.sent < self.head.len() || !self.body.is_empty() || !self.tail.is_empty() || self.unflushed || self.ends
    }

    fn give_up(&mut self) {
        self.head.clear();
        (self.sent, self.body, self.tail) = (0, Bytes::new(), Bytes::new());
        (self.unflushed, self.ends) = (false, false);
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(head) = self.head.get(self.sent..)
            && !(head.is_empty() && self.body.is_empty() && self.tail.is_empty())
        {
            let stream = Pin::new(&mut self.stream);
            let wrote = if self.body.is_empty() && self.tail.is_empty() {
                ready!(stream.poll_write(context, head))?
            } else {
                let slices = [IoSlice::new(head), IoSlice::new(&self.body), IoSlice::new(&self.tail)];
                let first = slices.iter().position(|slice| !slice.is_empty()).unwrap_or_default();
                ready!(stream.poll_write_vectored(context, slices.get(first..).unwrap_or_default()))?
            };
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.touched = true;
            self.unflushed = true;
            self.advance(wrote);
        }
        self.head.clear();
        self.sent = 0;
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.unflushed = false;
        }
        if self.ends {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.ends = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Trailers as chunks have them.
fn lines(trailers: &HeaderMap) -> Vec<u8> {
    let length = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut lines = Vec::with_capacity(length);
    for (name, value) in trailers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            lines.extend_from_slice(part);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn framed(framing: Framing, pieces: &[&str]) -> Result<String, Misfit> {
        ended(framing, pieces, &Follows::End)
    }

    fn ended(framing: Framing, pieces: &[&str], last: &Follows) -> Result<String, Misfit> {
        let (mut framing, mut sent) = (framing, Vec::new());
        let (ours, _) = tokio::io::duplex(1);
        let mut connection = Connection::new(Box::new(ours), false);
        for (index, piece) in pieces.iter().enumerate() {
            let follows = if index + 1 < pieces.len() { Follows::More } else { last.clone() };
            connection.queue_body(&mut framing, Bytes::copy_from_slice(piece.as_bytes()), follows)?;
            sent.extend(std::mem::take(&mut connection.head));
            sent.extend_from_slice(&std::mem::take(&mut connection.body));
            sent.extend_from_slice(&std::mem::take(&mut connection.tail));
        }
        Ok(String::from_utf8(sent).expect("text"))
    }

    #[test]
    fn a_body_is_framed_as_it_was_announced() {
        let long = "x".repeat(SMALL + 1);
        assert_eq!(framed(Framing::Length(5), &["he", "llo"]), Ok("hello".to_owned()));
        assert_eq!(framed(Framing::Chunked, &["hello", ""]), Ok("5\r\nhello\r\n0\r\n\r\n".to_owned()));
        assert_eq!(framed(Framing::Chunked, &["", "hello"]), Ok("5\r\nhello\r\n0\r\n\r\n".to_owned()));
        assert_eq!(framed(Framing::Chunked, &[&long]), Ok(format!("401\r\n{long}\r\n0\r\n\r\n")));
        assert_eq!(framed(Framing::Chunked, &[""]), Ok("0\r\n\r\n".to_owned()));
        assert_eq!(framed(Framing::Raw, &["a", ""]), Ok("a".to_owned()));
        let sum = (HeaderName::from_static("x-sum"), HeaderValue::from_static("1"));
        let trailers = Follows::Trailers(HeaderMap::from_iter([sum]));
        for pieces in [&["hello", ""][..], &["hello"]] {
            let sent = ended(Framing::Chunked, pieces, &trailers);
            assert_eq!(sent, Ok("5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n".to_owned()));
        }
    }

    #[test]
    fn a_body_that_is_not_as_it_was_announced_is_none() {
        assert_eq!(framed(Framing::Length(5), &["hello, and more"]), Err(Misfit::Long));
        assert_eq!(framed(Framing::Length(5), &["hell"]), Err(Misfit::Short));
    }
}
