//! What comes from the client of an HTTP/1.1 request after its head: the body without its chunks, or its side of a tunnel.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::{Error, ErrorType, OrErr, Result};

use super::control::Control;
use super::deadline::{Awaited, Tick, Ticket};
use super::kept_body::KeptBody;
use super::stream::{EdgeStream, Received};
use crate::failure::Reason;
use crate::wire::Body;

/// See the module's documentation.
pub(super) struct Incoming {
    /// What came of the body with the head, until it is handed on.
    pub first: Bytes,
    /// What is to come of it.
    pub body: Body,
    /// Whether there never was one.
    pub bodiless: bool,
    /// It has ended without any data, and nobody was told yet.
    pub end_untold: bool,
    /// Lines of its trailers.
    pub trailers: Vec<u8>,
    pub mode: Mode,
    /// Bytes of it so far.
    pub received: usize,
    /// What is kept of it.
    pub kept: KeptBody,
    /// How long it may pause.
    pub limit: Option<Duration>,
    /// Since when more of it is waited for.
    pub waiting: Option<Ticket>,
}

/// What the bytes of the client are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The body of its request.
    Http,
    /// Another protocol's.
    Tunnel,
    /// Nobody's: the tunnel is over.
    Over,
}

impl Incoming {
    /// Whether all of it has been handed on.
    pub(super) fn is_done(&self) -> bool {
        match self.mode {
            Mode::Http => self.body.is_complete() && self.first.is_empty() && !self.end_untold,
            Mode::Tunnel => false,
            Mode::Over => true,
        }
    }

    /// More of it; none at its end.
    ///
    /// # Errors
    /// If it breaks off, is in doubt or late.
    pub(super) async fn piece(&mut self, stream: &mut EdgeStream, control: &Control) -> Result<Option<Bytes>> {
        let limit = self.limit;
        let piece = poll_fn(|context| match self.poll_piece(stream, control, context) {
            Poll::Pending => self.poll_in_vain(stream, context, limit).map(Err),
            ready @ Poll::Ready(_) => ready,
        })
        .await?;
        self.waiting = None;
        if let Some(piece) = &piece {
            self.received += piece.len();
            if self.mode == Mode::Http {
                self.kept.keep(piece);
            }
        }
        Ok(piece)
    }

    /// Waits for the client to leave, which is an error.
    pub(super) async fn gone(&mut self, stream: &mut EdgeStream) -> Box<Error> {
        poll_fn(|context| match stream.poll_between(context) {
            Poll::Ready(error) => Poll::Ready(Error::because(ErrorType::ConnectionClosed, "the client left", error)),
            Poll::Pending => self.poll_in_vain(stream, context, None),
        })
        .await
    }

    fn poll_piece(
        &mut self,
        stream: &mut EdgeStream,
        control: &Control,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.first))));
        }
        match self.mode {
            Mode::Http => {}
            Mode::Tunnel => return self.poll_tunnel(stream, context),
            Mode::Over => return Poll::Ready(Ok(None)),
        }
        loop {
            if self.body.is_complete() {
                self.end_untold = false;
                return Poll::Ready(Ok(None));
            }
            if control.state().refused.is_some() {
                return Poll::Ready(Error::e_explain(ErrorType::ReadError, "a body in doubt"));
            }
            let (body, trailers) = (&mut self.body, &mut self.trailers);
            let decode = |bytes: &mut [u8]| body.decode(bytes, trailers).map(|decoded| (decoded.taken, decoded.data));
            match ready!(stream.poll_receive(context, decode)).or_err(ErrorType::ReadError, "reading a body")? {
                Ok(Received::Bytes(piece)) => {
                    self.leave_trailers(control);
                    if !piece.is_empty() {
                        return Poll::Ready(Ok(Some(piece)));
                    }
                }
                Ok(Received::End) => {
                    return Poll::Ready(Error::e_explain(ErrorType::ConnectionClosed, "a body that broke off"));
                }
                Err(reason) => {
                    let mut state = control.state();
                    (state.refused, state.ends) = (Some(reason), true);
                }
            }
        }
    }

    fn poll_tunnel(&mut self, stream: &mut EdgeStream, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if !stream.ahead().is_empty() {
            return Poll::Ready(Ok(Some(Bytes::from(stream.take_ahead()))));
        }
        if stream.is_half_closed() {
            self.mode = Mode::Over;
            return Poll::Ready(Ok(None));
        }
        let all = |bytes: &mut [u8]| Ok::<_, Reason>((bytes.len(), bytes.len()));
        match ready!(stream.poll_receive(context, all)).or_err(ErrorType::ReadError, "reading a tunnel")? {
            Ok(Received::Bytes(piece)) => Poll::Ready(Ok(Some(piece))),
            Ok(Received::End) | Err(_) => {
                self.mode = Mode::Over;
                Poll::Ready(Ok(None))
            }
        }
    }

    /// Something of the client is waited for, with a limit if there is one. Ready if it was waited for in vain.
    fn poll_in_vain(
        &mut self,
        stream: &mut EdgeStream,
        context: &mut Context<'_>,
        limit: Option<Duration>,
    ) -> Poll<Box<Error>> {
        stream.poll_lingering(context);
        let Some(limit) = limit else { return Poll::Pending };
        let ticket =
            self.waiting.get_or_insert_with(|| Ticket::new(context.waker(), Tick::after(limit), Awaited::Progress));
        if !ticket.expired() {
            return Poll::Pending;
        }
        self.waiting = None;
        Poll::Ready(Error::explain(ErrorType::ReadTimedout, "the rest of a body has not come in time"))
    }

    /// Leaves the trailers for whoever wants them, once the body was read to its end.
    pub(super) fn leave_trailers(&mut self, control: &Control) {
        if !self.trailers.is_empty() && self.body.is_complete() {
            control.state().trailers = Some(fields(&std::mem::take(&mut self.trailers)));
        }
    }
}

/// Lines of trailers, which have been read strictly.
fn fields(lines: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_fields() {
        let fields = fields(b"X-Sum: 1\r\nempty:\r\nx-sum:\t2 \r\n");
        let all: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(all, [("x-sum", &b"1"[..]), ("x-sum", b"2"), ("empty", b"")]);
    }
}
