//! What came of the requests, as their clients see it.

use std::ops::Range;
use std::time::Duration;

use super::request::End;

/// What a client takes for quick enough.
const GOOD: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// By the second in which they arrived.
    pub seconds: Vec<Second>,
    latencies: Vec<Duration>,
}

/// Requests that arrived in one second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    pub ended: u64,
    pub good: u64,
    /// Attempts for them that reached a backend.
    pub attempts: u64,
}

impl Figures {
    pub fn count(&mut self, arrived: Duration, now: Duration, end: End) {
        let took = now.saturating_sub(arrived);
        let second = self.second(arrived);
        second.ended += 1;
        second.good += u64::from(end == End::Served && took <= GOOD);
        self.latencies.push(took);
    }

    /// An attempt for a request that arrived then has reached a backend.
    pub fn attempt(&mut self, arrived: Duration) {
        self.second(arrived).attempts += 1;
    }

    fn second(&mut self, arrived: Duration) -> &mut Second {
        let place = usize::try_from(arrived.as_secs()).unwrap_or(0);
        if self.seconds.len() <= place {
            self.seconds.resize(place + 1, Second::default());
        }
        &mut self.seconds[place]
    }

    pub fn requests(&self) -> u64 {
        self.seconds.iter().map(|second| second.ended).sum()
    }

    /// The share that was served within a second.
    pub fn success(&self) -> f64 {
        self.seconds.iter().map(|second| second.good).sum::<u64>() as f64 / self.requests().max(1) as f64
    }

    pub fn attempts(&self) -> u64 {
        self.seconds.iter().map(|second| second.attempts).sum()
    }

    /// Attempts for each request that arrived in these seconds.
    pub fn amplification(&self, seconds: Range<usize>) -> f64 {
        let of = &self.seconds[seconds];
        let requests: u64 = of.iter().map(|second| second.ended).sum();
        of.iter().map(|second| second.attempts).sum::<u64>() as f64 / requests.max(1) as f64
    }

    /// The time within which this share of the requests ended, however they did.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let place = (sorted.len() as f64 * share) as usize;
        sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}
