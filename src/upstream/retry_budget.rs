//! How many requests may be tried again: a share of live traffic, with a small floor.
//!
//! Retries that are not bounded turn a slow backend into an outage. Every request earns a share of a retry; a retry costs
//! one. A floor lets little traffic retry at all. What is saved is bounded by what a second earns, so that calm does not
//! pay for a storm: backends that all fail see that share more, and hardly anything beyond. (Finagle's and linkerd's retry
//! budgets add the floor to the share and save for ten seconds.)

use std::time::{Duration, Instant};

use crate::units::Percent;

/// Retries per second that are always allowed: the floor where a second has earned fewer. Also what an upstream begins with,
/// and what it can always save.
const FLOOR_PER_SECOND: f64 = 10.0;

/// Over this time it is seen what traffic earns.
const SEEN: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug)]
pub struct RetryBudget {
    balance: f64,
    /// The most that can be saved: what a second has earned lately.
    most: f64,
    /// When something was last earned, and by how many requests in all.
    last: (Instant, u64),
    /// The same when the second began that is being seen.
    second: (Instant, u64),
}

impl RetryBudget {
    /// Of an upstream that has had no requests before now.
    pub fn new(now: Instant) -> RetryBudget {
        RetryBudget { balance: FLOOR_PER_SECOND, most: FLOOR_PER_SECOND, last: (now, 0), second: (now, 0) }
    }

    /// Takes one retry if the budget allows it. `requests` is how many the upstream has had so far.
    pub fn take(&mut self, requests: u64, share: Percent, now: Instant) -> bool {
        let since = |(then, before): (Instant, u64)| {
            let earned = requests.saturating_sub(before) as f64 * share.fraction();
            (now.saturating_duration_since(then), earned)
        };
        let (seen, earned_meanwhile) = since(self.second);
        self.balance += since(self.last).1;
        self.last = (now, requests);
        if seen >= SEEN {
            let floor = seen.as_secs_f64() * FLOOR_PER_SECOND;
            self.balance += (floor - earned_meanwhile).max(0.0);
            self.most = (earned_meanwhile / seen.as_secs_f64()).max(FLOOR_PER_SECOND);
            self.second = (now, requests);
        }
        self.balance = self.balance.min(self.most);
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

    const SHARE: Percent = Percent::clamped(20);

    /// How many retries are taken where all of so many requests per second fail for so many seconds.
    fn taken(per_second: u64, seconds: u64) -> usize {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        let retries = |number: u64| {
            let now = start + Duration::from_micros(number * 1_000_000 / per_second);
            // Each would be tried again twice.
            (0..2).filter(|_| budget.take(number, SHARE, now)).count()
        };
        (1..=per_second * seconds).map(retries).sum()
    }

    #[test]
    fn in_a_full_outage_retries_are_the_share_of_the_requests_and_what_a_second_had_saved() {
        for (per_second, seconds) in [(100, 60), (1000, 60), (20_000, 5)] {
            let requests = per_second * seconds;
            let taken = taken(per_second, seconds) as f64;
            let (share, saved) = (requests as f64 * 0.2, per_second as f64 * 0.2);
            assert!(taken >= share * 0.98 && taken <= share + saved + FLOOR_PER_SECOND, "{taken} of {share}");
        }
    }

    #[test]
    fn an_hour_of_calm_saves_no_more_than_a_second_earns() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        budget.take(0, SHARE, start);
        let now = start + Duration::from_secs(3600);
        let taken = (0..10_000).filter(|_| budget.take(3_600_000, SHARE, now)).count();
        assert_eq!(taken, 200);
    }

    #[test]
    fn little_traffic_may_always_retry_a_little() {
        let none = Percent::clamped(0);
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        while budget.take(0, none, start) {}
        let later = start + Duration::from_secs(1);
        let taken = (0..100).filter(|_| budget.take(0, none, later)).count();
        assert_eq!(taken, FLOOR_PER_SECOND as usize);
    }
}
