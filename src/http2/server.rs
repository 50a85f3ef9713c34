//! The side that answers: it takes requests from a connection, and carries what comes and goes over their streams.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, Shared};
use super::fault::Fault;
use super::handle::Stream;
use super::settings::Limits;
use super::socket::{Held, Socket, Step};

/// The side that answers.
#[derive(Debug)]
pub struct Server<T> {
    socket: Socket<T>,
    shared: Held<request::Parts>,
}

/// A request, and the stream that it came over.
pub type Request = (request::Parts, Stream<request::Parts>);

impl<T: AsyncRead + AsyncWrite + Unpin> Server<T> {
    /// Nothing has come; the client's preface is still to be read.
    pub fn new(io: T, limits: Limits) -> Server<T> {
        Server { socket: Socket::new(io), shared: Held(Arc::new(Connection::shared(limits))) }
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
            if ready!(self.socket.poll_step(&mut connection, task)) == Step::Over {
                return Poll::Ready(None);
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
