//! Deadlines of what waits for long, connections and exchanges: one coarse clock and one list per core.
//!
//! A timer for each would cost an allocation and a heap operation for each request; nobody needs to be
//! cut to the millisecond. So the core's clock ticks every [`TICK`], and whoever waits past its due tick is
//! woken and finds out by asking. A wait ends between its limit and one tick later, never before.
//!
//! The list lives in the thread, since a connection never leaves the core that accepted it.

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::Duration;

use slab::Slab;

/// How often a core looks for connections whose time is over.
pub const TICK: Duration = Duration::from_millis(250);

/// How long an idle kept connection may still send a last request once the process drains: long enough for a
/// client in the middle of its next request, short enough to end as soon as idle.
pub const LINGER: Duration = Duration::from_secs(1);

/// A moment on the core's clock. Wraps after 34 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u32);

impl Tick {
    /// The first tick at which `limit` has passed in full.
    pub fn after(limit: Duration) -> Tick {
        let ticks = limit.as_millis().div_ceil(TICK.as_millis()).saturating_add(1);
        Tick(NOW.get().saturating_add(u32::try_from(ticks).unwrap_or(u32::MAX)))
    }

    /// The present.
    pub fn now() -> Tick {
        Tick(NOW.get())
    }

    /// How many ticks have passed since an earlier moment.
    pub fn since(self, earlier: Tick) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whether the moment has come.
    pub fn passed(self) -> bool {
        NOW.get() >= self.0
    }
}

/// What a connection waits for, which decides what draining means for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The rest of something that has begun, or a first request: draining leaves it its time.
    Progress,
    /// Another request on a kept connection: draining shortens it.
    NextRequest,
}

struct Slot {
    waker: Waker,
    due: Tick,
    awaited: Awaited,
}

thread_local! {
    static NOW: Cell<u32> = const { Cell::new(0) };
    static DRAINING: Cell<bool> = const { Cell::new(false) };
    static WAITING: RefCell<Slab<Slot>> = const { RefCell::new(Slab::new()) };
}

/// A place in the list of those who wait; dropping it gives the place back.
#[derive(Debug)]
pub struct Ticket(u32);

impl Ticket {
    /// Wakes `waker` when `due` has come. Must be polled again on this thread.
    pub fn new(waker: &Waker, due: Tick, awaited: Awaited) -> Ticket {
        let due = if awaited == Awaited::NextRequest && DRAINING.get() { due.min(Tick::after(LINGER)) } else { due };
        let slot = Slot { waker: waker.clone(), due, awaited };
        let index = WAITING.with_borrow_mut(|waiting| waiting.insert(slot));
        Ticket(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Whether the time is over.
    pub fn expired(&self) -> bool {
        WAITING.with_borrow(|waiting| waiting.get(self.0 as usize).is_none_or(|slot| slot.due.passed()))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        WAITING.with_borrow_mut(|waiting| drop(waiting.try_remove(self.0 as usize)));
    }
}

/// Moves this core's clock by one tick and wakes those whose time is over.
pub fn advance() {
    NOW.set(NOW.get().saturating_add(1));
    WAITING.with_borrow(|waiting| {
        for (_, slot) in waiting {
            if slot.due.passed() {
                slot.waker.wake_by_ref();
            }
        }
    });
}

/// From now on kept connections on this core wait only for [`LINGER`] for another request.
pub fn drain() {
    DRAINING.set(true);
    let last = Tick::after(LINGER);
    WAITING.with_borrow_mut(|waiting| {
        for (_, slot) in waiting {
            if slot.awaited == Awaited::NextRequest {
                slot.due = slot.due.min(last);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waker() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), Waker::from(woken))
    }

    #[test]
    fn a_wait_is_never_cut_before_its_limit() {
        let (woken, waker) = waker();
        let ticket = Ticket::new(&waker, Tick::after(TICK * 4), Awaited::Progress);
        for _ in 0..4 {
            advance();
            assert!(!ticket.expired());
        }
        advance();
        assert!(ticket.expired());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn draining_shortens_the_wait_for_a_next_request_and_no_other() {
        let (_, waker) = waker();
        let kept = Ticket::new(&waker, Tick::after(Duration::from_secs(60)), Awaited::NextRequest);
        let head = Ticket::new(&waker, Tick::after(Duration::from_secs(60)), Awaited::Progress);
        drain();
        let late = Ticket::new(&waker, Tick::after(Duration::from_secs(60)), Awaited::NextRequest);
        for _ in 0..=LINGER.as_millis() / TICK.as_millis() {
            advance();
        }
        assert!(kept.expired() && late.expired() && !head.expired());
    }

    #[test]
    fn a_place_is_given_back() {
        let (_, waker) = waker();
        for _ in 0..1000 {
            drop(Ticket::new(&waker, Tick::after(TICK), Awaited::Progress));
        }
        assert!(WAITING.with_borrow(Slab::is_empty));
    }
}
