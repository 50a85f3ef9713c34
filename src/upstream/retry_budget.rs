//! How many requests may be tried again: a share of live traffic, with a small floor.
//!
//! Retries that are not bounded turn a slow backend into an outage. Every request earns a share of a retry;
//! a retry costs one. A floor lets little traffic retry at all, and what is saved is bounded, so that an hour
//! of calm does not pay for a storm. (Finagle's and linkerd's retry budgets.)

use std::time::Instant;

use crate::units::Percent;

/// Retries per second that are always allowed: the floor for upstreams with few requests.
const FLOOR_PER_SECOND: f64 = 10.0;

/// The most retries that can be saved up: what a burst of failures at the death of one backend needs.
const SAVED: f64 = 500.0;

/// What an upstream begins with, before it has earned anything.
const INITIAL: f64 = 100.0;

/// See the module's documentation.
#[derive(Debug)]
pub struct RetryBudget {
    balance: f64,
    requests: u64,
    last: Option<Instant>,
}

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        RetryBudget { balance: INITIAL, requests: 0, last: None }
    }
}

impl RetryBudget {
    /// Takes one retry if the budget allows it. `requests` is how many the upstream has had so far.
    pub fn take(&mut self, requests: u64, share: Percent, now: Instant) -> bool {
        let earned = requests.saturating_sub(self.requests) as f64 * share.fraction();
        let elapsed = self.last.map_or(0.0, |last| now.saturating_duration_since(last).as_secs_f64());
        self.requests = requests;
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
    fn in_a_full_outage_retries_are_the_share_of_the_requests_and_what_was_saved() {
        let share = Percent::clamped(20);
        let mut budget = RetryBudget::default();
        let now = Instant::now();
        let taken = (1..=100_000_u64).filter(|requests| budget.take(*requests, share, now)).count();
        assert!((20_000..=20_000 + INITIAL as usize + 1).contains(&taken), "{taken}");
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
