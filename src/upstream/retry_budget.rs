//! How many requests may be tried again: a share of live traffic, with a small floor.
//!
//! Retries that are not bounded turn a slow backend into an outage. Every request that is served earns a share of a retry;
//! a retry costs one. A floor lets little traffic retry at all, and what is saved is bounded, so that an hour
//! of calm does not pay for a storm. (Finagle's and linkerd's retry budgets; there every request earns, served or not.)
//!
//! In a full outage nobody is served, so nothing is earned: backends that are down see little more than what clients
//! ask, and less than a fifth more wherever there is traffic to speak of.

use std::time::Instant;

use crate::units::Percent;

/// Retries per second that are always allowed: the floor for upstreams with few requests.
const FLOOR_PER_SECOND: f64 = 5.0;

/// The most retries that can be saved up: what a burst of failures at the death of one backend needs.
const SAVED: f64 = 100.0;

/// What an upstream begins with, before it has earned anything.
const INITIAL: f64 = 20.0;

/// See the module's documentation.
#[derive(Debug)]
pub struct RetryBudget {
    balance: f64,
    served: u64,
    last: Option<Instant>,
}

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        RetryBudget { balance: INITIAL, served: 0, last: None }
    }
}

impl RetryBudget {
    /// Takes one retry if the budget allows it. `served` is how many requests the upstream has served so far.
    pub fn take(&mut self, served: u64, share: Percent, now: Instant) -> bool {
        let earned = served.saturating_sub(self.served) as f64 * share.fraction();
        let elapsed = self.last.map_or(0.0, |last| now.saturating_duration_since(last).as_secs_f64());
        self.served = served;
        self.last = Some(now);
        self.balance = (self.balance + earned + elapsed * FLOOR_PER_SECOND).min(SAVED);
        if self.balance < 1.0 {
            return false;
        }
        self.balance -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn retries_are_the_share_of_what_is_served_and_what_was_saved() {
        let share = Percent::clamped(20);
        let mut budget = RetryBudget::default();
        let now = Instant::now();
        let taken = (1..=100_000_u64).filter(|served| budget.take(*served, share, now)).count();
        assert!((20_000..=20_000 + INITIAL as usize + 1).contains(&taken), "{taken}");
    }

    #[test]
    fn in_a_full_outage_backends_see_a_fifth_more_at_most() {
        for (per_second, seconds) in [(50, 20), (100, 10), (200, 5), (1000, 2), (1000, 60)] {
            let mut budget = RetryBudget::default();
            let start = Instant::now();
            // As much as can be was saved before.
            budget.take(0, Percent::clamped(20), start);
            budget.take(1_000_000, Percent::clamped(20), start);
            let requests = per_second * seconds;
            let at = |number: u32| start + Duration::from_secs(1) * number / per_second;
            let taken =
                (0..requests).filter(|number| budget.take(1_000_000, Percent::clamped(20), at(*number))).count();
            assert!(taken * 5 <= requests as usize, "{taken} of {requests} at {per_second}/s");
        }
    }

    #[test]
    fn an_hour_of_calm_saves_no_more_than_the_ceiling() {
        let share = Percent::clamped(20);
        let mut budget = RetryBudget::default();
        let start = Instant::now();
        budget.take(0, share, start);
        let now = start + Duration::from_secs(3600);
        let taken = (0..10_000).filter(|_| budget.take(1_000_000, share, now)).count();
        assert_eq!(taken, SAVED as usize);
    }

    #[test]
    fn little_traffic_may_always_retry_a_little() {
        let mut budget = RetryBudget::default();
        let start = Instant::now();
        while budget.take(0, Percent::clamped(0), start) {}
        let later = start + Duration::from_secs(1);
        let taken = (0..100).filter(|_| budget.take(0, Percent::clamped(0), later)).count();
        assert_eq!(taken, FLOOR_PER_SECOND as usize);
    }
}
