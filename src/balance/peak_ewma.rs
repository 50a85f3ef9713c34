//! Least expected wait: a decaying peak of the latency, times the requests in flight.
//!
//! The estimate takes a slower answer at once and forgets it slowly (over ten seconds), as Finagle and linkerd do. A
//! failed answer counts as a slow one, for failing is fast: without that a broken backend would draw all traffic
//! (linkerd2-proxy penalises failures since 2026).
//!
//! One of which nothing is known is compared by its requests in flight alone: it is neither flooded nor starved, and
//! known after its first answer.

use std::time::Duration;

/// How long it takes to forget all but a third (1/e) of a peak.
const DECAY_SECONDS: f32 = 10.0;

/// What a failed answer counts as, at least. (linkerd takes 5 s; with two backends one odd failure would then double the
/// load of the other for 80 s.)
pub const PENALTY: Duration = Duration::from_secs(1);

/// What failures that follow each other count as, at most: each doubles what is left of the one before. Where answers that
/// queue take half a second, one penalty alone would let a backend that fails at once have most of its share.
pub const MOST_PENALTY: Duration = Duration::from_secs(16);

/// The longest `Retry-After` that is heeded, as in linkerd.
pub const LONGEST_PENALTY: Duration = Duration::from_secs(300);

/// Milliseconds since some beginning, the same for all that is compared. May wrap around after 49 days.
pub type Tick = u32;

/// A decaying peak, in 64 bits so that it can be kept in one atomic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    seconds: f32,
    at: Tick,
}

impl Latency {
    /// After an answer that took `sample`.
    #[must_use]
    pub fn observed(former: Option<Latency>, sample: Duration, now: Tick) -> Latency {
        let sample = sample.as_secs_f32();
        let seconds = former.map_or(sample, |former| {
            let left = former.seconds * former.kept(now);
            if sample >= left { sample } else { left + sample * (1.0 - former.kept(now)) }
        });
        Latency { seconds, at: now }
    }

    /// After a failure; `retry_after` is when the backend wants to be asked again, if it said so.
    #[must_use]
    pub fn penalised(former: Option<Latency>, retry_after: Option<Duration>, now: Tick) -> Latency {
        let asked = retry_after.unwrap_or_default().min(LONGEST_PENALTY);
        let least = asked.max(PENALTY).as_secs_f32();
        let seconds = former.map_or(least, |former| {
            let left = former.seconds(now);
            least.max(left).max((left * 2.0).min(MOST_PENALTY.as_secs_f32()))
        });
        Latency { seconds, at: now }
    }

    /// What is left of it now, in seconds.
    pub fn seconds(self, now: Tick) -> f32 {
        self.seconds * self.kept(now)
    }

    fn kept(self, now: Tick) -> f32 {
        // Clocks of two threads may differ by a moment: what looks like the future is now.
        let elapsed = now.wrapping_sub(self.at);
        let elapsed = if elapsed > Tick::MAX / 2 { 0 } else { elapsed };
        (-(elapsed as f32) / 1000.0 / DECAY_SECONDS).exp()
    }

    /// As one number. Never [`Latency::UNKNOWN`].
    pub fn to_bits(self) -> u64 {
        u64::from(self.seconds.to_bits()) << 32 | u64::from(self.at)
    }

    /// The number that stands for none; as a latency it would be no number.
    pub const UNKNOWN: u64 = u64::MAX;

