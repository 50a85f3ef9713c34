//! The memory that a core reads into: one for all its connections, so that none needs its own while it waits.

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// As much as is read at a time. Loopback carries segments of 64 KiB: reads of as much go in step with whoever sends, so that each is
/// a segment, the room for the next, and a task to be woken for that. With reads of a little less, as with 32 and 96 KiB, bodies of
/// 1 MB took a fifth (down) to a third (up) less of the system's time.
const SIZE: usize = 56 * 1024;

/// With less than this another is made, unless nobody holds any of this one any more.
const LEAST: usize = 16 * 1024;

/// From this on bytes are handed on where they are; fewer are copied, so that they do not hold all of it.
const WORTH_HOLDING: usize = 8 * 1024;

thread_local! {
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// What was read, for as long as it is looked at.
pub struct Read<'a>(&'a mut BytesMut);

impl Read<'_> {
    /// The bytes; none at the end of the stream.
    pub fn bytes(&mut self) -> &mut [u8] {
        self.0
    }

    /// Whether so many bytes are handed on where they are.
    pub fn is_worth_holding(length: usize) -> bool {
        length >= WORTH_HOLDING
    }

    /// The first of the bytes are not looked at any more.
    pub fn skip(&mut self, first: usize) {
        self.0.advance(first.min(self.0.len()));
    }

    /// The first of the bytes, where they are: as many as are worth holding, so that nobody holds much for little.
    pub fn take_first(&mut self, first: usize) -> Bytes {
        debug_assert!(Read::is_worth_holding(first), "few bytes are copied");
        self.0.split_to(first.min(self.0.len())).freeze()
    }

    /// The first of the bytes, to be kept.
    pub fn take(self, first: usize) -> Bytes {
        debug_assert!(first <= self.0.len(), "no more than was read");
        let first = first.min(self.0.len());
        if first < WORTH_HOLDING {
            Bytes::copy_from_slice(self.0.get(..first).unwrap_or_default())
        } else {
            self.0.split_to(first).freeze()
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
        scratch.clear();
        if scratch.capacity() < LEAST {
            scratch.reserve(SIZE);
        }
        let most = most.min(scratch.capacity());
        {
            let mut room = (&mut *scratch).limit(most);
            ready!(pin!(socket.read_buf(&mut room)).poll(context))?;
        }
        Poll::Ready(Ok(look(Read(scratch))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn read(mut from: &[u8], most: usize, taken: usize) -> Bytes {
        let read = poll_read(&mut from, &mut Context::from_waker(Waker::noop()), most, |read| read.take(taken));
        match read {
            Poll::Ready(Ok(bytes)) => bytes,
            Poll::Ready(Err(_)) | Poll::Pending => panic!("a slice is always ready"),
        }
    }

    #[test]
    fn what_is_held_is_not_read_over() {
        let sent: Vec<Vec<u8>> = (0..100_u8).map(|byte| vec![byte; 500 * usize::from(byte)]).collect();
        let held: Vec<Bytes> = sent.iter().map(|bytes| read(bytes, usize::MAX, bytes.len().min(LEAST))).collect();
        for (bytes, held) in sent.iter().zip(&held) {
            assert_eq!(held, &bytes[..bytes.len().min(LEAST)]);
        }
    }

    #[test]
    fn no_more_is_read_than_was_asked_for() {
        assert_eq!(read(&[1; 100], 10, 10).len(), 10);
        assert!(read(&[1; 2 * SIZE], usize::MAX, LEAST).len() == LEAST);
    }

    #[test]
    fn what_nobody_holds_any_more_is_read_into_again() {
        let first = read(&[1; SIZE], usize::MAX, SIZE).as_ptr();
        assert!((0..10).all(|_| read(&[1; SIZE], usize::MAX, SIZE).as_ptr() == first));
    }
}
