//! How many requests at once a group of backends carries, found out from how long it takes to answer.
//!
//! While few are in flight an answer takes its minimal latency. What it takes longer than that is waiting behind others,
//! so the limit follows the ratio of the two, the *gradient*:
//!
//! `limit = limit × gradient + √(limit × gradient)`, `gradient = minimal × (1 + tolerance) / now`, from ½ to 2.
//!
//! The root lets it grow while latency is flat. This is the gradient controller of Envoy's adaptive concurrency filter
//! (windows in which the minimal latency is measured at few requests at once, with jitter; percentiles of windows; measuring
//! again after five windows at the lowest limit), with the rule of Netflix's `Gradient2Limit` (concurrency-limits) that a
//! limit which is not used does not grow. Two things are ours: what begins while few are in flight anyway measures
//! the minimal latency without a window for it; and where the limit is only observed, what is in flight beyond
//! it stands for the limit, since nothing makes the latency follow.

use std::time::{Duration, Instant};

use super::latencies::Window;
use crate::units::Percent;

/// The limit before anything is known of latencies under load (Netflix's). Much traffic doubles it in two windows.
const INITIAL: f64 = 20.0;
/// How much the limit may change at once, but for the root.
const STEEPEST: (f64, f64) = (0.5, 2.0);
/// After so many windows at the lowest limit the minimal latency cannot be right.
const AT_LEAST: u32 = 5;
/// A window has so many answers, or has lasted for [`LONGEST_WINDOW`] and has [`FEWEST`].
const ENOUGH: u64 = 25;
const FEWEST: u64 = 5;
const LONGEST_WINDOW: Duration = Duration::from_secs(1);
/// Nobody is held back longer than this for the sake of measuring.
const LONGEST_MEASURING: Duration = Duration::from_secs(5);

/// How the limit is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The limit is never lower.
    pub least: u64,
    /// The limit is never higher.
    pub most: u64,
    /// Which latency of a window counts.
    pub percentile: Percent,
    /// How much longer than the minimal latency an answer may take.
    pub tolerance: Percent,
    /// How often the minimal latency is measured.
    pub interval: Duration,
    /// The interval is longer by a random part of this share.
    pub jitter: Percent,
    /// How many answers the minimal latency is taken from.
    pub requests: u64,
}

/// What becomes of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Requests beyond it are held back.
    Enforce,
    /// Nothing is done.
    Observe,
}

impl Mode {
    /// The word for it.
    pub const fn token(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Observe => "observe",
        }
    }
}

/// What was seen since the last tick.
#[derive(Debug)]
pub struct Seen {
    /// Of all answers.
    pub all: Window,
    /// Of those to requests that began while not more than the lowest limit were in flight.
    pub quiet: Window,
    /// Requests in flight now.
    pub in_flight: usize,
    /// The lowest limit: that of the rules, or more where there are more backends.
    pub least: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Gradient {
    limit: f64,
    /// In seconds.
    minimal: Option<f64>,
    phase: Phase,
    window: Window,
    window_began: Instant,
    quiet: Window,
    /// The lowest of the windows since the minimal latency was measured.
    lowest: Option<f64>,
    /// Windows one after the other that ended at the lowest limit.
    at_least: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Few requests at once, to find the minimal latency.
    Measuring { since: Instant },
    /// The limit follows the gradient until the minimal latency is measured again.
    Following { until: Instant },
}

impl Gradient {
    /// Nothing is known yet: the minimal latency is measured first.
    pub fn new(now: Instant) -> Gradient {
        Gradient {
            limit: INITIAL,
            minimal: None,
            phase: Phase::Measuring { since: now },
            window: Window::default(),
            window_began: now,
            quiet: Window::default(),
            lowest: None,
            at_least: 0,
        }
    }

    /// How many may be in flight, as far as it is known: at first, and without any answers, as many as may be at all.
    pub fn limit(&self, rules: &Rules, mode: Mode, least: usize) -> usize {
        let most = usize::try_from(rules.most).unwrap_or(usize::MAX);
        match (self.phase, mode, self.minimal) {
            (Phase::Measuring { .. }, Mode::Enforce, _) => least.min(most),
            (Phase::Measuring { .. }, Mode::Observe, None) | (Phase::Following { .. }, _, None) => most,
            (Phase::Measuring { .. }, Mode::Observe, Some(_)) | (Phase::Following { .. }, _, Some(_)) => {
                (self.limit as usize).max(least).min(most)
            }
        }
    }

    /// The minimal latency in seconds; none before it was measured.
    pub fn minimal(&self) -> Option<f64> {
        self.minimal
    }

    /// Whether requests are held back only to measure the minimal latency.
    pub fn is_measuring(&self) -> bool {
        matches!(self.phase, Phase::Measuring { .. })
    }

