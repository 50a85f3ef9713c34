//! How durations are spread, counted by many threads without a lock.
//!
//! Invariant: an observation is in exactly one bucket; what is read afterwards is cumulative and its count is the last
//! bucket, so a scrape in the middle of an observation is never inconsistent with itself but for the sum.
//!
//! Deliberately absent: quantiles, which cannot be added up over instances, and buckets by configuration, which could
//! not be compared over them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds: what they are called, and in microseconds. Those that users of Prometheus know, with a finer low
/// end, since a balancer's own share of a request is below a millisecond, and a longer high end, since 60 s is the
/// usual longest timeout.
pub(super) const BOUNDS: [(&str, u64); 16] = [
    ("0.0005", 500),
    ("0.001", 1_000),
    ("0.0025", 2_500),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.025", 25_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.25", 250_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("2.5", 2_500_000),
    ("5", 5_000_000),
    ("10", 10_000_000),
    ("30", 30_000_000),
    ("60", 60_000_000),
];

/// Counts durations into the fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    beyond: AtomicU64,
    /// In microseconds: nanoseconds would overflow in two days of 100,000 requests per second that take a second each.
    sum: AtomicU64,
}

/// A histogram as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Observations up to each bound, those below the bound before included.
    pub(super) cumulative: [u64; BOUNDS.len()],
    /// All observations.
    pub(super) count: u64,
    pub(super) sum: Duration,
}

impl Distribution {
    /// How many were observed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

impl Histogram {
    /// Counts a duration, cut to microseconds. A duration equal to a bound is within it.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // Rounded up, so that 1 ms and 1 ns is beyond 1 ms.
        let compared = micros.saturating_add(u64::from(!duration.subsec_nanos().is_multiple_of(1000)));
        let index = BOUNDS.partition_point(|(_, bound)| *bound < compared);
        let bucket = self.buckets.get(index).unwrap_or(&self.beyond);
        bucket.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn read(&self) -> Distribution {
        let mut count = 0;
        let cumulative = self.buckets.each_ref().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        Distribution {
            cumulative,
            count: count + self.beyond.load(Ordering::Relaxed),
            sum: Duration::from_micros(self.sum.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_duration_equal_to_a_bound_is_within_it_and_a_longer_one_is_not() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(1));
        histogram.observe(Duration::from_millis(1) + Duration::from_nanos(1));
        assert_eq!(histogram.read().cumulative[..4], [0, 1, 2, 2]);
    }

    #[test]
    fn what_is_beyond_the_last_bound_is_counted_all_the_same() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_secs(61));
        let read = histogram.read();
        assert_eq!(read.cumulative, [0; 16]);
        assert_eq!((read.count, read.sum), (1, Duration::from_secs(61)));
    }

    #[test]
    fn bounds_grow_and_are_called_what_they_are() {
        assert!(BOUNDS.is_sorted_by(|(_, a), (_, b)| a < b));
        for (name, micros) in BOUNDS {
            assert_eq!((name.parse::<f64>().unwrap() * 1e6).round() as u64, micros);
        }
    }

    #[test]
    fn threads_that_count_at_once_lose_nothing() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|n| histogram.observe(Duration::from_micros(n))));
            }
        });
        assert_eq!(histogram.read().count, 40_000);
        assert_eq!(histogram.read().sum, Duration::from_micros(4 * 49_995_000));
    }

    proptest! {
        #[test]
        fn buckets_hold_what_comparing_with_each_bound_finds(nanos in prop::collection::vec(0..90_000_000_000_u64, 0..40)) {
            let histogram = Histogram::default();
            for nanos in &nanos {
                histogram.observe(Duration::from_nanos(*nanos));
            }
            let read = histogram.read();
            for ((_, micros), cumulative) in BOUNDS.iter().zip(read.cumulative) {
                let within = nanos.iter().filter(|nanos| **nanos <= micros * 1000).count();
                prop_assert_eq!(cumulative, within as u64);
            }
            prop_assert_eq!(read.count, nanos.len() as u64);
        }
    }
}
