//! The stream that pingora reads and writes a client connection through.
//!
//! It replays what was read ahead (the first bytes decide the protocol and end the parking), keeps the head's
//! deadline, and gathers small writes so that a head and a small body leave in one system call. It lives as
//! long as the connection; sessions come and go on it.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::{Client, user_data};
use super::deadline::{Awaited, Tick, Ticket};
use super::listener::Live;
use super::transport::Socket;
use crate::failure::{Reason, wire_answer};
use crate::interrupt::{Doing, Interrupt};

/// Gathered before a write: holds the head of a response and a small body; one page.
const GATHER: usize = 4096;

/// What the first read of a request takes; the parser starts with as much.
const FIRST_READ: usize = 4096;

/// The most gathering buffers that a core keeps for reuse.
const SPARE_BUFFERS: usize = 64;

/// Where the end of a request is not known.
const UNKNOWN: u64 = u64::MAX;

/// What pingora's parser answers by itself begins like this.
const PARSER_REFUSAL: &[u8] = b"HTTP/1.1 400";

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; FIRST_READ].into_boxed_slice());
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// See the module's documentation.
pub struct EdgeStream {
    socket: Socket,
    client: Client,
    tls: Option<Arc<SslDigest>>,
    /// Read ahead of the parser, and how much of it has been replayed.
    ahead: Vec<u8>,
    replayed: usize,
    /// Gathered for writing, and how much of it has been written.
    gathered: Vec<u8>,
    written: usize,
    /// When what was gathered leaves though nothing follows it.
    lingers: Option<Ticket>,
    http2: bool,
    /// Nothing has been read yet: the runtime believes a new socket readable, so only a read tells.
    fresh: bool,
    /// When the head that is being read must be complete.
    head_due: Option<Tick>,
    awaited: Awaited,
    /// The parser has refused a head, and we have answered in its place.
    refused: bool,
    /// The answer was broken off, and only a reset can tell the client.
    broken: AtomicBool,
    /// What ends the wait for the client from elsewhere; of the request at hand.
    interrupt: Mutex<Option<Arc<Interrupt>>>,
    /// Bytes of the head that is being read.
    head_bytes: u64,
    head_received: AtomicBool,
    /// Bytes given to the session for the request at hand, with those it had from before; none when unknown.
    delivered: Option<u64>,
    /// Bytes of the request at hand on the wire; [`UNKNOWN`] until its head has arrived, or for good.
    request_bytes: AtomicU64,
    ticket: Option<Ticket>,
    _live: Live,
}