    /// Takes into account what was seen. To be called about ten times a second; `chance` is from 0 to 1.
    pub fn tick(&mut self, seen: &Seen, rules: &Rules, mode: Mode, now: Instant, chance: f64) {
        self.quiet.merge(&seen.quiet);
        self.window.merge(&seen.all);
        let closed = self.close_window(rules, now);
        let enough = self.quiet.total() >= rules.requests;
        match self.phase {
            Phase::Measuring { since } => {
                if enough || now.saturating_duration_since(since) >= LONGEST_MEASURING {
                    self.measured(rules, now, chance);
                }
            }
            Phase::Following { until } => {
                let doubted = self.at_least >= AT_LEAST && (mode == Mode::Enforce || enough);
                if (now >= until && self.knows_more()) || doubted {
                    if enough || mode == Mode::Observe {
                        self.measured(rules, now, chance);
                    } else {
                        self.quiet.clear();
                        self.phase = Phase::Measuring { since: now };
                    }
                } else if let (Some((sample, carried)), Some(minimal)) = (closed, self.minimal) {
                    self.follow(sample, minimal, carried.max(seen.in_flight as f64), seen, rules, mode);
                }
            }
        }
    }

    /// Without any answer since the last time there is nothing to measure.
    fn knows_more(&self) -> bool {
        self.quiet.total() > 0 || self.window.total() > 0 || self.lowest.is_some()
    }

    /// The latency of the window that is over, and how many requests it had in flight on average (Little's law).
    fn close_window(&mut self, rules: &Rules, now: Instant) -> Option<(f64, f64)> {
        let lasted = now.saturating_duration_since(self.window_began);
        let total = self.window.total();
        if total < ENOUGH && (total < FEWEST || lasted < LONGEST_WINDOW) {
            return None;
        }
        let sample = self.window.percentile(rules.percentile)?;
        let carried = total as f64 * sample / lasted.as_secs_f64().max(0.001);
        self.lowest = Some(self.lowest.map_or(sample, |lowest| lowest.min(sample)));
        self.window.clear();
        self.window_began = now;
        Some((sample, carried))
    }

    fn measured(&mut self, rules: &Rules, now: Instant, chance: f64) {
        let enough = self.quiet.total() >= FEWEST;
        let measured = if enough { self.quiet.percentile(rules.percentile) } else { None };
        self.minimal = measured.or(self.lowest).or(self.minimal);
        self.quiet.clear();
        self.window.clear();
        self.window_began = now;
        self.lowest = None;
        self.at_least = 0;
        let longer = 1.0 + rules.jitter.fraction() * chance.clamp(0.0, 1.0);
        self.phase = Phase::Following { until: now + rules.interval.mul_f64(longer) };
    }

