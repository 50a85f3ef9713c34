//! The socket of a connection: what was read goes into its state, and what waits there is written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, Shared};
use super::message::Head;
use crate::scratch;

/// Pieces that are written at a time.
const SLICES: usize = 32;

/// A connection's socket, and how far it is.
#[derive(Debug)]
pub struct Socket<T> {
    pub io: T,
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

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something has come, and was looked at.
    Came,
    /// The connection is over, and everything was said.
    Over,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket<T> {
    /// Nothing was read or written.
    pub fn new(io: T) -> Socket<T> {
        Socket { io, unflushed: false }
    }

    /// Reads once, or writes what can be written where nothing comes. Waits for more of either.
    pub fn poll_step<H: Head>(&mut self, connection: &mut Connection<H>, task: &mut Context<'_>) -> Poll<Step> {
        loop {
            let read = self.read(connection, task);
            if read == Read::Some {
                return Poll::Ready(Step::Came);
            }
            if self.poll_over(connection, task).is_ready() {
                return Poll::Ready(Step::Over);
            }
            // Where too much had to leave first, and has, it is read again: nobody else would wake us for it.
            if read == Read::Nothing || !connection.reads() {
                connection.driver = Some(task.waker().clone());
                return Poll::Pending;
            }
        }
    }

    /// Reads once.
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
            let slices = slices.get(..count).unwrap_or_default();
            let wrote = Pin::new(&mut self.io).poll_write_vectored(task, slices);
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

/// The state of a connection, which ends with whoever carries it.
#[derive(Debug)]
pub struct Held<H: Head>(pub Arc<Shared<H>>);

impl<H: Head> Drop for Held<H> {
    fn drop(&mut self) {
        self.0.lock().lose(io::ErrorKind::ConnectionAborted);
    }
}