impl EdgeStream {
    pub(super) fn new(socket: Socket, client: Client, tls: Option<Arc<SslDigest>>, live: Live) -> EdgeStream {
        EdgeStream {
            socket,
            client,
            tls,
            ahead: Vec::new(),
            replayed: 0,
            gathered: Vec::new(),
            written: 0,
            lingers: None,
            http2: false,
            fresh: true,
            head_due: None,
            awaited: Awaited::Progress,
            refused: false,
            broken: AtomicBool::new(false),
            interrupt: Mutex::default(),
            head_bytes: 0,
            head_received: AtomicBool::new(false),
            delivered: Some(0),
            request_bytes: AtomicU64::new(UNKNOWN),
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

    /// What was read ahead and not replayed yet.
    pub(super) fn ahead(&self) -> &[u8] {
        self.ahead.get(self.replayed..).unwrap_or_default()
    }

    /// From here on the connection speaks HTTP/2.
    pub(super) fn speak_http2(&mut self) {
        self.http2 = true;
        self.head_due = None;
        self.ticket = None;
    }

    /// Starts the deadline of a head. A client that is `Awaited::NextRequest` may not have begun one, and is not
    /// told when it is late.
    pub(super) fn expect_head(&mut self, due: Tick, awaited: Awaited) {
        self.ticket = None;
        self.awaited = awaited;
        self.head_bytes = 0;
        self.head_due = Some(due);
        self.head_received.store(false, Ordering::Relaxed);
        *self.interrupt.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Ends the deadline of the head. `length` is that of the whole request on the wire, if it says.
    pub(super) fn head_received(&self, length: Option<u64>) {
        self.head_received.store(true, Ordering::Relaxed);
        self.request_bytes.store(length.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    /// Ends with a reset instead of in order.
    pub(super) fn break_off(&self) {
        self.broken.store(true, Ordering::Relaxed);
        self.socket.plain().reset_on_close();
    }

    /// After a request: whether the session holds nothing of the next one, so that only new bytes can begin it.
    ///
    /// A client may have sent its next request already (RFC 9112, section 9.3.2); what pingora read of it
    /// travels to the next session and would not make the socket readable.
    pub(super) fn next_request_is_unread(&mut self) -> bool {
        let length = std::mem::replace(self.request_bytes.get_mut(), UNKNOWN);
        self.delivered = match self.delivered {
            Some(delivered) if length != UNKNOWN => delivered.checked_sub(length),
            Some(_) | None => None,
        };
        self.delivered == Some(0)
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

    /// Reads more ahead. False: the client left, or the head's deadline came.
    pub(super) async fn read_ahead(&mut self) -> bool {
        poll_fn(|context| self.poll_read_ahead(context)).await
    }

    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if !self.ahead().is_empty() {
            return Poll::Ready(true);
        }
        match &self.socket {
            // The request's own read follows: no system call here. TLS may hold plaintext, so it must be read.
            Socket::Plain(plain) if !self.fresh => plain.poll_read_ready(context).map(|ready| ready.is_ok()),
            Socket::Plain(_) | Socket::Tls(_) => self.poll_read_ahead(context),
        }
    }

    fn poll_read_ahead(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let outcome = match Pin::new(&mut self.socket).poll_read(context, &mut buffer) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => return self.poll_head_deadline(context).map(|_: io::Error| false),
            };
            self.fresh = false;
            if outcome.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(false);
            }
            self.ahead.drain(..self.replayed);
            self.replayed = 0;
            self.ahead.extend_from_slice(buffer.filled());
            Poll::Ready(true)
        })
    }

    /// Whether the whole request is here, so that the client may say no more (RFC 9112, section 9.6).
    fn has_said_all(&self) -> bool {
        let length = self.request_bytes.load(Ordering::Relaxed);
        self.head_received.load(Ordering::Relaxed)
            && length != UNKNOWN
            && self.delivered.is_some_and(|delivered| delivered >= length)
    }

    /// Nothing more of the request is to come: only that the client has gone is of interest to the session. What
    /// follows is the next request, or that there will be none, and stays here till then: a session that had it would
    /// listen to its client no more.
    fn poll_while_served(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ahead().is_empty() {
            let gone = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                match Pin::new(&mut self.socket).poll_read(context, &mut buffer) {
                    Poll::Ready(Err(error)) => return Some(error),
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                        self.ahead = buffer.filled().to_vec();
                        self.replayed = 0;
                    }
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
                None
            });
            if let Some(error) = gone {
                return Poll::Ready(Err(error));
            }
        }
        self.poll_lingering(context);
        if self.is_cut(context) { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }

    /// Whether the wait for this client has been ended from elsewhere.
    fn is_cut(&mut self, context: &Context<'_>) -> bool {
        let interrupt = self.interrupt.get_mut().unwrap_or_else(PoisonError::into_inner);
        interrupt.as_ref().is_some_and(|interrupt| interrupt.poll_cut(context.waker()))
    }

    /// Whether the session writes or reads: while it writes it asks for nothing else.
    fn note(&mut self, is: Doing) {
        if let Some(interrupt) = self.interrupt.get_mut().unwrap_or_else(PoisonError::into_inner) {
            interrupt.set(is);
        }
    }

    /// What can end the wait for this client during the request at hand.
    pub(super) fn interrupt(&self) -> Arc<Interrupt> {
        self.interrupt.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().clone()
    }

    /// Bytes of a head that is not complete have gone to the parser.
    fn count_head(&mut self, bytes: u64) {
        if self.head_due.is_none() || bytes == 0 {
            return;
        }
        self.head_bytes += bytes;
        if self.awaited == Awaited::NextRequest {
            // It has begun: from now on it has the time of a head, and its client is told when it is late.
            self.awaited = Awaited::Progress;
            self.ticket = None;
            self.head_due = Some(Tick::after(self.client.listener.settings().request_header));
        }
    }

