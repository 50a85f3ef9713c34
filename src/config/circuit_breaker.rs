//! `circuit_breaker` of an upstream: how many requests its backends have at once, and who waits for room.
//!
//! Invariant: whoever waits has a time-out. Deliberately absent: counting anything.

use std::time::Duration;

use super::section::{Section, is_off, is_on, number};
use crate::balance::queue::Shed;
use crate::units::{Limit, Mistake};

/// Each that waits holds its connection and its head: some kilobytes.
const LONGEST_QUEUE: u64 = 1_000_000;

/// How many requests are in flight at once, and who waits for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// At one backend.
    pub requests_per_backend: Limit,
    /// At all backends of the upstream together.
    pub requests: Limit,
    /// None: nobody waits.
    pub queue: Option<Queue>,
}

/// Those who wait for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// So many at most.
    pub length: usize,
    /// So long at most.
    pub timeout: Duration,
    /// Who goes when it is full.
    pub shed: Shed,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        CircuitBreaker {
            // More than a backend with threads has of them, and what one with an event loop carries.
            requests_per_backend: Limit::At(1024),
            requests: Limit::Unlimited,
            queue: Some(Queue::default()),
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        // A burst is over within a second, or it is none.
        Queue { length: 1024, timeout: Duration::from_secs(1), shed: Shed::Newest }
    }
}

/// `off`, or a mapping; without the key the default.
pub(super) fn read(upstream: &mut Section<'_>) -> Option<CircuitBreaker> {
    let default = CircuitBreaker::default();
    let report = upstream.report();
    let Some(entry) = upstream.entry("circuit_breaker") else {
        return Some(default);
    };
    if is_off(entry.node) || is_on(entry.node) {
        return is_on(entry.node).then_some(default);
    }
    let title = format!("`circuit_breaker` of {}", upstream.title());
    let mut section = Section::open(report, "circuit breaker", title, Some(entry.key.place), entry.node)?;
    let waits = Queue::default();
    let length = section.parsed("queue", Some(waits.length), |text| match text {
        "off" | "false" => Ok(None),
        "0" => Err(Mistake::new("`queue` cannot be `0`", "write `queue: off`")),
        _ => number("queue", text, 1..=LONGEST_QUEUE).map(|length| usize::try_from(length).ok()),
    });
    let timeout = section.duration("queue_timeout", waits.timeout);
    let shed = section.parsed("shed", waits.shed, |text| match text {
        "newest" => Ok(Shed::Newest),
        "oldest" => Ok(Shed::Oldest),
        _ => Err(Mistake::new(format!("`{text}` says not whom a full queue sheds"), "write `newest` or `oldest`")),
    });
    let breaker = CircuitBreaker {
        requests_per_backend: section.parsed("requests_per_backend", default.requests_per_backend, str::parse),
        requests: section.parsed("requests", default.requests, str::parse),
        queue: length.map(|length| Queue { length, timeout, shed }),
    };
    section.close();
    Some(breaker)
}
