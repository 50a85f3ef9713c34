//! How long answers have taken lately, as two windows: one that is complete and one that is being counted.
//!
//! A window is complete after ten seconds, and where there is little traffic when it has enough answers to tell from: so what is
//! said never rests on a few, and old answers are forgotten as fast as new ones come.

use std::time::{Duration, Instant};

use super::latencies::Window;
use crate::units::Percent;

/// The shortest window.
const WINDOW: Duration = Duration::from_secs(10);

/// A complete window has so many answers at least: five of them are beyond the 99th percentile.
const ENOUGH: u64 = 500;

/// So many answers must be beyond a percentile before it is known.
const BEYOND: f64 = 5.0;

/// See the module's documentation.
#[derive(Debug)]
pub struct Lately {
    complete: Window,
    current: Window,
    since: Instant,
}

impl Lately {
    /// Nothing is known yet.
    pub fn new(now: Instant) -> Lately {
        Lately { complete: Window::default(), current: Window::default(), since: now }
    }

    /// These have come since the last time.
    pub fn add(&mut self, answers: &Window, now: Instant) {
        self.current.merge(answers);
        if now.saturating_duration_since(self.since) >= WINDOW && self.current.total() >= ENOUGH {
            std::mem::swap(&mut self.complete, &mut self.current);
            self.current.clear();
            self.since = now;
        }
    }

    /// How long the quickest of this share took at most; none before enough answers are known.
    pub fn percentile(&self, share: Percent) -> Option<Duration> {
        let mut both = self.complete.clone();
        both.merge(&self.current);
        let beyond = both.total() as f64 * (1.0 - share.fraction());
        // A fraction of a share is not exact.
        (beyond + 1e-6 >= BEYOND).then(|| both.percentile(share)).flatten().map(Duration::from_secs_f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::latencies::step;
    use proptest::prelude::*;

    const P95: Percent = Percent::clamped(95);

    fn answers(took: &[Duration]) -> Window {
        let mut window = Window::default();
        took.iter().for_each(|took| window.add(step(*took), 1));
        window
    }

    fn near(said: Option<Duration>, millis: u64) -> bool {
        said.is_some_and(|said| (said.as_secs_f64() * 1000.0 / millis as f64 - 1.0).abs() < 0.07)
    }

    #[test]
    fn nothing_is_known_before_five_answers_are_beyond() {
        let now = Instant::now();
        let mut lately = Lately::new(now);
        lately.add(&answers(&[Duration::from_millis(10); 99]), now);
        assert!(lately.percentile(P95).is_none() && near(lately.percentile(Percent::clamped(90)), 10));
        lately.add(&answers(&[Duration::from_millis(10)]), now);
        assert!(near(lately.percentile(P95), 10) && lately.percentile(Percent::clamped(99)).is_none());
    }

    #[test]
    fn what_has_changed_is_known_after_two_windows_and_what_is_quiet_is_remembered() {
        let start = Instant::now();
        let mut lately = Lately::new(start);
        let mut at = |second: u64, millis: u64, count: usize| {
            let came = vec![Duration::from_millis(millis); count];
            lately.add(&answers(&came), start + Duration::from_secs(second));
            lately.percentile(P95)
        };
        for second in 1..=30 {
            assert!(near(at(second, 10, 100), 10));
        }
        assert!(near(at(31, 200, 50), 10), "a few are no change");
        for second in 32..=50 {
            at(second, 200, 100);
        }
        assert!(near(at(51, 200, 100), 200));
        // An hour without traffic.
        assert!(near(lately.percentile(P95), 200));
        lately.add(&Window::default(), start + Duration::from_secs(3600));
        assert!(near(lately.percentile(P95), 200));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        /// Whenever it is asked, what is said is that of a list of what came lately, which is neither short nor old.
        #[test]
        fn it_is_the_percentile_of_a_tail_of_what_came(
            seconds in prop::collection::vec(prop::collection::vec(1_u64..5_000, 0..100), 1..40),
        ) {
            let start = Instant::now();
            let (mut lately, mut came) = (Lately::new(start), Vec::new());
            for (second, took) in seconds.iter().enumerate() {
                let took: Vec<Duration> = took.iter().map(|millis| Duration::from_millis(*millis)).collect();
                came.extend(took.iter().copied());
                lately.add(&answers(&took), start + Duration::from_secs(second as u64));
                let Some(said) = lately.percentile(P95) else {
                    prop_assert!(came.len() < 100);
                    continue;
                };
                let fits = |length: usize| {
                    let mut tail = came[came.len() - length..].to_vec();
                    tail.sort_unstable();
                    let exact = tail[((length as f64 * 0.95).ceil() as usize).max(1) - 1].as_secs_f64();
                    (said.as_secs_f64() - exact).abs() <= exact * 0.07
                };
                prop_assert!((100..=came.len()).rev().any(fits), "{:?} of {}", said, came.len());
            }
        }
    }
}
