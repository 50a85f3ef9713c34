//! How many requests the backends of an upstream are found to carry at once: what is counted for it on the way of
//! requests, and the look at it ten times a second. The decision itself is [`crate::balance::gradient`].
//!
//! A request costs two or three atomic additions where it is on, and one look where it is off.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Upstream;
use super::counts::Counts;
use super::outcome::Outcome;
use crate::balance::gradient::{Gradient, Mode, Rules, Seen};
use crate::config::AdaptiveConcurrency;

/// Where requests line up for longer than this it is no burst.
const BURST: Duration = Duration::from_millis(100);
/// The shortest wait that is worth a place in the line.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// What is counted and learnt, for as long as its upstream is in the file.
#[derive(Debug)]
pub struct Concurrency {
    /// Whether it is configured now.
    is_on: AtomicBool,
    all: Counts,
    /// Of requests that began while few were in flight.
    quiet: Counts,
    /// So many are few.
    least: AtomicUsize,
    /// The minimal latency in microseconds, for all cores to see; 0 before it is known.
    minimal: AtomicU64,
    /// The limit, likewise.
    limit: AtomicUsize,
    beyond: AtomicU64,
    refused: AtomicU64,
    gradient: Mutex<Gradient>,
}

/// What is known, as an operator sees it.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// How many may be in flight, or should be.
    pub limit: usize,
    /// What an answer takes while few are in flight; none before it was measured.
    pub minimal: Option<Duration>,
    /// Whether the minimal latency is being measured.
    pub is_measuring: bool,
    /// Requests that came when the limit was reached.
    pub beyond: u64,
    /// Those of them that were refused for it.
    pub refused: u64,
}

impl Concurrency {
    pub(super) fn new(now: Instant) -> Concurrency {
        Concurrency {
            is_on: AtomicBool::new(false),
            all: Counts::new(),
            quiet: Counts::new(),
            least: AtomicUsize::new(0),
            minimal: AtomicU64::new(0),
            limit: AtomicUsize::new(usize::MAX),
            beyond: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            gradient: Mutex::new(Gradient::new(now)),
        }
    }

    /// Whether it is configured now.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether with so many in flight a request waits for nobody.
    pub(super) fn is_quiet(&self, in_flight: usize) -> bool {
        self.is_on() && in_flight <= self.least.load(Ordering::Relaxed)
    }

    /// An attempt took so long. One that failed fast, or that its client gave up soon, says nothing; one that failed
    /// slowly says that answers take long.
    pub(super) fn observe(&self, outcome: Option<Outcome>, took: Duration, began: Began) {
        if !self.is_on() {
            return;
        }
        let tells = match outcome {
            Some(Outcome::Served | Outcome::Declined { .. }) => true,
            Some(Outcome::Failed { .. } | Outcome::Broken | Outcome::Unreachable) | None => {
                self.minimal().is_some_and(|minimal| took > minimal * 2)
            }
        };
        if tells {
            self.all.add(took);
            if began == Began::AmongFew {
                self.quiet.add(took);
            }
        }
    }

    fn minimal(&self) -> Option<Duration> {
        Some(self.minimal.load(Ordering::Relaxed)).filter(|micros| *micros > 0).map(Duration::from_micros)
    }

    fn lock(&self) -> MutexGuard<'_, Gradient> {
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an attempt found when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    /// So few in flight that it waits for nobody.
    AmongFew,
    /// Others, for which it may have to wait.
    AmongOthers,
}

impl Upstream {
    /// The ceiling that was found, where it is enforced.
    pub(super) fn found_ceiling(&self) -> Option<usize> {
        let AdaptiveConcurrency { mode: Mode::Enforce, rules } = self.config.adaptive_concurrency? else { return None };
        let concurrency = self.state.concurrency.get()?;
        Some(concurrency.lock().limit(&rules, Mode::Enforce, self.least(&rules)))
    }

    /// What was found, where it is configured.
    pub fn concurrency(&self) -> Option<(Mode, Found)> {
        let AdaptiveConcurrency { mode, rules } = self.config.adaptive_concurrency?;
        let concurrency = self.state.concurrency.get()?;
        let gradient = concurrency.lock();
        let found = Found {
            limit: gradient.limit(&rules, mode, self.least(&rules)),
            minimal: gradient.minimal().map(Duration::from_secs_f64),
            is_measuring: gradient.is_measuring(),
            beyond: concurrency.beyond.load(Ordering::Relaxed),
            refused: concurrency.refused.load(Ordering::Relaxed),
        };
        Some((mode, found))
    }

