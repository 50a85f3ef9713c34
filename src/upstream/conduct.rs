//! What traffic says of a backend, and what follows: ejection, probe, return.
//!
//! What every request touches is atomic; the lock is taken only where a backend stands out, is out, or returns.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::backend::{Backend, State};
use super::outcome::Outcome;
use super::standing::Against;
use crate::balance::ejection::{Answered, Cause, Ejection, InTime, Probe};
use crate::balance::outlier::{self, Silence, Window};
use crate::config::Stalls;

/// A probe whose client leaves earlier than this tells nothing.
const TELLING: Duration = Duration::from_millis(500);

/// What is counted and kept of one backend.
#[derive(Debug, Default)]
pub struct Conduct {
    /// Failures since the last request that was served.
    consecutive: AtomicU32,
    served: AtomicU64,
    failed: AtomicU64,
    /// Requests that wait for the head of their answer.
    waiting: AtomicUsize,
    /// When it last answered, or when somebody began to wait for it; milliseconds of the group's time.
    progressed: AtomicU64,
    /// What the group had answered then.
    group_answered: AtomicU64,
    /// Whether it is out: read before the lock is taken.
    out: AtomicBool,
    /// When it was last found to have stalled, the silence that was one, in milliseconds.
    stall: AtomicU64,
    /// The rules by which it is judged, by number.
    rules: AtomicU32,
    ejection: Mutex<Ejection>,
    ejections: [AtomicU64; Cause::ALL.len()],
}

/// What the backends of an upstream share.
#[derive(Debug, Default)]
pub struct Group {
    /// Answers of all.
    answered: AtomicU64,
    /// Those that are out.
    out: AtomicUsize,
    /// How many may be, by the rules in force.
    ceiling: AtomicUsize,
    /// Those of which a probe is due.
    due: AtomicUsize,
    /// Ejections that were not made since too many were out.
    refused: AtomicU64,
    /// The rules in force, by number. Attempts that began under former ones eject nobody whom these do not judge.
    rules: AtomicU32,
}

impl Group {
    /// Ejections that were not made since too many were out.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether a probe of anybody is due.
    pub fn has_probe(&self) -> bool {
        self.due.load(Ordering::Relaxed) > 0
    }

    /// The backends are these from now on.
    pub fn follow<'a>(&self, backends: impl Iterator<Item = &'a Backend>, now: Instant) {
        let (mut members, mut out, mut due) = (0, 0, 0);
        let mut share = None;
        let rules = self.rules.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        for backend in backends {
            let conduct = &backend.state.conduct;
            match backend.outlier {
                Some(judged) => {
                    share = Some(judged.max_ejected);
                    conduct.rules.store(rules, Ordering::Relaxed);
                }
                None => conduct.acquit(&backend.state, now),
            }
            members += usize::from(backend.weight > 0);
            out += usize::from(conduct.out.load(Ordering::Relaxed));
            due += usize::from(conduct.lock().is_due());
        }
        self.ceiling.store(share.map_or(0, |share| outlier::ceiling(members, share)), Ordering::Relaxed);
        self.out.store(out, Ordering::Relaxed);
        self.due.store(due, Ordering::Relaxed);
    }

    /// Takes a place among those that may be out.
    fn take_place(&self) -> bool {
        let ceiling = self.ceiling.load(Ordering::Relaxed);
        let taken =
            self.out.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |out| (out < ceiling).then_some(out + 1));
        taken.is_ok()
    }
}

/// One less; never below none, also where a reload has counted anew meanwhile.
fn less(count: &AtomicUsize) {
    let less = |count: usize| Some(count.saturating_sub(1));
    let taken = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    debug_assert!(taken.is_ok(), "nothing declines");
}

impl Conduct {
    /// Why it is out; none if it is not.
    pub fn cause(&self) -> Option<Cause> {
        if self.out.load(Ordering::Relaxed) { self.lock().cause() } else { None }
    }

    /// How often it was taken out for this.
    pub fn ejections(&self, cause: Cause) -> u64 {
        self.ejections.get(cause.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// A request waits for its answer from now on.
    pub fn wait(&self, state: &State, now: Instant) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.progress(state, now);
        }
    }

