//! The latency of a backend, kept where all cores see it: one atomic, no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::outcome::Outcome;
use crate::balance::peak_ewma::{Latency, Tick};

/// See the module's documentation.
#[derive(Debug)]
pub struct SharedLatency(AtomicU64);

impl Default for SharedLatency {
    fn default() -> SharedLatency {
        SharedLatency(AtomicU64::new(Latency::UNKNOWN))
    }
}

impl SharedLatency {
    /// The estimate at this moment, in seconds; none before the first answer.
    pub fn seconds(&self, now: Tick) -> Option<f32> {
        Latency::from_bits(self.0.load(Ordering::Relaxed)).map(|latency| latency.seconds(now))
    }

    /// An attempt took so long to be answered, and this was the answer.
    pub fn observe(&self, outcome: Outcome, took: Duration, now: Tick) {
        self.change(|former| match outcome {
            Outcome::Served => Latency::observed(former, took, now),
            Outcome::Declined { retry_after } | Outcome::Failed { retry_after } => {
                Latency::penalised(former, retry_after, now)
            }
            Outcome::Broken | Outcome::Unreachable => Latency::penalised(former, None, now),
        });
    }

    /// Somebody waited so long and left: an answer would have taken longer.
    pub fn took_more_than(&self, waited: Duration, now: Tick) {
        if self.seconds(now).is_some_and(|seconds| waited.as_secs_f32() > seconds) {
            self.change(|former| Latency::observed(former, waited, now));
        }
    }

    /// Nothing is known of it any more.
    pub fn forget(&self) {
        self.0.store(Latency::UNKNOWN, Ordering::Relaxed);
    }

    fn change(&self, next: impl Fn(Option<Latency>) -> Latency) {
        let changed = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some(next(Latency::from_bits(bits)).to_bits()));
        debug_assert!(changed.is_ok(), "nothing declines");
    }
}
