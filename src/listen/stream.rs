//! A client connection: its socket, what was read ahead, and what waits to be written.
//!
//! It lives as long as the connection, in a few hundred bytes; the sessions of its requests come and go on it. Requests of
//! HTTP/1.1 are read from it whole or not at all ([`Inbound`]); HTTP/2 reads and writes it as it is.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::Client;
use super::deadline::{Awaited, Tick, Ticket};
use super::gather::Gathered;
use super::inbound::{Arrived, Inbound};
use super::listener::Live;
use super::transport::Socket;
use crate::failure::Reason;
use crate::scratch::{self, Read};
use crate::wire::Body;

/// What is read ahead at a time of what is not looked at yet.
const READ_AHEAD: usize = 4096;

/// What is read at a time of a head.
const READ_HEAD: usize = 16 * 1024;

/// How long a client that was refused may still send what nobody reads. Closed at once, its own bytes would make
/// the system reset the connection, and it might never see the answer (RFC 9112, section 9.6).
const LINGERING_CLOSE: Duration = Duration::from_secs(1);

/// The most bytes that are read in that time.
const LINGERING_BYTES: usize = 1 << 20;

/// See the module's documentation.
pub struct EdgeStream {
    socket: Socket,
    client: Client,
    inbound: Inbound,
    gathered: Gathered,
    /// When what was gathered leaves though nothing follows it.
    lingers: Option<Ticket>,
    /// Nothing has been read yet: the runtime believes a new socket readable, so only a read tells.
    fresh: bool,
    /// The client sends no more; it may still wait for its answer.
    half_closed: bool,
    ticket: Option<Ticket>,
    _live: Live,
}

impl EdgeStream {
    pub(super) fn new(socket: Socket, client: Client, live: Live) -> EdgeStream {
        EdgeStream {
            socket,
            client,
            inbound: Inbound::default(),
            gathered: Gathered::default(),
            lingers: None,
            fresh: true,
            half_closed: false,
            ticket: None,
            _live: live,
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether ALPN chose HTTP/2; none where there is no TLS.
    pub(super) fn negotiated_http2(&self) -> Option<bool> {
        match &self.socket {
            Socket::Plain(_) => None,
            Socket::Tls(stream) => Some(stream.get_ref().1.alpn_protocol() == Some(b"h2")),
        }
    }

    /// What was read ahead and belongs to nobody yet.
    pub(super) fn ahead(&self) -> &[u8] {
        self.inbound.held()
    }

    /// Whether the client has closed its sending side.
    pub(super) fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// Waits, holding next to nothing, until there is something to read. False: the client left, or `due` came.
    pub(super) async fn park(&mut self, due: Tick, awaited: Awaited) -> bool {
        self.ticket = None;
        let readable = poll_fn(|context| {
            if let Poll::Ready(readable) = self.poll_readable(context) {
                return Poll::Ready(readable);
            }
            match &self.ticket {
                Some(ticket) if ticket.expired() => return Poll::Ready(false),
                Some(_) => {}
                None => self.ticket = Some(Ticket::new(context.waker(), due, awaited)),
            }
            Poll::Pending
        })
        .await;
        self.ticket = None;
        readable
    }

    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if !self.ahead().is_empty() {
            return Poll::Ready(true);
        }
        match &self.socket {
            // The request's own read follows: no system call here. TLS may hold plaintext, so it must be read.
            Socket::Plain(plain) if !self.fresh => plain.poll_read_ready(context).map(|ready| ready.is_ok()),
            Socket::Plain(_) | Socket::Tls(_) => {
                self.poll_read_ahead(context).map(|read| read.is_ok_and(|bytes| bytes > 0))
            }
        }
    }

    /// Reads more ahead. False: the client left, or `due` came.
    pub(super) async fn read_ahead(&mut self, due: Tick) -> bool {
        let read = poll_fn(|context| match self.poll_read_ahead(context) {
            Poll::Ready(read) => Poll::Ready(read.is_ok_and(|bytes| bytes > 0)),
            Poll::Pending => self.poll_due(context, due).map(|()| false),
        })
        .await;
        self.ticket = None;
        read
    }

    /// Reads ahead, and says how many bytes; none when the client sends no more.
    fn poll_read_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let inbound = &mut self.inbound;
        let read = ready!(scratch::poll_read(&mut self.socket, context, READ_AHEAD, |mut read| {
            inbound.hold(read.bytes());
            read.bytes().len()
        }));
        self.fresh = false;
        Poll::Ready(read)
    }