    /// Whether more than a head may have was read, and it is still not complete. pingora would gather a mebibyte.
    fn head_is_too_large(&self) -> bool {
        self.head_due.is_some()
            && self.head_bytes > FIRST_READ as u64
            && !self.head_received.load(Ordering::Relaxed)
            && self.head_bytes > u64::from(self.client.listener.settings().header_bytes)
    }

    /// Answers in place of the parser, and gives the error that ends the connection.
    fn refuse_head(&mut self, context: &mut Context<'_>, reason: Option<Reason>) -> io::Error {
        self.head_due = None;
        self.ticket = None;
        if let Some(reason) = reason
            && !self.http2
        {
            // One try: a client that does not read either is not waited for.
            drop(Pin::new(&mut self.socket).poll_write(context, &wire_answer(reason)));
            drop(Pin::new(&mut self.socket).poll_flush(context));
        }
        io::ErrorKind::InvalidData.into()
    }

    /// Puts our answer in the place of the parser's own, which names neither reason nor request and which nobody
    /// else sees: before the head has arrived nothing but the parser answers.
    fn is_parser_refusal(&mut self, bytes: &[u8]) -> bool {
        let by_parser = !self.http2 && self.head_due.is_some() && !self.head_received.load(Ordering::Relaxed);
        if by_parser && bytes.starts_with(PARSER_REFUSAL) {
            self.refused = true;
            self.client.listener.counters.heads_refused.fetch_add(1, Ordering::Relaxed);
            self.gather(&wire_answer(Reason::BadRequest));
        }
        self.refused
    }

    /// Ready with the error to give when a head is being read and its time is over.
    fn poll_head_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(due) = self.head_due else { return Poll::Pending };
        if self.head_received.load(Ordering::Relaxed) {
            self.head_due = None;
            self.ticket = None;
            return Poll::Pending;
        }
        if due.passed() {
            self.client.listener.counters.heads_timed_out.fetch_add(1, Ordering::Relaxed);
            let silent = self.awaited == Awaited::NextRequest;
            self.refuse_head(context, (!silent).then_some(Reason::RequestTimeout));
            return Poll::Ready(io::ErrorKind::TimedOut.into());
        }
        if self.ticket.is_none() {
            self.ticket = Some(Ticket::new(context.waker(), due, self.awaited));
        }
        if self.ticket.as_ref().is_some_and(Ticket::expired) {
            // Draining has shortened it.
            self.head_due = None;
            return Poll::Ready(io::ErrorKind::TimedOut.into());
        }
        Poll::Pending
    }

    /// A backend that pauses must not hold back what it has said: what was gathered and has not been flushed
    /// leaves with the next tick. Asked whenever the session waits for its client.
    fn poll_lingering(&mut self, context: &mut Context<'_>) {
        match &self.lingers {
            _ if self.gathered.is_empty() => {}
            None => self.lingers = Some(Ticket::new(context.waker(), Tick::after(Duration::ZERO), Awaited::Progress)),
            Some(ticket) if ticket.expired() => {
                self.lingers = None;
                // What goes wrong here goes wrong again at the next write, which reports it.
                drop(self.poll_drain(context));
            }
            Some(_) => {}
        }
    }

    /// Writes out all that was gathered.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.gathered.get(self.written..)
            && !rest.is_empty()
        {
            let wrote = ready!(Pin::new(&mut self.socket).poll_write(context, rest))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += wrote;
        }
        self.give_back();
        Poll::Ready(Ok(()))
    }

    fn gather(&mut self, bytes: &[u8]) {
        if self.gathered.capacity() == 0 {
            self.gathered = SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(GATHER));
        }
        self.gathered.extend_from_slice(bytes);
    }

    fn give_back(&mut self) {
        self.written = 0;
        self.lingers = None;
        let mut buffer = std::mem::take(&mut self.gathered);
        if buffer.capacity() > 0 {
            buffer.clear();
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_BUFFERS {
                    spare.push(buffer);
                }
            });
        }
    }
}

