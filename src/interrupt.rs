//! Ending one request's wait for its client from elsewhere on the same core.
//!
//! A request that is late at a backend whose connection others share cannot be ended by closing that connection. But
//! whoever serves it also waits for its client all the while: this wait is ended instead, and the one stream with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// What is done with a client at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It is sent something that it has not taken yet.
    Sending,
    /// Something of it is waited for, if only that it leaves.
    Waiting,
}

/// One request's wait for its client.
#[derive(Debug, Default)]
pub struct Interrupt {
    cut: AtomicBool,
    /// The client takes no more of its answer at the moment: it is not the backend that is slow.
    blocked: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl Interrupt {
    /// Ends the wait, and every one that follows.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Whether the wait has been ended; if not, `waker` is woken when it is.
    pub fn poll_cut(&self, waker: &Waker) -> bool {
        if self.cut.load(Ordering::Relaxed) {
            return true;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waiting {
            Some(waiting) => waiting.clone_from(waker),
            None => *waiting = Some(waker.clone()),
        }
        false
    }

    /// Notes what is being done.
    pub fn set(&self, doing: Doing) {
        self.blocked.store(doing == Doing::Sending, Ordering::Relaxed);
    }

    /// Whether the client takes no more of its answer at the moment.
    pub fn blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_is_woken_and_who_comes_later_does_not_wait() {
        let woken = Arc::new(Woken::default());
        let interrupt = Interrupt::default();
        assert!(!interrupt.poll_cut(&Waker::from(woken.clone())));
        interrupt.cut();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(interrupt.poll_cut(Waker::noop()));
    }
}
