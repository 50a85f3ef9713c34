//! How long the backends of an upstream took to begin their answers lately, all of them together: counted by all cores without a lock,
//! looked at once a second.
//!
//! Only what may be hedged is counted, and only where a percentile is asked for. A request counts with its first attempt. If
//! a hedge has won, it counts with what it had waited by then: its answer would have taken longer, and so lies beyond the percentile
//! in any case. Without that the slowest would never be counted, and what counts as slow would become ever less.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::counts::Counts;
use crate::balance::lately::Lately;
use crate::config::Percentile;

/// See the module's documentation.
#[derive(Debug)]
pub struct AnswerTimes {
    /// Since the last look; nothing before the first.
    counts: OnceLock<Counts>,
    lately: Mutex<Lately>,
    /// In microseconds; 0 before it is known.
    percentiles: [AtomicU64; Percentile::ALL.len()],
}

impl AnswerTimes {
    pub(super) fn new(now: Instant) -> AnswerTimes {
        AnswerTimes {
            counts: OnceLock::new(),
            lately: Mutex::new(Lately::new(now)),
            percentiles: [const { AtomicU64::new(0) }; Percentile::ALL.len()],
        }
    }

    /// An answer took so long to begin.
    pub fn observe(&self, took: Duration) {
        self.counts.get_or_init(Counts::new).add(took);
    }

    /// How long answers took at most, but for the slowest; none before enough are known.
    pub fn known(&self, percentile: Percentile) -> Option<Duration> {
        let micros = self.percentiles.get(percentile as usize)?.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    /// Whether anybody has asked for them, so that they are counted.
    pub(super) fn are_wanted(&self) -> bool {
        self.counts.get().is_some()
    }

    /// Takes into account what was counted since the last time.
    pub(super) fn learn(&self, now: Instant) {
        let Some(counts) = self.counts.get() else { return };
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        lately.add(&counts.take(), now);
        for (percentile, known) in Percentile::ALL.into_iter().zip(&self.percentiles) {
            let micros = lately.percentile(percentile.share()).map_or(0, |took| took.as_micros().max(1));
            known.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_percentile_is_known_by_its_name() {
        let now = Instant::now();
        let times = AnswerTimes::new(now);
        for millis in 1..=1000 {
            times.observe(Duration::from_millis(millis));
        }
        assert_eq!(Percentile::ALL.map(|percentile| times.known(percentile)), [None; 3], "nobody has looked");
        times.learn(now);
        for (percentile, millis) in Percentile::ALL.into_iter().zip([900.0, 950.0, 990.0]) {
            let known = times.known(percentile).unwrap().as_secs_f64() * 1000.0;
            assert!((known / millis - 1.0).abs() < 0.07, "{percentile:?}: {known}");
        }
    }
}