impl AsyncRead for EdgeStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.note(Doing::Waiting);
        if this.has_said_all() {
            return this.poll_while_served(context);
        }
        if let Some(ahead) = this.ahead.get(this.replayed..)
            && !ahead.is_empty()
        {
            let (now, _) = ahead.split_at(ahead.len().min(buffer.remaining()));
            buffer.put_slice(now);
            this.replayed += now.len();
            let replayed = now.len() as u64;
            this.delivered = this.delivered.map(|delivered| delivered + replayed);
            this.count_head(replayed);
            if this.replayed == this.ahead.len() {
                this.ahead = Vec::new();
                this.replayed = 0;
            }
            return Poll::Ready(Ok(()));
        }
        if this.head_is_too_large() {
            this.client.listener.counters.heads_too_large.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(Err(this.refuse_head(context, Some(Reason::HeaderTooLarge))));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.socket).poll_read(context, buffer) {
            Poll::Ready(outcome) => {
                let read = buffer.filled().len().saturating_sub(before) as u64;
                this.delivered = this.delivered.map(|delivered| delivered + read);
                this.count_head(read);
                Poll::Ready(outcome)
            }
            Poll::Pending => {
                this.poll_lingering(context);
                if this.is_cut(context) {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                this.poll_head_deadline(context).map(Err)
            }
        }
    }
}

impl AsyncWrite for EdgeStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refused || this.is_parser_refusal(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        this.note(Doing::Sending);
        loop {
            if this.gathered.len() + bytes.len() <= GATHER {
                this.gather(bytes);
                return Poll::Ready(Ok(bytes.len()));
            }
            let held = this.gathered.get(this.written..).unwrap_or_default();
            if held.is_empty() {
                this.give_back();
                return Pin::new(&mut this.socket).poll_write(context, bytes);
            }
            match &mut this.socket {
                Socket::Tls(_) => ready!(this.poll_drain(context))?,
                Socket::Plain(plain) => {
                    let slices = [IoSlice::new(held), IoSlice::new(bytes)];
                    let wrote = ready!(Pin::new(plain).poll_write_vectored(context, &slices))?;
                    if wrote == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    match wrote.checked_sub(held.len()) {
                        None => this.written += wrote,
                        Some(0) => this.give_back(),
                        Some(of_bytes) => {
                            this.give_back();
                            return Poll::Ready(Ok(of_bytes));
                        }
                    }
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        if *this.broken.get_mut() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.socket).poll_shutdown(context)
    }
}

#[async_trait]
impl Shutdown for EdgeStream {
    async fn shutdown(&mut self) {
        if let Err(error) = tokio::io::AsyncWriteExt::shutdown(self).await {
            log::debug!("closing a client connection failed: {error}");
        }
    }
}

impl UniqueID for EdgeStream {
    fn id(&self) -> UniqueIDType {
        self.socket.plain().descriptor()
    }
}

impl Ssl for EdgeStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(if self.http2 { ALPN::H2 } else { ALPN::H1 })
    }
}

impl GetProxyDigest for EdgeStream {
    /// Where HTTP/2 streams find their [`Client`]; HTTP/1.1 sessions show this stream itself.
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        if !self.http2 {
            return None;
        }
        user_data(Box::new(self.client.clone())).map(Arc::new)
    }
}

impl GetTimingDigest for EdgeStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetSocketDigest for EdgeStream {
    /// None: all that it could say is in [`Client`], without an allocation for each request.
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for EdgeStream {}

impl Drop for EdgeStream {
    /// A session that fails in the middle of an answer closes without flushing: what was gathered leaves all the
    /// same, as far as the client takes it at once.
    fn drop(&mut self) {
        if !self.gathered.is_empty() {
            drop(self.poll_drain(&mut Context::from_waker(Waker::noop())));
        }
    }
}

impl fmt::Debug for EdgeStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EdgeStream").field("client", &self.client.address).finish_non_exhaustive()
    }
}
