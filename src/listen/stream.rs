//! The stream that pingora reads and writes a client connection through.
//!
//! It lets pass one request at a time, and only what was understood without doubt ([`Inbound`]); it keeps the
//! head's deadline, and gathers small writes ([`Gathered`]). It lives as long as the connection; sessions come and
//! go on it.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
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
use super::gather::Gathered;
use super::inbound::{Inbound, Stage};
use super::listener::Live;
use super::transport::Socket;
use crate::failure::{Reason, wire_answer};
use crate::interrupt::{Doing, Interrupt};

/// What is read ahead at a time; the parser starts with as much.
const READ_AHEAD: usize = 4096;

/// How long a client that was refused may still send what nobody reads. Closed at once, its own bytes would make
/// the system reset the connection, and it might never see the answer (RFC 9112, section 9.6).
const LINGERING_CLOSE: Duration = Duration::from_secs(1);

/// The most bytes that are read in that time.
const LINGERING_BYTES: usize = 1 << 20;

/// What pingora's parser answers by itself begins like this.
const PARSER_REFUSAL: &[u8] = b"HTTP/1.1 400";

/// An IMF-fixdate (RFC 9110, section 5.6.7), which is always as long.
pub type HttpDate = [u8; 29];

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_AHEAD].into_boxed_slice());
}

/// See the module's documentation.
pub struct EdgeStream {
    socket: Socket,
    client: Client,
    tls: Option<Arc<SslDigest>>,
    inbound: Inbound,
    gathered: Gathered,
    /// When what was gathered leaves though nothing follows it.
    lingers: Option<Ticket>,
    http2: bool,
    /// Nothing has been read yet: the runtime believes a new socket readable, so only a read tells.
    fresh: bool,
    /// The client sends no more; it may still wait for its answer.
    half_closed: bool,
    /// When the head that is being read must be complete.
    head_due: Option<Tick>,
    /// pingora's parser has refused a head that we had let pass, and we have answered in its place.
    refused_by_parser: bool,
    /// The proxy has the head of the request at hand.
    with_proxy: AtomicBool,
    /// The proxy has switched protocols.
    tunnel: AtomicBool,
    /// The answer was broken off, and only a reset can tell the client.
    broken: AtomicBool,
    /// What ends the wait for the client from elsewhere; of the request at hand.
    interrupt: Mutex<Option<Arc<Interrupt>>>,
    /// What the head that is written next must have for its `Date`.
    date: Mutex<Option<Box<HttpDate>>>,
    ticket: Option<Ticket>,
    _live: Live,
}

