//! Buffers that a core keeps for what is written next, so that a connection that says nothing needs none.

use std::cell::RefCell;

/// How large they are: holds the head of a response and a small body; one page.
pub const SIZE: usize = 4096;

/// The most that a core keeps.
const MOST: usize = 64;

/// A buffer that has grown beyond this, for a very large head, is not kept.
const LARGEST: usize = 4 * SIZE;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty one.
pub fn take() -> Vec<u8> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(SIZE))
}

/// One that is not needed any more.
pub fn give_back(mut buffer: Vec<u8>) {
    if (1..=LARGEST).contains(&buffer.capacity()) {
        buffer.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MOST {
                spare.push(buffer);
            }
        });
    }
}
