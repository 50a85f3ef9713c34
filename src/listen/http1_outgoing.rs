//! What goes to the client of an HTTP/1.1 request: its answer, in as few writes as the client takes, from where it is.
//! Nothing is held of what the client does not take.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, OrErr, Result};

use super::control::Control;
use super::deadline::{Awaited, Tick, Ticket};
use super::http1_answer::{
    Asked, CHUNK_END, Framing, LAST_CHUNK_END, NO_MORE_CHUNKS, Rest, write_as_it_is, write_final, write_size,
    write_trailers,
};
use super::stream::EdgeStream;

/// See the module's documentation.
pub(super) struct Outgoing {
    pub asked: Asked,
    /// What is still to come.
    pub rest: Rest,
    /// A head whose body has not begun waits for it.
    pub head_waits: bool,
    /// The head of the final answer.
    pub written: Option<Box<ResponseHeader>>,
    /// Bytes of its body.
    pub sent: usize,
    /// How long the client may take nothing.
    pub limit: Option<Duration>,
}

impl Outgoing {
    /// The head of an answer, interim or final; `bodiless` if nothing follows it. It leaves with what follows.
    pub(super) fn head(
        &mut self,
        stream: &mut EdgeStream,
        control: &Control,
        head: Box<ResponseHeader>,
        bodiless: bool,
    ) {
        if self.rest != Rest::Head {
            return;
        }
        let out = stream.gathered().buffer();
        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if head.status.is_informational() && !switches {
            // A client of HTTP/1.0 takes the first answer for the last (RFC 9110, section 15.2).
            if !self.asked.old {
                write_as_it_is(&head, out);
            }
            return;
        }
        let framing = Framing::of(&head, self.asked, bodiless);
        let ends = {
            let mut state = control.state();
            state.ends |= matches!(framing.rest, Rest::UntilClose | Rest::Tunnel);
            state.ends
        };
        if switches {
            write_as_it_is(&head, out);
        } else {
            write_final(&head, framing, self.asked, ends, out);
        }
        self.rest = framing.rest;
        self.head_waits = matches!(framing.rest, Rest::Length(_));
        self.written = Some(head);
    }

    /// A part of the body, the last one if `last`.
    ///
    /// # Errors
    /// If the client does not take it.
    pub(super) async fn data(&mut self, stream: &mut EdgeStream, data: Bytes, last: bool) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let (data, tail, rest): (Bytes, &'static [u8], Rest) = match self.rest {
            Rest::Head | Rest::Torn => return Error::e_explain(ErrorType::InternalError, "a body without its head"),
            // What there is no room for in the answer: that of HEAD, or more than the length says.
            Rest::Nothing => return Ok(()),
            Rest::Length(left) => {
                let fits = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
                let left = left - fits as u64;
                (data.slice(..fits), b"", if left == 0 { Rest::Nothing } else { Rest::Length(left) })
            }
            Rest::Chunks => {
                write_size(data.len(), stream.gathered().buffer());
                if last { (data, LAST_CHUNK_END, Rest::Nothing) } else { (data, CHUNK_END, Rest::Chunks) }
            }
            Rest::UntilClose | Rest::Tunnel => (data, b"", self.rest),
        };
        let length = data.len();
        if !matches!(self.rest, Rest::UntilClose | Rest::Tunnel) {
            self.rest = Rest::Torn;
        }
        self.send(stream, data, tail).await?;
        self.rest = rest;
        self.sent += length;
        Ok(())
    }

    /// Ends the answer, with trailers if there are any and the client reads them. It leaves with what is sent next.
    pub(super) fn end(&mut self, stream: &mut EdgeStream, control: &Control, trailers: Option<&HeaderMap>) {
        match self.rest {
            Rest::Head | Rest::Nothing | Rest::Tunnel | Rest::Torn => return,
            Rest::Chunks => {
                let out = stream.gathered().buffer();
                match trailers {
                    Some(trailers) => write_trailers(trailers, out),
                    None => out.extend_from_slice(NO_MORE_CHUNKS),
                }
            }
            // Shorter than its head says: the end of the connection tells.
            Rest::Length(_) | Rest::UntilClose => control.state().ends = true,
        }
        self.rest = Rest::Nothing;
    }

    /// Sends what was gathered.
    ///
    /// # Errors
    /// If the client does not take it.
    pub(super) async fn flush(&mut self, stream: &mut EdgeStream) -> Result<()> {
        if stream.gathered().is_empty() {
            self.head_waits = false;
            return Ok(());
        }
        self.send(stream, Bytes::new(), b"").await
    }

    /// Sends what was gathered, and this; each time that the client has taken some of it, it may take as long as the
    /// time-out again.
    async fn send(&mut self, stream: &mut EdgeStream, mut data: Bytes, mut tail: &'static [u8]) -> Result<()> {
        self.head_waits = false;
        let limit = self.limit;
        let mut stalled: Option<(usize, Ticket)> = None;
        poll_fn(|context| {
            if let Poll::Ready(sent) = stream.poll_send(context, &mut data, &mut tail) {
                return Poll::Ready(sent.or_err(ErrorType::WriteError, "sending an answer"));
            }
            let left = stream.gathered().waiting() + data.len() + tail.len();
            match (&stalled, limit) {
                (_, None) => {}
                (Some((before, ticket)), Some(_)) if left == *before => {
                    if ticket.expired() {
                        return Poll::Ready(Error::e_explain(ErrorType::WriteTimedout, "the client takes no more"));
                    }
                }
                (_, Some(limit)) => {
                    stalled = Some((left, Ticket::new(context.waker(), Tick::after(limit), Awaited::Progress)));
                }
            }
            Poll::Pending
        })
        .await
    }
}
