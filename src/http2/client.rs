//! The side that asks: a [`Client`] makes requests, and its [`Driver`] carries what comes and goes over their streams.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::response;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, Going, Shared};
use super::fault::{By, Code, Fault};
use super::handle::Stream;
use super::hpack::Encoder;
use super::message::Head;
use super::settings::Limits;
use super::socket::{Held, Socket, Step};

/// The largest number of a stream (RFC 9113, section 5.1.1).
const LAST_STREAM: u32 = 0x7fff_ffff;

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
    (Client { shared: shared.clone() }, Driver { socket: Socket::new(io), shared: Held(shared) })
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
        while ready!(self.socket.poll_step(&mut connection, task)) != Step::Over {}
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
