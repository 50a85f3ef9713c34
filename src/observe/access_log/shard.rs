//! The buffer that one serving thread leaves its lines in until the writer fetches them.
//!
//! Invariant: the lock is held for one line by its thread and for one swap by the writer, never across a system call.
//! A shard never holds more than [`BOUND`] bytes of lines, and never a part of a line. What was refused was not kept.
//!
//! Deliberately absent: blocking. A full shard refuses; whoever serves goes on.

use std::cell::RefCell;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Shared;

/// How much one thread may leave unwritten: about 2,500 lines, which a thread that serves 20,000 requests per second
/// fills in 125 ms. More would only delay the news that the disk or the reader is too slow.
pub(super) const BOUND: usize = 1 << 20;

/// From here on the writer is woken before its time, so that a busy thread rarely comes near the bound.
pub(super) const WAKE_AT: usize = 32 << 10;

/// On cache lines of its own (two, as processors fetch them in pairs): shards of different threads share nothing.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Shard {
    buffer: Mutex<Buffer>,
}

#[derive(Debug, Default)]
struct Buffer {
    lines: Vec<u8>,
    /// The writer has fetched for the last time.
    closed: bool,
    /// The thread has ended; nothing will follow.
    left: bool,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Append {
    Kept,
    /// Kept, and the writer should come now. Said once per filling.
    Pressing,
    Refused,
}

/// Whether a shard will be written to again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Serving,
    Left,
}

impl Shard {
    pub(super) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> Append {
        let mut buffer = self.lock();
        let before = buffer.lines.len();
        if buffer.closed || before >= BOUND {
            return Append::Refused;
        }
        write(&mut buffer.lines);
        let after = buffer.lines.len();
        if after > BOUND {
            buffer.lines.truncate(before);
            Append::Refused
        } else if before < WAKE_AT && after >= WAKE_AT {
            Append::Pressing
        } else {
            Append::Kept
        }
    }

    /// Swaps the lines with `empty`, if there are any.
    pub(super) fn fetch(&self, empty: &mut Vec<u8>) -> Owner {
        let mut buffer = self.lock();
        if !buffer.lines.is_empty() {
            mem::swap(&mut buffer.lines, empty);
        }
        if buffer.left { Owner::Left } else { Owner::Serving }
    }

    /// Refuses all that comes from now on.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All shards of one log.
#[derive(Debug, Default)]
pub(super) struct Shards {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    shards: Vec<Arc<Shard>>,
    closed: bool,
}

impl Shards {
    /// Gives each shard's lines to `batch`, with an empty buffer of `spares` in return, and forgets the shards of
    /// threads that have ended.
    pub(super) fn fetch(&self, batch: &mut Vec<Vec<u8>>, spares: &mut Vec<Vec<u8>>) {
        self.lock().shards.retain(|shard| {
            let mut buffer = spares.pop().unwrap_or_default();
            let owner = shard.fetch(&mut buffer);
            if buffer.is_empty() {
                spares.push(buffer);
            } else {
                batch.push(buffer);
            }
            owner == Owner::Serving
        });
    }

    /// After this every line is refused, on threads that are not known yet, too. What was kept before can be fetched.
    pub(super) fn close(&self) {
        let mut list = self.lock();
        list.closed = true;
        for shard in &list.shards {
            shard.close();
        }
    }

    /// Forgets what nobody will write any more. Returns how many records that were.
    pub(super) fn discard(&self) -> u64 {
        let mut batch = Vec::new();
        self.fetch(&mut batch, &mut Vec::new());
        let bytes = batch.iter().flatten();
        bytes.filter(|byte| **byte == b'\n').count() as u64
    }

    /// How many shards there are, and how many bytes wait in them.
    #[cfg(test)]
    pub(super) fn load(&self) -> (usize, usize) {
        let list = self.lock();
        (list.shards.len(), list.shards.iter().map(|shard| shard.lock().lines.len()).sum())
    }