    /// A request waits no more.
    pub fn wait_no_more(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// An attempt has had this outcome after so long a wait.
    pub fn observe(&self, backend: &Backend, outcome: Outcome, waited: Duration, now: Instant) {
        let state = &backend.state;
        if let Outcome::Served | Outcome::Declined { .. } | Outcome::Failed { .. } = outcome {
            state.group().conduct.answered.fetch_add(1, Ordering::Relaxed);
            self.progress(state, now);
            if self.out.load(Ordering::Relaxed) {
                let answered = self.lock().answered(self.in_time(waited), now);
                match answered {
                    Answered::Stays => {}
                    Answered::IsDue => self.becomes_due(state),
                    Answered::Returns => self.returned(state, now),
                }
            }
        }
        let failed = match outcome {
            Outcome::Served => false,
            // What one client asks too often is no fault.
            Outcome::Declined { .. } => return,
            Outcome::Failed { .. } | Outcome::Broken => true,
            // The health check counts it, where there is one.
            Outcome::Unreachable if backend.health_is_watched => return,
            Outcome::Unreachable => true,
        };
        if !failed {
            self.served.fetch_add(1, Ordering::Relaxed);
            if self.consecutive.load(Ordering::Relaxed) != 0 {
                self.consecutive.store(0, Ordering::Relaxed);
            }
            return;
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        let consecutive = self.consecutive.fetch_add(1, Ordering::Relaxed) + 1;
        if backend.outlier.is_some_and(|rules| consecutive >= rules.consecutive_failures) {
            self.eject(backend, Cause::ConsecutiveFailures, now);
        }
    }

    /// Takes the probe that is due, if it is: the request that asks is it.
    pub fn take_probe(&self, state: &State) -> bool {
        let taken = self.out.load(Ordering::Relaxed) && self.is_judged(state) && self.lock().take_probe();
        if taken {
            less(&state.group().conduct.due);
        }
        taken
    }

    /// The probe has ended with this outcome, or without one after so long a wait.
    pub fn probed(&self, backend: &Backend, outcome: Option<Outcome>, waited: Duration, now: Instant) {
        let probe = match outcome {
            Some(Outcome::Served | Outcome::Declined { .. }) => Probe::Passed,
            Some(Outcome::Failed { .. } | Outcome::Broken | Outcome::Unreachable) => Probe::Failed,
            None if waited >= TELLING => Probe::Failed,
            None => Probe::Unclear,
        };
        let Some(rules) = backend.outlier else { return };
        let mut ejection = self.lock();
        // Whoever was found to be silent is not well because it answers at last.
        let is_slow = ejection.cause() == Some(Cause::Stalled) && self.in_time(waited) == InTime::No;
        let probe = if is_slow && probe == Probe::Passed { Probe::Failed } else { probe };
        let returns = ejection.probed(probe, rules.ejection, now);
        if ejection.is_due() {
            self.becomes_due(&backend.state);
        }
        drop(ejection);
        if returns {
            self.returned(&backend.state, now);
        }
    }

    /// Looks whether it has stalled, and whether its probe is due. `slowest_other` is in seconds.
    pub fn tick(&self, backend: &Backend, slowest_other: Option<f32>, now: Instant) {
        let (state, waiting) = (&backend.state, self.waiting.load(Ordering::Relaxed));
        if self.out.load(Ordering::Relaxed) {
            if self.lock().tick(waiting, now) {
                self.becomes_due(state);
            }
            return;
        }
        let since = self.progressed.load(Ordering::Relaxed);
        let answered = state.group().conduct.answered.load(Ordering::Relaxed);
        let silence = Silence {
            waiting,
            lasts: Duration::from_millis(state.group().milliseconds(now).saturating_sub(since)),
            slowest_other,
            answered_meanwhile: answered.saturating_sub(self.group_answered.load(Ordering::Relaxed)),
        };
        let limit = outlier::stall_limit(slowest_other);
        if backend.outlier.is_some_and(|rules| rules.stalls == Stalls::Detected) && outlier::has_stalled(silence) {
            self.stall.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            self.eject(backend, Cause::Stalled, now);
        }
    }

    /// Whether anything was counted since the last window.
    pub fn has_window(&self) -> bool {
        self.served.load(Ordering::Relaxed) > 0 || self.failed.load(Ordering::Relaxed) > 0
    }

    /// Requests of the last window; counting begins anew.
    pub fn take_window(&self) -> Window {
        Window { served: self.served.swap(0, Ordering::Relaxed), failed: self.failed.swap(0, Ordering::Relaxed) }
    }

    /// Takes it out, if it is not out and not too many are.
    pub fn eject(&self, backend: &Backend, cause: Cause, now: Instant) {
        let (state, Some(rules)) = (&backend.state, backend.outlier) else { return };
        let mut ejection = self.lock();
        if ejection.cause().is_some() || !self.is_judged(state) {
            return;
        }
        if !state.group().conduct.take_place() {
            state.group().conduct.refused.fetch_add(1, Ordering::Relaxed);
            // It must fail as often again before it is asked again.
            self.consecutive.store(0, Ordering::Relaxed);
            return;
        }
        let Some(time) = ejection.eject(cause, rules.ejection, now) else { return };
        self.out.store(true, Ordering::Relaxed);
        drop(ejection);
        self.consecutive.store(0, Ordering::Relaxed);
        if let Some(count) = self.ejections.get(cause.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        state.hold(Against::Ejected);
        let (upstream, backend) = state.names();
        log::warn!(upstream, backend, reason = cause.token(), seconds = time.as_secs(); "backend ejected");
    }

    /// Whether the rules in force judge it; those of a former file may have.
    fn is_judged(&self, state: &State) -> bool {
        self.rules.load(Ordering::Relaxed) == state.group().conduct.rules.load(Ordering::Relaxed)
    }

    fn becomes_due(&self, state: &State) {
        if self.is_judged(state) {
            state.group().conduct.due.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn in_time(&self, waited: Duration) -> InTime {
        let late = waited >= Duration::from_millis(self.stall.load(Ordering::Relaxed));
        if late { InTime::No } else { InTime::Yes }
    }

    /// Nobody judges it any more.
    fn acquit(&self, state: &State, now: Instant) {
        *self.lock() = Ejection::default();
        if self.out.swap(false, Ordering::Relaxed) {
            state.forgive(Against::Ejected, now);
        }
    }

    fn returned(&self, state: &State, now: Instant) {
        if self.out.swap(false, Ordering::Relaxed) {
            if self.is_judged(state) {
                less(&state.group().conduct.out);
            }
            self.take_window();
            state.forgive(Against::Ejected, now);
            let (upstream, backend) = state.names();
            log::info!(upstream, backend; "ejected backend returned");
        }
    }

    fn progress(&self, state: &State, now: Instant) {
        self.progressed.store(state.group().milliseconds(now), Ordering::Relaxed);
        let answered = state.group().conduct.answered.load(Ordering::Relaxed);
        self.group_answered.store(answered, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Ejection> {
        self.ejection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
