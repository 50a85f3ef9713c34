//! The socket of a connection, and the two sides that it can have: a [`Server`] takes requests from it, a [`Client`] makes some on it, which
//! its [`Driver`] carries.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{request, response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, Going, Shared};
use super::fault::{By, Code, Fault};
use super::handle::Stream;
use super::hpack::Encoder;
use super::message::Head;
use super::settings::Limits;
use crate::scratch;

/// Pieces that are written at a time.
const SLICES: usize = 32;

/// The largest number of a stream (RFC 9113, section 5.1.1).
const LAST_STREAM: u32 = 0x7fff_ffff;

/// A connection's socket, and how far it is.
#[derive(Debug)]
struct Socket<T> {
    io: T,
    /// What was written may not have left.
    unflushed: bool,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// Something; there may be more.
    Some,
    /// Nothing for now, or nothing more.
    Nothing,
    /// It was not tried: too much must leave first.
    Stopped,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket<T> {
    fn read<H: Head>(&mut self, connection: &mut Connection<H>, task: &mut Context<'_>) -> Read {
        if !connection.reads() {
            return Read::Stopped;
        }
        let received = scratch::poll_read(&mut self.io, task, usize::MAX, |mut read| {
            let came = read.bytes().len();
            connection.receive(&mut read).map(|()| came)
        });
        match received {
            Poll::Pending => Read::Nothing,
            Poll::Ready(Ok(Ok(came))) if came > 0 => Read::Some,
            Poll::Ready(Ok(Ok(_))) => {
                connection.lose(io::ErrorKind::UnexpectedEof);
                Read::Nothing
            }
            Poll::Ready(Ok(Err(code))) => {
                connection.fail(code);
                Read::Nothing
            }
            Poll::Ready(Err(error)) => {
                connection.lose(error.kind());
                Read::Nothing
            }
        }
    }

    /// Writes all that waits.
    fn poll_write<H: Head>(&mut self, connection: &mut Connection<H>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        while connection.outbox.unsent() > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = connection.outbox.slices(&mut slices);
            let wrote = match slices.get(..count).unwrap_or_default() {
                [slice] => Pin::new(&mut self.io).poll_write(task, slice),
                slices => Pin::new(&mut self.io).poll_write_vectored(task, slices),
            };
            match ready!(wrote)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                wrote => connection.wrote(wrote),
            }
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(task))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what can be written. Ready: the connection is over, and everything was said.
    fn poll_over<H: Head>(&mut self, connection: &mut Connection<H>, task: &mut Context<'_>) -> Poll<()> {
        match self.poll_write(connection, task) {
            Poll::Ready(Ok(())) => connection.unblock(),
            Poll::Pending => {
                connection.unblock();
                // A backend that takes nothing is not waited for where all is over. Whoever serves clients has a limit for it.
                let is_lost = !H::IS_REQUEST && connection.fault.is_some();
                return if is_lost { Poll::Ready(()) } else { Poll::Pending };
            }
            Poll::Ready(Err(error)) => connection.lose(error.kind()),
        }
        if connection.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The side that answers.
#[derive(Debug)]
pub struct Server<T> {
    socket: Socket<T>,
    shared: Held<request::Parts>,
}

/// The state of a connection, which ends with whoever carries it.
#[derive(Debug)]
struct Held<H: Head>(Arc<Shared<H>>);

impl<H: Head> Drop for Held<H> {
    fn drop(&mut self) {
        self.0.lock().lose(io::ErrorKind::ConnectionAborted);
    }
}

/// A request, and the stream that it came over.
pub type Request = (request::Parts, Stream<request::Parts>);

impl<T: AsyncRead + AsyncWrite + Unpin> Server<T> {
    /// Nothing has come; the client's preface is still to be read.
    pub fn new(io: T, limits: Limits) -> Server<T> {
        Server { socket: Socket { io, unflushed: false }, shared: Held(Arc::new(Connection::shared(limits))) }
    }

    /// Waits for the next request, and carries what comes and goes over all streams meanwhile. It is `now` so many quarters of a second
    /// since the connection began. None: the connection is over.
    pub fn poll_accept(&mut self, task: &mut Context<'_>, now: u32) -> Poll<Option<Request>> {
        let mut connection = self.shared.0.lock();
        connection.meter.pass(now);
        loop {
            while let Some((key, head)) = connection.unheld.pop_front() {
                let Some(stream) = connection.streams.get_mut(key) else { continue };
                if stream.fault.is_some() {
                    // What was taken back before anybody looked at it is not begun: no backend hears of it.
                    connection.release(key);
                    continue;
                }
                stream.is_held = true;
                drop(connection);
                return Poll::Ready(Some((head, Stream::new(self.shared.0.clone(), key))));
            }
            connection.taken_back = 0;
            let read = self.socket.read(&mut connection, task);
            if read == Read::Some {
                continue;
            }
            if self.socket.poll_over(&mut connection, task).is_ready() {
                return Poll::Ready(None);
            }
            if read == Read::Nothing || !connection.reads() {
                connection.driver = Some(task.waker().clone());
                return Poll::Pending;
            }
        }
    }

    /// Whether a head, or trailers, have begun without their end.
    pub fn is_within_fields(&self) -> bool {
        self.shared.0.lock().reader.is_within_fields()
    }

    /// How much the client takes.
    pub fn progress(&self) -> Progress {
        Progress(self.shared.0.clone())
    }

    /// Lets the client begin nothing more; what is under way ends well (RFC 9113, section 6.8).
    pub fn shut_down(&self) {
        self.shared.0.lock().shut_down();
    }

    /// The socket, once the connection is over; and why that is, if not in order.
    pub fn into_io(self) -> (T, Option<Fault>) {
        let fault = self.shared.0.lock().fault;
        (self.socket.io, fault)
    }
}

/// How much a client takes of what there is for it.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Shared<request::Parts>>);

impl Progress {
    /// How many bytes its system has taken.
    pub fn written(&self) -> u64 {
        self.0.lock().written
    }

    /// Whether there are more.
    pub fn is_owed(&self) -> bool {
        self.0.lock().outbox.unsent() > 0
    }
}

/// Whoever makes requests.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared<response::Parts>>,
}

/// Carries what comes and goes over the streams of a client.
#[derive(Debug)]
pub struct Driver<T> {
    socket: Socket<T>,
    shared: Held<response::Parts>,
}

/// Begins to speak over a connection. Nothing is waited for.
pub fn client<T: AsyncRead + AsyncWrite + Unpin>(io: T, limits: Limits) -> (Client, Driver<T>) {
    let shared = Arc::new(Connection::shared(limits));
    (Client { shared: shared.clone() }, Driver { socket: Socket { io, unflushed: false }, shared: Held(shared) })
}

impl Client {
    /// How many requests the server takes at a time, if it has said so. Until it could, one: it says so at once, and would refuse what is
    /// beyond.
    pub fn most(&self) -> Option<usize> {
        self.shared.lock().most()
    }

