//! What is counted for the whole process: requests without a route, failures, configurations.

use std::sync::atomic::{AtomicU64, Ordering};

use super::metrics::CodeCounters;
use super::recent::Recent;
use crate::failure::Reason;

/// See the module's documentation.
#[derive(Debug)]
pub struct Counters {
    /// Answers to requests that no route matched.
    pub unrouted: CodeCounters,
    /// Configurations that were put in force while running.
    pub reloads: AtomicU64,
    /// Configurations that were refused while running.
    pub reloads_refused: AtomicU64,
    /// Configurations that went out of force because nobody confirmed them.
    pub reloads_reverted: AtomicU64,
    /// Requests that somebody will ask about.
    pub recent: Recent,
    failures: [AtomicU64; Reason::ALL.len()],
}

impl Counters {
    /// Counts a request that was not served as asked.
    pub fn fail(&self, reason: Reason) {
        if let Some(count) = self.failures.get(reason.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests that were not served for this reason.
    pub fn failures(&self, reason: Reason) -> u64 {
        self.failures.get(reason.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            unrouted: CodeCounters::default(),
            reloads: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            reloads_reverted: AtomicU64::new(0),
            recent: Recent::default(),
            failures: [const { AtomicU64::new(0) }; Reason::ALL.len()],
        }
    }
}