    /// The next request, refused if it is in doubt or its head is not whole when `due` comes. None: the client left, or said
    /// nothing.
    pub(super) async fn request(&mut self, due: Tick) -> Option<Box<Arrived>> {
        let limits = self.client.listener.settings().head_limits();
        if !self.ahead().is_empty()
            && let Some(arrived) = self.inbound.request(&mut [], limits)
        {
            return Some(arrived);
        }
        let arrived = poll_fn(|context| {
            loop {
                let inbound = &mut self.inbound;
                let read = scratch::poll_read(&mut self.socket, context, READ_HEAD, |mut read| {
                    let bytes = read.bytes();
                    (!bytes.is_empty()).then(|| inbound.request(bytes, limits))
                });
                match read {
                    Poll::Ready(Ok(Some(Some(arrived)))) => return Poll::Ready(Some(arrived)),
                    Poll::Ready(Ok(Some(None))) => {}
                    Poll::Ready(Ok(None) | Err(_)) => return Poll::Ready(None),
                    Poll::Pending => {
                        ready!(self.poll_due(context, due));
                        return Poll::Ready(self.head_is_late());
                    }
                }
            }
        })
        .await;
        self.ticket = None;
        arrived
    }

    fn head_is_late(&mut self) -> Option<Box<Arrived>> {
        if self.inbound.has_begun() {
            return Some(self.inbound.refuse(Reason::RequestTimeout));
        }
        self.client.listener.counters.heads_timed_out.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Ready when `due` has come.
    fn poll_due(&mut self, context: &Context<'_>, due: Tick) -> Poll<()> {
        if due.passed() {
            return Poll::Ready(());
        }
        self.ticket.get_or_insert_with(|| Ticket::new(context.waker(), due, Awaited::Progress));
        Poll::Pending
    }

    /// More of a body or a tunnel, of which `look` says how many of the bytes are what came before what follows, and how
    /// many of those are to be handed on. Empty when the client sends no more.
    pub(super) fn poll_receive<E>(
        &mut self,
        context: &mut Context<'_>,
        look: impl FnOnce(&mut [u8]) -> Result<(usize, usize), E>,
    ) -> Poll<io::Result<Result<Received, E>>> {
        let inbound = &mut self.inbound;
        let received = |mut read: Read<'_>| {
            let bytes = read.bytes();
            if bytes.is_empty() {
                return Ok(Received::End);
            }
            let (taken, first) = look(bytes)?;
            inbound.hold(bytes.get(taken..).unwrap_or_default());
            Ok(Received::Bytes(read.take(first)))
        };
        // What is held belongs to what follows, but in a tunnel.
        scratch::poll_read(&mut self.socket, context, usize::MAX, received)
    }

    /// What was read ahead: the first of a tunnel.
    pub(super) fn take_ahead(&mut self) -> Vec<u8> {
        self.inbound.take()
    }

    /// The request is complete. What follows is read ahead, but no further than a little; that the client sends
    /// no more does not mean that it does not wait (RFC 9112, section 9.6). Ready only when it is gone.
    pub(super) fn poll_between(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if self.half_closed || !self.ahead().is_empty() {
            return Poll::Pending;
        }
        if let Socket::Plain(plain) = &self.socket
            && let Err(error) = ready!(plain.poll_read_ready(context))
        {
            return Poll::Ready(error);
        }
        match ready!(self.poll_read_ahead(context)) {
            Ok(0) => {
                self.half_closed = true;
                Poll::Pending
            }
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        }
    }

    /// Bytes that are to leave with what follows; they are written when something is sent.
    pub(super) fn gathered(&mut self) -> &mut Gathered {
        &mut self.gathered
    }