impl EdgeStream {
    pub(super) fn new(socket: Socket, client: Client, tls: Option<Arc<SslDigest>>, live: Live) -> EdgeStream {
        EdgeStream {
            socket,
            client,
            tls,
            inbound: Inbound::new(),
            gathered: Gathered::default(),
            lingers: None,
            http2: false,
            fresh: true,
            half_closed: false,
            head_due: None,
            refused_by_parser: false,
            with_proxy: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            interrupt: Mutex::default(),
            date: Mutex::default(),
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

    /// What was read ahead and not handed on yet.
    pub(super) fn ahead(&self) -> &[u8] {
        self.inbound.held()
    }

    /// From here on the connection speaks HTTP/2.
    pub(super) fn speak_http2(&mut self) {
        self.http2 = true;
        self.head_due = None;
        self.ticket = None;
        self.inbound.open();
    }

    /// A head is due; it must be complete at `due`.
    pub(super) fn expect_head(&mut self, due: Tick) {
        self.ticket = None;
        self.head_due = Some(due);
    }

    /// What is read from here on, or was read ahead, is the next request.
    pub(super) fn begin_request(&mut self) {
        if self.refused().is_some() {
            return;
        }
        *self.with_proxy.get_mut() = false;
        *self.interrupt.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        self.inbound.begin();
        if !self.ahead().is_empty() {
            self.inbound.inspect(self.client.listener.settings().head_limits());
        }
    }

    /// Whether the request at hand has been read to its end, so that another may follow.
    pub(super) fn is_complete(&self) -> bool {
        self.inbound.stage() == Stage::Complete && self.inbound.refused().is_none()
    }

    /// The proxy has the head of a request.
    pub(super) fn head_received(&self) {
        self.with_proxy.store(true, Ordering::Relaxed);
    }

    /// Why the request at hand is refused.
    pub(super) fn refused(&self) -> Option<Reason> {
        self.inbound.refused()
    }

    /// The backend has switched protocols: from now on everything passes as it comes.
    pub(super) fn open_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    /// Ends with a reset instead of in order.
    pub(super) fn break_off(&self) {
        self.broken.store(true, Ordering::Relaxed);
        self.socket.plain().reset_on_close();
    }

    /// What can end the wait for this client during the request at hand.
    pub(super) fn interrupt(&self) -> Arc<Interrupt> {
        self.interrupt.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().clone()
    }

    /// The head of the answer that follows says when its backend made it.
    pub(super) fn keep_date(&self, date: HttpDate) {
        *self.date.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(date));
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
        poll_fn(|context| match self.poll_read_ahead(context) {
            Poll::Ready(read) => Poll::Ready(read.is_ok_and(|bytes| bytes > 0)),
            Poll::Pending => self.poll_head_deadline(context).map(|()| false),
        })
        .await
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

    /// Reads ahead, and says how many bytes; none when the client sends no more.
    fn poll_read_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut buffer))?;
            self.fresh = false;
            self.inbound.hold(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// The request is complete. What follows is read ahead, but no further than a little; that the client sends
    /// no more does not mean that it does not wait (RFC 9112, section 9.6). Ready only when it is gone.
    fn poll_between(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if self.half_closed || self.inbound.refused().is_some() || !self.ahead().is_empty() {
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

    /// Ready when a head is being read and its time is over; one that has begun is then refused.
    fn poll_head_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.head_due else { return Poll::Pending };
        if self.inbound.stage() != Stage::Head {
            self.head_due = None;
            self.ticket = None;
            return Poll::Pending;
        }
        if !due.passed() {
            if self.ticket.is_none() {
                self.ticket = Some(Ticket::new(context.waker(), due, Awaited::Progress));
            }
            return Poll::Pending;
        }
        self.head_due = None;
        self.ticket = None;
        if self.inbound.has_begun() {
            self.inbound.refuse(Reason::RequestTimeout);
        } else {
            self.client.listener.counters.heads_timed_out.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(())
    }

    /// A backend that pauses must not hold back what it has said: what was gathered and has not been flushed
    /// leaves with the next tick. Asked whenever the session waits for its client.
    fn poll_lingering(&mut self, context: &mut Context<'_>) {
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

    /// Puts our answer in the place of the parser's own, which names neither reason nor request and which nobody
    /// else sees: before the proxy has the head nothing but the parser answers.
    fn is_parser_refusal(&mut self, bytes: &[u8]) -> bool {
        let by_parser = !self.http2 && !self.with_proxy.load(Ordering::Relaxed);
        if by_parser && bytes.starts_with(PARSER_REFUSAL) {
            self.refused_by_parser = true;
            self.client.listener.counters.heads_refused.fetch_add(1, Ordering::Relaxed);
            self.gathered.push(&wire_answer(Reason::BadRequest));
        }
        self.refused_by_parser
    }

    /// Takes the head of an answer with the date that it had before pingora's session put the time in its place.
    fn with_date(&mut self, head: &[u8]) -> bool {
        let date = self.date.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some((date, place)) = date.and_then(|date| Some((date, date_place(head)?))) else { return false };
        let (before, rest) = head.split_at(place);
        self.gathered.push(before);
        self.gathered.push(&*date);
        self.gathered.push(rest.get(date.len()..).unwrap_or_default());
        true
    }

    /// Reads and forgets what a client still sends that will get no other answer, for a while.
    async fn discard(&mut self) {
        let due = Tick::after(LINGERING_CLOSE);
        let mut left = LINGERING_BYTES;
        self.ticket = None;
        poll_fn(|context| {
            while left > 0 {
                let mut memory = [0; 1024];
                let mut buffer = ReadBuf::new(&mut memory);
                match Pin::new(&mut self.socket).poll_read(context, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                        left = left.saturating_sub(buffer.filled().len());
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending if due.passed() => return Poll::Ready(()),
                    Poll::Pending => {
                        self.ticket.get_or_insert_with(|| Ticket::new(context.waker(), due, Awaited::Progress));
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(())
        })
        .await;
        self.ticket = None;
    }
}

/// Where the value of `Date` begins in a head.
fn date_place(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\r\ndate: ";
    let mut line_ends = memchr::memchr_iter(b'\r', head);
    let found = line_ends.find(|at| head.get(*at..at + NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)));
    found.map(|at| at + NAME.len()).filter(|place| head.len() >= place + size_of::<HttpDate>())
}

impl AsyncRead for EdgeStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.note(Doing::Waiting);
        if *this.tunnel.get_mut() && this.inbound.stage() != Stage::Raw {
            this.inbound.open();
        }
        loop {
            if this.inbound.give(buffer) {
                return Poll::Ready(Ok(()));
            }
            let outcome = match this.inbound.stage() {
                Stage::Complete => {
                    this.poll_lingering(context);
                    if this.is_cut(context) {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    return this.poll_between(context).map(Err);
                }
                // The rest of a head that came in pieces.
                Stage::Head if !this.ahead().is_empty() => this.poll_read_ahead(context).map_ok(|bytes| {
                    this.inbound.inspect(this.client.listener.settings().head_limits());
                    bytes == 0
                }),
                Stage::Head | Stage::Body | Stage::Raw => {
                    let before = buffer.filled().len();
                    match Pin::new(&mut this.socket).poll_read(context, buffer) {
                        Poll::Ready(Ok(())) => {
                            let ended = buffer.filled().len() == before;
                            let (inbound, listener) = (&mut this.inbound, &this.client.listener);
                            let limits = || listener.settings().head_limits();
                            if inbound.pass(buffer, before, limits).is_err() {
                                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                            }
                            Poll::Ready(Ok(ended || buffer.filled().len() > before))
                        }
                        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                        Poll::Pending => Poll::Pending,
                    }
                }
            };
            match outcome {
                // Something was handed on, or nothing will ever be.
                Poll::Ready(Ok(true)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.poll_lingering(context);
                    if this.is_cut(context) {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    ready!(this.poll_head_deadline(context));
                    if this.inbound.refused().is_none() {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                }
            }
        }
    }
}

impl AsyncWrite for EdgeStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refused_by_parser || this.is_parser_refusal(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        this.note(Doing::Sending);
        if this.with_date(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        this.gathered.poll_write(&mut this.socket, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.gathered.poll_drain(&mut this.socket, context))?;
        Pin::new(&mut this.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.gathered.poll_drain(&mut this.socket, context))?;
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
            return;
        }
        let unread = !self.is_complete() || !self.ahead().is_empty();
        let in_order = !*self.broken.get_mut() && !self.half_closed;
        if unread && in_order && self.inbound.stage() != Stage::Raw {
            self.discard().await;
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
            drop(self.gathered.poll_drain(&mut self.socket, &mut Context::from_waker(Waker::noop())));
        }
    }
}

impl fmt::Debug for EdgeStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EdgeStream").field("client", &self.client.address).finish_non_exhaustive()
    }
}
