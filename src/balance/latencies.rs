//! Many latencies as counts: where each falls on a scale that is equally fine everywhere, and which latency a share of
//! them is within.
//!
//! A step of the scale is a sixteenth of its power of two, so a percentile is right within six in a hundred, from
//! a microsecond to more than an hour.

use std::time::Duration;

use crate::units::Percent;

/// Steps for each power of two.
const STEPS: usize = 16;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// The last power of two that is told apart, of microseconds: more than an hour.
const LAST_POWER: u32 = 31;
/// How many steps the scale has: those below [`STEPS`] microseconds are one each.
pub const SCALE: usize = STEPS * (LAST_POWER - STEP_BITS + 2) as usize;

/// Where a latency falls on the scale; always below [`SCALE`].
pub fn step(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).min((2 << LAST_POWER) - 1);
    let power = micros.max(1).ilog2();
    if power < STEP_BITS {
        return micros as usize;
    }
    let within = (micros >> (power - STEP_BITS)) as usize - STEPS;
    STEPS * (power - STEP_BITS + 1) as usize + within
}

/// Where a step begins, in microseconds.
fn begin(step: usize) -> f64 {
    if step < STEPS {
        return step as f64;
    }
    let power = (step / STEPS - 1) as u32;
    ((STEPS + step % STEPS) as u64).wrapping_shl(power) as f64
}

/// How many latencies fell on each step.
#[derive(Clone, Debug)]
pub struct Window {
    counts: Box<[u32]>,
    total: u64,
}

impl Default for Window {
    fn default() -> Window {
        Window { counts: vec![0; SCALE].into(), total: 0 }
    }
}

impl Window {
    /// So many more fell on this step.
    pub fn add(&mut self, step: usize, count: u32) {
        if let Some(counted) = self.counts.get_mut(step) {
            *counted = counted.saturating_add(count);
            self.total += u64::from(count);
        }
    }

    /// All that another has counted.
    pub fn merge(&mut self, other: &Window) {
        if other.total > 0 {
            other.counts.iter().enumerate().for_each(|(step, count)| self.add(step, *count));
        }
    }

    /// Counts anew.
    pub fn clear(&mut self) {
        if self.total > 0 {
            self.counts.fill(0);
            self.total = 0;
        }
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latency that this share of them is within, in seconds and more than 0; none if there are none.
    pub fn percentile(&self, share: Percent) -> Option<f64> {
        // Divided last: a fraction such as 0.07 is a little more than that, and would reach into the next latency.
        let wanted = (self.total as f64 * f64::from(share.get()) / 100.0).max(1.0);
        let mut below = 0.0;
        for (step, count) in self.counts.iter().enumerate() {
            let count = f64::from(*count);
            if count > 0.0 && below + count >= wanted {
                let (from, to) = (begin(step), begin(step + 1));
                return Some((from + (to - from) * (wanted - below) / count) / 1e6);
            }
            below += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(micros: &[u64]) -> Window {
        let mut window = Window::default();
        micros.iter().for_each(|micros| window.add(step(Duration::from_micros(*micros)), 1));
        window
    }

    #[test]
    fn without_latencies_there_is_no_percentile() {
        assert_eq!(window(&[]).percentile(Percent::clamped(50)), None);
        let mut used = window(&[5, 6]);
        used.clear();
        assert_eq!((used.total(), used.percentile(Percent::clamped(50))), (0, None));
    }

    #[test]
    fn the_longest_that_can_be_said_has_a_step_too() {
        assert!(step(Duration::MAX) == SCALE - 1 && step(Duration::ZERO) == 0);
    }

    proptest! {
        #[test]
        fn every_latency_lies_in_its_step_and_steps_are_fine(micros in 0_u64..4_000_000_000) {
            let step = step(Duration::from_micros(micros));
            prop_assert!(step < SCALE && begin(step) <= micros as f64 && (micros as f64) < begin(step + 1));
            prop_assert!(begin(step + 1) - begin(step) <= (begin(step) / 16.0).max(1.0));
        }

        #[test]
        fn a_percentile_is_that_of_the_sorted_list_within_six_in_a_hundred(
            mut micros in prop::collection::vec(1_u64..100_000_000, 1..200),
            share in 1_u8..=100,
        ) {
            let said = window(&micros).percentile(Percent::clamped(share)).unwrap() * 1e6;
            micros.sort_unstable();
            let place = (micros.len() as f64 * f64::from(share) / 100.0).ceil().max(1.0) as usize - 1;
            let exact = micros[place] as f64;
            prop_assert!((said - exact).abs() <= exact * 0.0626 + 1.0, "{said} instead of {exact}");
        }
    }
}