    /// Writes what was gathered, then `data`, then `tail`; what was written is taken off.
    pub(super) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        data: &mut Bytes,
        tail: &mut &'static [u8],
    ) -> Poll<io::Result<()>> {
        ready!(self.gathered.poll_send(&mut self.socket, context, data, tail))?;
        self.lingers = None;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    /// A backend that pauses must not hold back what it has said: what was gathered and has not been sent leaves with the
    /// next tick. Asked whenever the session waits for its client.
    pub(super) fn poll_lingering(&mut self, context: &mut Context<'_>) {
        match &self.lingers {
            _ if self.gathered.is_empty() => self.lingers = None,
            None => self.lingers = Some(Ticket::new(context.waker(), Tick::after(Duration::ZERO), Awaited::Progress)),
            Some(ticket) if ticket.expired() => {
                self.lingers = None;
                // What goes wrong here goes wrong again at the next write, which reports it.
                drop(self.gathered.poll_drain(&mut self.socket, context));
            }
            Some(_) => {}
        }
    }

    /// Lets the connection end with a reset instead of in order.
    pub(super) fn break_off(&self) {
        self.socket.plain().reset_on_close();
    }

    /// Tells the client that nothing more is said.
    pub(super) async fn end_sending(&mut self) {
        if let Err(error) = self.shut().await {
            log::debug!("ending the way to a client failed: {error}");
        }
    }

    /// Says what waits, and that it was the last. A client that takes nothing is not waited for.
    async fn shut(&mut self) -> io::Result<()> {
        let due = Tick::after(LINGERING_CLOSE);
        self.ticket = None;
        let shut = poll_fn(|context| match Pin::new(&mut *self).poll_shutdown(context) {
            Poll::Pending => self.poll_due(context, due).map(|()| Err(io::ErrorKind::TimedOut.into())),
            shut @ Poll::Ready(_) => shut,
        })
        .await;
        self.ticket = None;
        shut
    }

    /// Ends the connection in order; with `unread` the client may still send for a while what nobody reads.
    pub(super) async fn close(mut self: Box<EdgeStream>, unread: bool) {
        if let Err(error) = self.shut().await {
            log::debug!("closing a client connection failed: {error}");
            return;
        }
        if unread && !self.half_closed {
            self.discard().await;
        }
    }

    /// Reads the rest of a body, and forgets it. None: it has not come in time, or is in doubt.
    pub(super) async fn drain(mut self: Box<EdgeStream>, mut body: Body, due: Tick) -> Option<Box<EdgeStream>> {
        let drained = poll_fn(|context| {
            while !body.is_complete() {
                let decode = |bytes: &mut [u8]| body.decode(bytes, &mut Vec::new()).map(|decoded| (decoded.taken, 0));
                match self.poll_receive(context, decode) {
                    Poll::Ready(Ok(Ok(Received::Bytes(_)))) => {}
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending => return self.poll_due(context, due).map(|()| false),
                }
            }
            Poll::Ready(true)
        })
        .await;
        self.ticket = None;
        drained.then_some(self)
    }

    /// Reads and forgets what a client still sends that will get no other answer, for a while.
    async fn discard(&mut self) {
        let due = Tick::after(LINGERING_CLOSE);
        let mut left = LINGERING_BYTES;
        self.ticket = None;
        poll_fn(|context| {
            while left > 0 {
                match scratch::poll_read(&mut self.socket, context, READ_HEAD, |mut read| read.bytes().len()) {
                    Poll::Ready(Ok(read)) if read > 0 => left = left.saturating_sub(read),
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.poll_due(context, due),
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// What came of a body or a tunnel.
pub(super) enum Received {
    /// So much.
    Bytes(Bytes),
    /// The client sends no more.
    End,
}

impl AsyncRead for EdgeStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead().is_empty() {
            return Pin::new(&mut this.socket).poll_read(context, buffer);
        }
        let held = this.inbound.take();
        let (now, later) = held.split_at(held.len().min(buffer.remaining()));
        buffer.put_slice(now);
        this.inbound.hold(later);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for EdgeStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.gathered.poll_write(&mut this.socket, context, bytes)
    }

    /// Nothing is gathered: who has slices has gathered by itself.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.gathered.poll_drain(&mut this.socket, context))?;
        Pin::new(&mut this.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.gathered.poll_drain(&mut this.socket, context))?;
        Pin::new(&mut this.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.gathered.poll_drain(&mut this.socket, context))?;
        Pin::new(&mut this.socket).poll_shutdown(context)
    }
}

impl Drop for EdgeStream {
    /// An answer that breaks off ends without flushing: what was gathered leaves all the same, as far as the client takes
    /// it at once.
    fn drop(&mut self) {
        if !self.gathered.is_empty() {
            drop(self.gathered.poll_drain(&mut self.socket, &mut Context::from_waker(Waker::noop())));
        }
    }
}

impl fmt::Debug for EdgeStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EdgeStream").field("client", &self.client.address).finish_non_exhaustive()
    }
}