    /// From [`Latency::to_bits`].
    pub fn from_bits(bits: u64) -> Option<Latency> {
        let (seconds, at) = ((bits >> 32) as u32, bits as u32);
        (bits != Latency::UNKNOWN).then_some(Latency { seconds: f32::from_bits(seconds), at })
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// The estimate at this moment, in seconds; none if nothing is known.
    pub seconds: Option<f32>,
    /// Requests that it is serving.
    pub in_flight: usize,
    /// Its weight relative to the mean of all; more than 0.
    pub weight: f32,
}

/// Whether one is likely to wait less at `a` than at `b`.
pub fn better(a: Load, b: Load) -> bool {
    let waiting = |load: Load| load.in_flight as f32 / load.weight;
    match (a.seconds, b.seconds) {
        (Some(of_a), Some(of_b)) => of_a * (waiting(a) + 1.0) < of_b * (waiting(b) + 1.0),
        (Some(_) | None, _) => waiting(a) < waiting(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn known(seconds: f32) -> Load {
        Load { seconds: Some(seconds), in_flight: 0, weight: 1.0 }
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_is_forgotten_over_ten_seconds() {
        let calm = Latency::observed(None, MILLISECOND, 0);
        let slow = Latency::observed(Some(calm), Duration::from_secs(2), 10);
        assert_eq!(slow.seconds(10), 2.0);
        assert!((slow.seconds(10_010) - 2.0 / std::f32::consts::E).abs() < 0.001);
        let better = Latency::observed(Some(slow), MILLISECOND, 10_010);
        assert!((0.5..0.8).contains(&better.seconds(10_010)), "{better:?}");
    }

    #[test]
    fn a_fast_failure_looks_slower_than_a_slow_success() {
        let failing = Latency::penalised(Some(Latency::observed(None, MILLISECOND, 0)), None, 1);
        let slow = Latency::observed(None, Duration::from_millis(200), 1);
        assert!(better(known(slow.seconds(1)), known(failing.seconds(1))));
    }

    #[test]
    fn a_backend_that_asks_for_time_gets_it_within_reason() {
        let asked = |seconds| Latency::penalised(None, Some(Duration::from_secs(seconds)), 0).seconds(0);
        assert_eq!((asked(0), asked(30), asked(86_400)), (1.0, 30.0, 300.0));
    }

    #[test]
    fn a_failure_never_makes_a_slow_backend_look_better() {
        let slow = Latency::observed(None, Duration::from_secs(20), 0);
        assert_eq!(Latency::penalised(Some(slow), None, 0).seconds(0), 20.0);
    }

    #[test]
    fn failures_that_follow_each_other_count_twice_as_much_each_time_up_to_a_bound() {
        let mut latency = None;
        let seconds = std::iter::repeat_with(|| {
            let next = Latency::penalised(latency, None, 0);
            latency = Some(next);
            next.seconds(0)
        });
        assert_eq!(seconds.take(7).collect::<Vec<_>>(), [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0]);
    }

    #[test]
    fn one_of_which_nothing_is_known_is_compared_by_its_requests_alone() {
        let unknown = |in_flight| Load { seconds: None, in_flight, weight: 1.0 };
        assert!(!better(unknown(0), known(0.001)) && !better(known(0.001), unknown(0)));
        assert!(better(known(9.0), unknown(1)));
    }

    proptest! {
        #[test]
        fn what_is_kept_as_bits_is_the_same(seconds in 0.0_f32..1e6, at: u32) {
            let latency = Latency { seconds, at };
            prop_assert_ne!(latency.to_bits(), Latency::UNKNOWN);
            prop_assert_eq!(Latency::from_bits(latency.to_bits()), Some(latency));
            prop_assert_eq!(Latency::from_bits(Latency::UNKNOWN), None);
        }

        #[test]
        fn the_estimate_stays_between_nothing_and_the_slowest_answer(
            samples in prop::collection::vec((0_u64..5_000, 0_u32..30_000), 1..50),
        ) {
            let (mut latency, mut now) = (None, 0_u32);
            let slowest = samples.iter().map(|(sample, _)| *sample).max().unwrap() as f32 / 1000.0;
            for (sample, pause) in samples {
                now += pause;
                let next = Latency::observed(latency, Duration::from_millis(sample), now);
                prop_assert!(next.seconds(now) >= sample as f32 / 1000.0 - 0.001 || latency.is_some());
                prop_assert!((0.0..=slowest + 0.001).contains(&next.seconds(now)), "{:?}", next);
                latency = Some(next);
            }
        }
    }
}