    /// The lowest limit: one request for each backend that is fit finds nobody before it.
    fn least(&self, rules: &Rules) -> usize {
        let fit = self.backends.iter().filter(|backend| backend.weight > 0 && backend.state.is_fit()).count();
        fit.max(usize::try_from(rules.least).unwrap_or(usize::MAX))
    }

    /// The configuration is in force from now on. What was learnt is forgotten when it is switched off.
    pub(super) fn follow_concurrency(&self, now: Instant) {
        let Some(AdaptiveConcurrency { rules, .. }) = self.config.adaptive_concurrency else {
            if let Some(concurrency) = self.state.concurrency.get() {
                concurrency.is_on.store(false, Ordering::Relaxed);
            }
            return;
        };
        let concurrency = self.state.concurrency.get_or_init(|| Box::new(Concurrency::new(now)));
        concurrency.least.store(self.least(&rules), Ordering::Relaxed);
        if !concurrency.is_on.swap(true, Ordering::Relaxed) {
            *concurrency.lock() = Gradient::new(now);
            concurrency.minimal.store(0, Ordering::Relaxed);
        }
    }

    /// Looks at what was counted since the last time.
    pub(super) fn steer(&self, now: Instant, chance: f64) {
        let Some(AdaptiveConcurrency { mode, rules }) = self.config.adaptive_concurrency else { return };
        let Some(concurrency) = self.state.concurrency.get() else { return };
        let least = self.least(&rules);
        concurrency.least.store(least, Ordering::Relaxed);
        let (all, quiet) = (concurrency.all.take(), concurrency.quiet.take());
        let seen = Seen { all, quiet, in_flight: self.state.under_ceilings(), least };
        let mut gradient = concurrency.lock();
        gradient.tick(&seen, &rules, mode, now, chance);
        let micros = gradient.minimal().map_or(0, |seconds| (seconds * 1e6) as u64);
        concurrency.limit.store(gradient.limit(&rules, mode, least), Ordering::Relaxed);
        drop(gradient);
        concurrency.minimal.store(micros, Ordering::Relaxed);
        self.state.set_ceilings(self.ceilings());
    }

    /// Whether it is the limit that was found which leaves no room now, not one of the file.
    pub(super) fn is_held_back(&self) -> bool {
        let of_file = self.configured_ceilings().all;
        let limit = self.state.ceilings().all;
        self.config.adaptive_concurrency.is_some() && limit < of_file && self.state.under_ceilings() >= limit
    }

    /// A request has just come, and was let in or not.
    pub(super) fn note_limit(&self, let_in: bool) {
        let Some(AdaptiveConcurrency { mode, .. }) = self.config.adaptive_concurrency else { return };
        let Some(concurrency) = self.state.concurrency.get() else { return };
        let beyond = match mode {
            Mode::Enforce => !let_in && self.is_held_back(),
            // The latest is counted among them.
            Mode::Observe => let_in && self.state.under_ceilings() > concurrency.limit.load(Ordering::Relaxed),
        };
        if beyond {
            concurrency.beyond.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request was refused for the limit.
    pub(super) fn count_held_back(&self) {
        if let Some(concurrency) = self.state.concurrency.get() {
            concurrency.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How long a request waits at most where the limit holds it back: in a burst as long as in any line. Where the line
    /// stands for long, waiting serves nobody sooner and makes all late: then half of the minimal latency, which keeps
    /// the backends busy (as CoDel, and Facebook's "Fail at Scale", do with queues that stand).
    pub(super) fn patience(&self, in_use_for: Duration) -> Option<Duration> {
        let concurrency = self.state.concurrency.get().filter(|concurrency| concurrency.is_on())?;
        if in_use_for < BURST || !self.is_held_back() || concurrency.lock().is_measuring() {
            return None;
        }
        concurrency.minimal().map(|minimal| (minimal / 2).max(SHORTEST_WAIT))
    }
}
