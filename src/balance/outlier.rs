//! When a backend stands out from its group: pure comparisons.

use std::time::Duration;

use crate::units::Percent;

/// With fewer requests a share says nothing.
const ENOUGH: u64 = 50;
/// A difference below this is not worth an ejection, however sure it is.
const LEAST_DIFFERENCE: f64 = 0.1;
/// How sure it must be: one in a thousand would be taken out by chance.
const DEVIATIONS: f64 = 3.0;

/// A backend is not said to stall before so long a silence, however quick its group is.
const SHORTEST_SILENCE: Duration = Duration::from_millis(500);
/// Nor before its silence is so many times the slowest answer of the others lately.
const TIMES_SLOWER: f32 = 4.0;
/// Nor while fewer requests wait for it: one or two may be the slow ones.
const FEWEST_WAITING: usize = 3;
/// Nor before the others have answered so many meanwhile.
const ANSWERED_MEANWHILE: u64 = 10;

/// Requests of one window of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Those that were served.
    pub served: u64,
    /// Those that failed.
    pub failed: u64,
}

impl Window {
    fn total(self) -> u64 {
        self.served + self.failed
    }

    fn success(self) -> f64 {
        self.served as f64 / self.total().max(1) as f64
    }
}

/// Whether far fewer of a backend's requests are served than of all others' together: by ten in a hundred at least, and
/// by more than chance explains.
pub fn serves_too_few(own: Window, others: Window) -> bool {
    if own.total() < ENOUGH || others.total() < ENOUGH {
        return false;
    }
    let expected = others.success();
    let deviation = (expected * (1.0 - expected) / own.total() as f64).sqrt();
    expected - own.success() > (DEVIATIONS * deviation).max(LEAST_DIFFERENCE)
}

/// What is known of a backend that is silent.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// Requests that wait for the head of their answer.
    pub waiting: usize,
    /// How long it has answered nothing.
    pub lasts: Duration,
    /// The slowest of the others lately, in seconds; none if nobody else is known.
    pub slowest_other: Option<f32>,
    /// What the others have answered meanwhile.
    pub answered_meanwhile: u64,
}

/// Whether a backend has stalled: it has requests waiting and answers nothing for far longer than its group takes, while
/// the others answer.
pub fn has_stalled(silence: Silence) -> bool {
    silence.slowest_other.is_some()
        && silence.waiting >= FEWEST_WAITING
        && silence.answered_meanwhile >= ANSWERED_MEANWHILE
        && silence.lasts >= stall_limit(silence.slowest_other)
}

/// How long a silence is one, where the slowest of the others has lately taken so many seconds.
pub fn stall_limit(slowest_other: Option<f32>) -> Duration {
    // No time-out of anybody's is longer than a day.
    let slowest = slowest_other.unwrap_or(0.0).clamp(0.0, 86_400.0);
    SHORTEST_SILENCE.max(Duration::from_secs_f32(slowest * TIMES_SLOWER))
}

/// How many of `members` may be out at a time: the share, at least one where there are others, never all.
pub fn ceiling(members: usize, share: Percent) -> usize {
    let by_share = members * usize::from(share.get()) / 100;
    by_share.max(1).min(members.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(served: u64, failed: u64) -> Window {
        Window { served, failed }
    }

    #[test]
    fn one_that_serves_far_fewer_than_the_others_stands_out() {
        assert!(serves_too_few(window(70, 30), window(1000, 5)));
        assert!(!serves_too_few(window(95, 5), window(1000, 5)), "less than ten in a hundred");
        assert!(!serves_too_few(window(70, 30), window(700, 300)), "all fail alike");
        assert!(!serves_too_few(window(10, 10), window(1000, 0)), "too few to tell");
        assert!(!serves_too_few(window(0, 100), window(20, 0)), "nobody to compare with");
        assert!(!serves_too_few(window(30, 30), window(60, 40)), "chance");
    }

    #[test]
    fn silence_is_measured_by_what_the_others_take() {
        let silence =
            Silence { waiting: 3, lasts: Duration::from_secs(1), slowest_other: Some(0.01), answered_meanwhile: 50 };
        assert!(has_stalled(silence));
        assert!(!has_stalled(Silence { slowest_other: Some(0.5), ..silence }), "the others take half a second");
        assert!(!has_stalled(Silence { slowest_other: None, ..silence }));
        assert!(!has_stalled(Silence { waiting: 2, ..silence }));
        assert!(!has_stalled(Silence { answered_meanwhile: 9, ..silence }), "nobody else is asked much either");
        assert!(!has_stalled(Silence { lasts: Duration::from_millis(400), ..silence }));
    }

    #[test]
    fn the_share_that_may_be_out_is_at_least_one_and_never_all() {
        let half = |members| ceiling(members, Percent::clamped(50));
        assert_eq!([half(0), half(1), half(2), half(3), half(4), half(11)], [0, 0, 1, 1, 2, 5]);
        assert_eq!((ceiling(4, Percent::clamped(100)), ceiling(100, Percent::clamped(1))), (3, 1));
    }
}