    fn add(&self) -> Arc<Shard> {
        let shard = Arc::new(Shard::default());
        let mut list = self.lock();
        if list.closed {
            shard.close();
        } else {
            list.shards.push(Arc::clone(&shard));
        }
        shard
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread's place at one log. The weak reference keeps the log's address from being used again, so that the address
/// tells logs apart.
struct Seat {
    log: Weak<Shared>,
    shard: Arc<Shard>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shard.lock().left = true;
    }
}

thread_local! {
    /// One seat; two or three for as long as requests of an older snapshot go on after a reload.
    static SEATS: RefCell<Vec<Seat>> = const { RefCell::new(Vec::new()) };
}

/// Appends a line to this thread's shard of the log; the first time it makes one.
pub(super) fn append(log: &Arc<Shared>, write: impl FnOnce(&mut Vec<u8>)) -> Append {
    let appended = SEATS.try_with(|seats| {
        let mut seats = seats.borrow_mut();
        let ours = |seat: &&Seat| seat.log.as_ptr() == Arc::as_ptr(log);
        if let Some(seat) = seats.iter().find(ours) {
            return seat.shard.append(write);
        }
        seats.retain(|seat| !seat.shard.is_closed());
        let shard = log.shards.add();
        let appended = shard.append(write);
        seats.push(Seat { log: Arc::downgrade(log), shard });
        appended
    });
    // A thread that is ending has no seats any more.
    appended.unwrap_or(Append::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(shard: &Shard, length: usize) -> Append {
        shard.append(|out| out.resize(out.len() + length, b'x'))
    }

    #[test]
    fn the_writer_is_asked_for_once_per_filling() {
        let shard = Shard::default();
        assert_eq!(push(&shard, WAKE_AT - 1), Append::Kept);
        assert_eq!(push(&shard, 1), Append::Pressing);
        assert_eq!(push(&shard, WAKE_AT), Append::Kept);
        shard.fetch(&mut Vec::new());
        assert_eq!(push(&shard, WAKE_AT), Append::Pressing);
    }

    #[test]
    fn a_line_beyond_the_bound_is_refused_whole() {
        let shard = Shard::default();
        assert_eq!(push(&shard, BOUND - 10), Append::Pressing);
        assert_eq!(push(&shard, 11), Append::Refused);
        assert_eq!(push(&shard, 10), Append::Kept);
        assert_eq!(push(&shard, 1), Append::Refused);
        let mut lines = Vec::new();
        shard.fetch(&mut lines);
        assert_eq!(lines.len(), BOUND);
    }

    #[test]
    fn a_closed_shard_refuses_but_gives_what_it_had() {
        let shards = Shards::default();
        let shard = shards.add();
        assert_eq!(push(&shard, 5), Append::Kept);
        shards.close();
        assert_eq!(push(&shard, 5), Append::Refused);
        assert_eq!(push(&shards.add(), 5), Append::Refused);
        let mut batch = Vec::new();
        shards.fetch(&mut batch, &mut Vec::new());
        assert_eq!(batch, [b"xxxxx"]);
    }

    #[test]
    fn the_shard_of_a_thread_that_ended_is_fetched_once_more_and_then_forgotten() {
        let shards = Shards::default();
        let shard = shards.add();
        assert_eq!(push(&shard, 5), Append::Kept);
        shard.lock().left = true;
        let mut batch = Vec::new();
        shards.fetch(&mut batch, &mut Vec::new());
        assert_eq!(batch.len(), 1);
        assert!(shards.lock().shards.is_empty());
    }

    #[test]
    fn buffers_go_round_instead_of_being_made_anew() {
        let shards = Shards::default();
        let shard = shards.add();
        assert_eq!(push(&shard, 5), Append::Kept);
        let mut batch = Vec::new();
        let mut spares = vec![Vec::with_capacity(4096)];
        shards.fetch(&mut batch, &mut spares);
        assert!(spares.is_empty());
        assert!(shard.lock().lines.capacity() >= 4096);
    }
}
