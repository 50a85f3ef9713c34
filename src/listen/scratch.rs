//! The memory that a core reads into: one for all its connections, so that none needs its own while it waits.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

/// As much as is read at a time.
const SIZE: usize = 64 * 1024;

/// With less than this another is made.
const LEAST: usize = 16 * 1024;

/// From this on bytes are handed on where they are; fewer are copied, so that they do not hold all of it.
const WORTH_HOLDING: usize = 8 * 1024;

thread_local! {
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// What was read, for as long as it is looked at.
pub struct Read<'a> {
    scratch: &'a mut BytesMut,
    length: usize,
}

impl Read<'_> {
    /// The bytes; none at the end of the stream.
    pub fn bytes(&mut self) -> &mut [u8] {
        self.scratch.get_mut(..self.length).unwrap_or_default()
    }

    /// The first of the bytes, to be kept.
    pub fn take(self, first: usize) -> Bytes {
        debug_assert!(first <= self.length, "no more than was read");
        let first = first.min(self.length);
        if first < WORTH_HOLDING {
            Bytes::copy_from_slice(self.scratch.get(..first).unwrap_or_default())
        } else {
            self.scratch.split_to(first).freeze()
        }
    }
}

/// Reads at most so many bytes, and shows them.
pub fn poll_read<T>(
    socket: &mut (impl AsyncRead + Unpin),
    context: &mut Context<'_>,
    most: usize,
    look: impl FnOnce(Read<'_>) -> T,
) -> Poll<io::Result<T>> {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < LEAST {
            *scratch = BytesMut::zeroed(SIZE);
        }
        let most = most.min(scratch.len());
        let mut buffer = ReadBuf::new(scratch.get_mut(..most).unwrap_or_default());
        ready!(Pin::new(socket).poll_read(context, &mut buffer))?;
        let length = buffer.filled().len();
        Poll::Ready(Ok(look(Read { scratch, length })))
    })
}