    /// Waits until the server has said how many requests it takes, or that it takes none.
    pub fn poll_greeted(&self, task: &Context<'_>) -> Poll<()> {
        let mut connection = self.shared.lock();
        if connection.begins().is_err() || connection.is_greeted {
            return Poll::Ready(());
        }
        connection.wait_to_begin(task)
    }

    /// Waits until the server takes another request, or none any more.
    pub fn poll_ready(&self, task: &Context<'_>) -> Poll<()> {
        let mut connection = self.shared.lock();
        if connection.begins().is_err() || connection.may_begin() {
            return Poll::Ready(());
        }
        connection.wait_to_begin(task)
    }

    /// Makes a request, whose head `encode` writes; with `end` it has no body. None: the server takes no more of them for now.
    ///
    /// # Errors
    /// The connection takes no more.
    pub fn begin(
        &self,
        end: bool,
        encode: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> Result<Option<Stream<response::Parts>>, Fault> {
        let mut connection = self.shared.lock();
        connection.begins()?;
        if !connection.may_begin() {
            return Ok(None);
        }
        connection.last = if connection.last == 0 { 1 } else { connection.last + 2 };
        let id = connection.last;
        let key = connection.begin(id);
        connection.send_fields(key, end, encode)?;
        drop(connection);
        Ok(Some(Stream::new(self.shared.clone(), key)))
    }
}

impl Drop for Client {
    /// What is under way ends well.
    fn drop(&mut self) {
        self.shared.lock().shut_down();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// Carries what there is. Ready: the connection is over.
    pub fn poll_drive(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let mut connection = self.shared.0.lock();
        loop {
            let read = self.socket.read(&mut connection, task);
            if read == Read::Some {
                continue;
            }
            if self.socket.poll_over(&mut connection, task).is_ready() {
                break;
            }
            if read == Read::Nothing || !connection.reads() {
                connection.driver = Some(task.waker().clone());
                return Poll::Pending;
            }
        }
        drop(connection);
        // Whether it takes that does not matter any more.
        Pin::new(&mut self.socket.io).poll_shutdown(task).map(drop)
    }

    /// Whether nothing new can begin.
    pub fn is_closing(&self) -> bool {
        let connection = self.shared.0.lock();
        connection.going != Going::On || connection.fault.is_some()
    }

    /// Asks whether the server lives.
    pub fn ask(&self) {
        self.shared.0.lock().ask();
    }

    /// How often it has said that it does.
    pub fn answers(&self) -> u64 {
        self.shared.0.lock().pongs
    }
}

impl<H: Head> Connection<H> {
    /// Whether something new can begin at all.
    pub(super) fn begins(&self) -> Result<(), Fault> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.going != Going::On || self.last >= LAST_STREAM => Err(Fault::GoAway(Code::NO_ERROR, By::Peer)),
            None => Ok(()),
        }
    }

    /// How many streams the other side takes at a time, if it has said so; one until it could.
    fn most(&self) -> Option<usize> {
        let most = if self.is_greeted { self.asked.streams } else { Some(1) };
        most.map(|most| most as usize)
    }

    /// Whether the other side takes another stream now.
    fn may_begin(&self) -> bool {
        self.most().is_none_or(|most| self.open.len() < most)
    }

    /// The task is woken when that may have changed.
    fn wait_to_begin<T>(&mut self, task: &Context<'_>) -> Poll<T> {
        if !self.beginners.iter().any(|beginner| beginner.will_wake(task.waker())) {
            self.beginners.push(task.waker().clone());
        }
        Poll::Pending
    }
}
