//! The stream of an HTTP/2 connection: the edge's own, with its frames counted.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::Client;
use super::deadline::{Awaited, Tick, Ticket};
use super::flood::{Flood, Meter, farewell};
use super::stream::EdgeStream;

/// See the module's documentation.
#[derive(Debug)]
pub struct Metered {
    stream: Box<EdgeStream>,
    meter: Meter,
    /// The last write was not taken whole, so that a frame may be half written.
    half_written: bool,
    traffic: Arc<Traffic>,
    /// When the head that has begun without its end must be complete.
    head_due: Option<Tick>,
    ticket: Option<Ticket>,
}

/// What has gone out of a connection.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes of answers' bodies that the library was given.
    pub given: AtomicU64,
    /// Bytes of whatever kind that the client's system has taken.
    pub written: AtomicU64,
}

impl Metered {
    pub(super) fn new(stream: Box<EdgeStream>) -> Metered {
        let meter = Meter::new(Tick::now());
        Metered { stream, meter, half_written: false, traffic: Arc::default(), head_due: None, ticket: None }
    }

    /// Whose it is.
    pub(super) fn client(&self) -> &Client {
        self.stream.client()
    }

    /// What has gone out.
    pub(super) fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }

    /// Whether a head has begun that is late: its frames come without the last (RFC 9113, section 6.10).
    fn head_is_late(&mut self, context: &Context<'_>) -> bool {
        if !self.meter.head_is_open() {
            self.head_due = None;
            self.ticket = None;
            return false;
        }
        let client = self.stream.client();
        let due = *self.head_due.get_or_insert_with(|| Tick::after(client.listener.settings().request_header));
        if due.passed() {
            client.listener.counters.heads_timed_out.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        self.ticket.get_or_insert_with(|| Ticket::new(context.waker(), due, Awaited::Progress));
        false
    }

    /// Says farewell, and gives the error that ends the connection.
    fn end(&mut self, context: &mut Context<'_>, flood: Flood) -> io::Error {
        self.stream.client().listener.counters.floods.fetch_add(1, Ordering::Relaxed);
        if !self.half_written {
            // One try: a client that does not read either is not waited for.
            drop(Pin::new(&mut self.stream).poll_write(context, &farewell(flood)));
            drop(Pin::new(&mut self.stream).poll_flush(context));
        }
        io::ErrorKind::InvalidData.into()
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(context, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        match this.meter.received(read, Tick::now()) {
            Ok(()) if outcome.is_pending() && this.head_is_late(context) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Ok(()) => outcome,
            Err(flood) => Poll::Ready(Err(this.end(context, flood))),
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        let wrote = if let Poll::Ready(Ok(wrote)) = outcome { wrote } else { 0 };
        this.half_written = wrote < slices.iter().map(|slice| slice.len()).sum();
        this.meter.sent(wrote);
        this.traffic.written.fetch_add(wrote as u64, Ordering::Relaxed);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