    fn follow(&mut self, sample: f64, minimal: f64, in_flight: f64, seen: &Seen, rules: &Rules, mode: Mode) {
        let gradient = minimal * (1.0 + rules.tolerance.fraction()) / sample;
        let beyond = mode == Mode::Observe && in_flight > self.limit;
        let followed = if beyond {
            in_flight * gradient.min(STEEPEST.1)
        } else {
            self.limit * gradient.clamp(STEEPEST.0, STEEPEST.1)
        };
        let next = followed + followed.sqrt();
        if next > self.limit && in_flight < self.limit / 2.0 {
            return;
        }
        let most = rules.most as f64;
        let least = (seen.least as f64).min(most);
        self.limit = next.max(least).min(most);
        self.at_least = if self.limit <= least { self.at_least + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::super::latencies::step;
    use super::*;
    use proptest::prelude::*;

    const TICK: Duration = Duration::from_millis(100);
    const RULES: Rules = Rules {
        least: 3,
        most: 1000,
        percentile: Percent::clamped(50),
        tolerance: Percent::clamped(25),
        interval: Duration::from_secs(60),
        jitter: Percent::clamped(15),
        requests: 50,
    };

    fn window(count: u32, latency: Duration) -> Window {
        let mut window = Window::default();
        window.add(step(latency), count);
        window
    }

    /// A group that carries `carries` requests at once, each for `takes`, and makes all others wait.
    struct Group {
        gradient: Gradient,
        carries: f64,
        takes: f64,
        now: Instant,
    }

    impl Group {
        fn new(carries: f64, takes: f64) -> Group {
            let now = Instant::now();
            Group { gradient: Gradient::new(now), carries, takes, now }
        }

        /// So many clients ask without a pause; the result is what an answer takes, in seconds.
        fn asked(&mut self, clients: usize, mode: Mode, ticks: u32) -> f64 {
            let mut latency = 0.0;
            for _ in 0..ticks {
                let least = 3;
                let limit = self.gradient.limit(&RULES, mode, least);
                let in_flight = if mode == Mode::Enforce { clients.min(limit) } else { clients };
                latency = self.takes * (in_flight as f64 / self.carries).max(1.0);
                let answers = (in_flight as f64 * TICK.as_secs_f64() / latency) as u32;
                let all = window(answers, Duration::from_secs_f64(latency));
                let quiet = if in_flight <= least { all.clone() } else { Window::default() };
                self.now += TICK;
                self.gradient.tick(&Seen { all, quiet, in_flight, least }, &RULES, mode, self.now, 0.5);
            }
            latency
        }

        fn limit(&self) -> usize {
            self.gradient.limit(&RULES, Mode::Enforce, 3)
        }
    }

    #[test]
    fn under_overload_answers_take_little_longer_than_without_load() {
        for (carries, takes) in [(8.0, 0.02), (50.0, 0.005), (200.0, 0.1)] {
            let mut group = Group::new(carries, takes);
            let latency = group.asked(5000, Mode::Enforce, 200);
            assert!(latency < takes * 2.0, "{latency} where {takes} is minimal");
            assert!(group.limit() as f64 >= carries, "all is used: {} of {carries}", group.limit());
        }
    }

    #[test]
    fn it_grows_while_latency_is_flat_and_falls_when_it_rises() {
        let mut group = Group::new(1e9, 0.01);
        group.asked(900, Mode::Enforce, 100);
        assert!(group.limit() > 800, "{}", group.limit());
        group.takes = 0.1;
        let before = group.limit();
        group.asked(900, Mode::Enforce, 3);
        assert!(group.limit() < before / 2, "{} after {before}", group.limit());
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let mut group = Group::new(1e9, 0.01);
        group.asked(5, Mode::Enforce, 300);
        assert!(group.limit() <= 20, "{}", group.limit());
    }

    #[test]
    fn a_latency_that_stays_higher_is_soon_the_minimal_one() {
        let mut group = Group::new(20.0, 0.01);
        group.asked(500, Mode::Enforce, 50);
        group.takes = 0.1;
        group.asked(500, Mode::Enforce, 200);
        let minimal = group.gradient.minimal().unwrap();
        assert!((0.09..0.11).contains(&minimal), "{minimal}");
        assert!(group.limit() >= 20, "{}", group.limit());
    }

    #[test]
    fn the_minimal_latency_is_measured_again_after_the_interval_and_for_a_short_time() {
        let mut group = Group::new(20.0, 0.01);
        group.asked(500, Mode::Enforce, 50);
        assert!(!group.gradient.is_measuring());
        let mut measuring = 0;
        for _ in 0..700 {
            group.asked(500, Mode::Enforce, 1);
            measuring += u32::from(group.gradient.is_measuring());
        }
        assert!((1..=5).contains(&measuring), "{measuring} ticks of 700");
    }

    #[test]
    fn nobody_is_held_back_for_ever_where_nothing_answers() {
        let mut gradient = Gradient::new(Instant::now());
        let seen = Seen { all: Window::default(), quiet: Window::default(), in_flight: 3, least: 3 };
        assert_eq!(gradient.limit(&RULES, Mode::Enforce, 3), 3);
        gradient.tick(&seen, &RULES, Mode::Enforce, Instant::now() + LONGEST_MEASURING, 0.0);
        assert_eq!(gradient.limit(&RULES, Mode::Enforce, 3), 1000);
    }

    #[test]
    fn where_it_is_only_observed_the_limit_is_what_would_have_been_enough() {
        let mut group = Group::new(20.0, 0.01);
        group.asked(3, Mode::Observe, 10);
        group.asked(400, Mode::Observe, 100);
        let limit = group.gradient.limit(&RULES, Mode::Observe, 3);
        assert!((20..=40).contains(&limit), "{limit}");
        assert_eq!(Group::new(20.0, 0.01).gradient.limit(&RULES, Mode::Observe, 3), 1000, "nothing is known yet");
    }

    proptest! {
        #[test]
        fn whatever_is_seen_the_limit_is_a_number_within_its_bounds(
            ticks in prop::collection::vec((0_u32..200, 0_u64..20_000_000, any::<bool>(), 0_usize..5000, 1_usize..2000, 0_u64..120_000), 1..80),
            (least, most) in (1_u64..50, 50_u64..2000),
            (share, tolerance, jitter) in (1_u8..=100, 0_u8..=100, 0_u8..=100),
            observed: bool,
        ) {
            let (percentile, tolerance, jitter) = (Percent::clamped(share), Percent::clamped(tolerance), Percent::clamped(jitter));
            let rules = Rules { least, most, percentile, tolerance, jitter, ..RULES };
            let mode = if observed { Mode::Observe } else { Mode::Enforce };
            let mut now = Instant::now();
            let mut gradient = Gradient::new(now);
            for (count, micros, is_quiet, in_flight, lowest, pause) in ticks {
                now += Duration::from_millis(pause);
                let all = window(count, Duration::from_micros(micros));
                let quiet = if is_quiet { all.clone() } else { Window::default() };
                gradient.tick(&Seen { all, quiet, in_flight, least: lowest }, &rules, mode, now, 0.3);
                prop_assert!(gradient.limit.is_finite() && gradient.minimal.is_none_or(|minimal| minimal.is_finite() && minimal >= 0.0));
                let limit = gradient.limit(&rules, mode, lowest) as u64;
                prop_assert!(limit <= most && limit >= (lowest as u64).min(most), "{limit}");
            }
        }
    }
}
