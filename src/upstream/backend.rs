//! One backend: where it is, what it may take, and what is learnt about it.
//!
//! Its identity is its address. What is learnt ([`State`]) is kept apart and outlives the configuration that
//! named it: a new weight or time-out forgets nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pingora::upstreams::peer::HttpPeer;
use tokio::sync::Notify;

use super::health::{Health, Thresholds, Turned, Verdict};
use super::operator::Operator;
use crate::failure::Reason;

/// A backend as one configuration sees it.
#[derive(Debug)]
pub struct Backend {
    /// Its address, as logs and metrics name it.
    pub name: String,
    /// Share of the requests, relative to the others; 0 takes none.
    pub weight: u32,
    /// What pingora connects to.
    pub peer: HttpPeer,
    /// What is learnt about it.
    pub state: Arc<State>,
}

/// What is learnt about a backend, for as long as its upstream names it.
#[derive(Debug)]
pub struct State {
    upstream: String,
    backend: String,
    healthy: AtomicBool,
    suspected: AtomicBool,
    health: Mutex<Health>,
    in_flight: AtomicUsize,
    attempts: AtomicU64,
    failures: [AtomicU64; Reason::ALL.len()],
    /// What an operator has decided.
    pub operator: Operator,
    /// Woken when the first verdict has been given.
    judged: Notify,
}

impl State {
    /// A backend of which nothing is known; it is taken for healthy.
    pub fn new(upstream: &str, backend: &str) -> State {
        State {
            upstream: upstream.to_owned(),
            backend: backend.to_owned(),
            healthy: AtomicBool::new(true),
            suspected: AtomicBool::new(false),
            health: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            attempts: AtomicU64::new(0),
            failures: [const { AtomicU64::new(0) }; Reason::ALL.len()],
            operator: Operator::default(),
            judged: Notify::new(),
        }
    }

    /// Whether it takes requests.
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Requests that it is serving.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Attempts that were begun.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Attempts that failed for this reason.
    pub fn failures(&self, reason: Reason) -> u64 {
        self.failures.get(reason.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Takes a verdict into account, and says once when it turns the backend.
    pub fn observe(&self, verdict: Verdict, thresholds: Thresholds, why: &str) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let turned = health.observe(verdict, thresholds);
        self.suspected.store(health.suspected(), Ordering::Relaxed);
        match turned {
            None => {}
            Some(Turned::Healthy) => {
                self.healthy.store(true, Ordering::Relaxed);
                log::info!(upstream = self.upstream, backend = self.backend; "backend turned healthy");
            }
            Some(Turned::Unhealthy) => {
                self.healthy.store(false, Ordering::Relaxed);
                log::warn!(upstream = self.upstream, backend = self.backend, why; "backend turned unhealthy");
            }
        }
        drop(health);
        self.judged.notify_waiters();
    }

    /// Forgets all verdicts: it is taken for healthy until the next.
    pub fn forget_health(&self) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Health::default();
        self.suspected.store(false, Ordering::Relaxed);
        self.healthy.store(true, Ordering::Relaxed);
    }

    /// Whether failures are being counted against it though it is still healthy: then a success clears it.
    pub fn suspected(&self) -> bool {
        self.suspected.load(Ordering::Relaxed)
    }

    /// Waits for the first verdict.
    pub async fn judged(&self) {
        loop {
            let notified = self.judged.notified();
            if self.health.lock().unwrap_or_else(PoisonError::into_inner).judged() {
                return;
            }
            notified.await;
        }
    }

    /// Counts a failed attempt.
    pub fn count_failure(&self, reason: Reason) {
        if let Some(count) = self.failures.get(reason.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One attempt in flight at a backend, until dropped.
#[derive(Debug)]
pub struct InFlight {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Its place in the upstream.
    pub index: usize,
}

impl InFlight {
    /// Begins an attempt.
    pub fn begin(backend: Arc<Backend>, index: usize) -> InFlight {
        backend.state.in_flight.fetch_add(1, Ordering::Relaxed);
        backend.state.attempts.fetch_add(1, Ordering::Relaxed);
        InFlight { backend, index }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.backend.state.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
