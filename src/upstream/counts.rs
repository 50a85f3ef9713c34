//! Answers by how long they took, counted by all cores without a lock.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::balance::latencies::{SCALE, Window, step};

/// See the module's documentation.
#[derive(Debug)]
pub struct Counts(Box<[AtomicU32]>);

impl Counts {
    /// None yet.
    pub fn new() -> Counts {
        Counts((0..SCALE).map(|_| AtomicU32::new(0)).collect())
    }

    /// One that took so long.
    pub fn add(&self, took: Duration) {
        if let Some(count) = self.0.get(step(took)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted since the last time.
    pub fn take(&self) -> Window {
        let mut window = Window::default();
        for (step, count) in self.0.iter().enumerate() {
            // Most have counted nothing.
            if count.load(Ordering::Relaxed) > 0 {
                window.add(step, count.swap(0, Ordering::Relaxed));
            }
        }
        window
    }
}
