//! Gathers small writes, so that a head and a small body leave in one system call. What is large leaves from where it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::transport::Socket;
use crate::spare;

/// Gathered before a write.
const GATHER: usize = spare::SIZE;

/// Bytes that wait for more to leave with.
#[derive(Debug, Default)]
pub struct Gathered {
    bytes: Vec<u8>,
    written: usize,
}

impl Gathered {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes `bytes`, or writes them behind what waits when there is no room for both. How many were taken.
    pub fn poll_write(
        &mut self,
        socket: &mut Socket,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.bytes.len() + bytes.len() <= GATHER {
                self.push(bytes);
                return Poll::Ready(Ok(bytes.len()));
            }
            let held = self.bytes.get(self.written..).unwrap_or_default();
            if held.is_empty() {
                self.give_back();
                return Pin::new(socket).poll_write(context, bytes);
            }
            match socket {
                Socket::Tls(_) => ready!(self.poll_drain(socket, context))?,
                Socket::Plain(plain) => {
                    let slices = [IoSlice::new(held), IoSlice::new(bytes)];
                    let wrote = ready!(Pin::new(plain).poll_write_vectored(context, &slices))?;
                    if wrote == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    match wrote.checked_sub(held.len()) {
                        None => self.written += wrote,
                        Some(0) => self.give_back(),
                        Some(of_bytes) => {
                            self.give_back();
                            return Poll::Ready(Ok(of_bytes));
                        }
                    }
                }
            }
        }
    }

    /// Writes what waits, then `data`, then `tail`, in as few system calls as the client allows; what was written is taken
    /// off, and nothing else is touched.
    pub fn poll_send(
        &mut self,
        socket: &mut Socket,
        context: &mut Context<'_>,
        data: &mut Bytes,
        tail: &mut &'static [u8],
    ) -> Poll<io::Result<()>> {
        if !data.is_empty() && self.bytes.len() + data.len() + tail.len() <= GATHER {
            self.push(data);
            data.clear();
        }
        if data.is_empty() && !tail.is_empty() {
            self.push(std::mem::take(tail));
        }
        while !data.is_empty() {
            let held = self.bytes.get(self.written..).unwrap_or_default();
            let slices = [IoSlice::new(held), IoSlice::new(data), IoSlice::new(tail)];
            let wrote = ready!(Pin::new(&mut *socket).poll_write_vectored(context, &slices))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_held = wrote.min(held.len());
            self.written += of_held;
            let of_data = (wrote - of_held).min(data.len());
            data.advance(of_data);
            *tail = tail.get(wrote - of_held - of_data..).unwrap_or_default();
            if self.written == self.bytes.len() {
                self.give_back();
            }
        }
        if !tail.is_empty() {
            self.push(std::mem::take(tail));
        }
        self.poll_drain(socket, context)
    }

    /// Writes out all that waits.
    pub fn poll_drain(&mut self, socket: &mut Socket, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.written..)
            && !rest.is_empty()
        {
            let wrote = ready!(Pin::new(&mut *socket).poll_write(context, rest))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += wrote;
        }
        self.give_back();
        Poll::Ready(Ok(()))
    }

    /// How much of what is sent next still waits.
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Takes bytes whatever their number.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer().extend_from_slice(bytes);
    }

    /// Where bytes are added, whatever their number.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = spare::take();
        }
        &mut self.bytes
    }

    fn give_back(&mut self) {
        self.written = 0;
        spare::give_back(std::mem::take(&mut self.bytes));
    }
}
