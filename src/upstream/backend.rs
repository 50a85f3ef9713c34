//! One backend: where it is, what it may take, and what is learnt about it.
//!
//! Its identity is its address. What is learnt ([`State`]) is kept apart and outlives the configuration that
//! named it: a new weight or time-out forgets nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pingora::upstreams::peer::HttpPeer;
use tokio::sync::Notify;

use super::UpstreamState;
use super::conduct::Conduct;
use super::health::{Health, Thresholds, Turned, Verdict};
use super::latency::SharedLatency;
use super::operator::Operator;
use super::pick::Ceilings;
use super::standing::{Against, Standing};
use crate::config::OutlierDetection;
use crate::failure::Reason;
use crate::forward::kept::{Keep, Owner};

/// No number of milliseconds since anything.
const FROM_THE_START: u64 = u64::MAX;

/// A `Retry-After` beyond is not believed: who restarts is through with it, and who is broken is taken out by its traffic.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A backend as one configuration sees it.
#[derive(Debug)]
pub struct Backend {
    /// Its address, as logs and metrics name it.
    pub name: String,
    /// Share of the requests, relative to the others; 0 takes none.
    pub weight: u32,
    /// Serves when the lower ones cannot.
    pub tier: u32,
    /// When its traffic takes it out; none if it never does.
    pub outlier: Option<OutlierDetection>,
    /// Whether a health check counts failed connections.
    pub health_is_watched: bool,
    /// What pingora connects to.
    pub peer: HttpPeer,
    /// What tells connections to it apart from those to others: its address, and how TLS is done with it.
    pub connections: u64,
    /// What is learnt about it.
    pub state: Arc<State>,
}

impl Backend {
    /// Where connections to it belong, which may be without a request for so long.
    pub fn keep(&self, limit: Duration) -> Keep<'_, State> {
        Keep { key: self.connections, owner: &self.state, limit }
    }
}

/// What is learnt about a backend, for as long as its upstream names it.
#[derive(Debug)]
pub struct State {
    /// How long it takes to answer.
    pub latency: SharedLatency,
    /// What its traffic says of it.
    pub conduct: Conduct,
    /// What stands against it.
    pub standing: Standing,
    /// The share that an operator gave it.
    pub operator: Operator,
    /// Since when it is fit, in milliseconds of the group's time; never for one that was so from the start.
    fit_since: AtomicU64,
    /// Until when it has asked not to be asked again, in milliseconds of the group's time.
    rests_until: AtomicU64,
    /// What its upstream has learnt.
    group: Arc<UpstreamState>,
    upstream: String,
    backend: String,
    suspected: AtomicBool,
    health: Mutex<Health>,
    /// Why its health check failed when that took it out.
    unfit_because: Mutex<Option<Box<str>>>,
    in_flight: AtomicUsize,
    /// Those of them that have become tunnels.
    tunnels: AtomicUsize,
    attempts: AtomicU64,
    failures: [AtomicU64; Reason::ALL.len()],
    /// Woken when the first verdict has been given.
    judged: Notify,
    /// Woken when it turns unhealthy: whoever asks it how it is.
    asker: Mutex<Option<Arc<Notify>>>,
}

impl State {
    /// A backend of which nothing is known; it is taken for healthy.
    pub fn new(group: Arc<UpstreamState>, upstream: &str, backend: &str) -> State {
        State {
            latency: SharedLatency::default(),
            conduct: Conduct::default(),
            group,
            upstream: upstream.to_owned(),
            backend: backend.to_owned(),
            standing: Standing::default(),
            operator: Operator::default(),
            fit_since: AtomicU64::new(FROM_THE_START),
            rests_until: AtomicU64::new(0),
            suspected: AtomicBool::new(false),
            health: Mutex::default(),
            unfit_because: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            tunnels: AtomicUsize::new(0),
            attempts: AtomicU64::new(0),
            failures: [const { AtomicU64::new(0) }; Reason::ALL.len()],
            judged: Notify::new(),
            asker: Mutex::default(),
        }
    }

    /// What its upstream has learnt.
    pub fn group(&self) -> &UpstreamState {
        &self.group
    }

    /// Its upstream and itself, as logs and metrics name them.
    pub fn names(&self) -> (&str, &str) {
        (&self.upstream, &self.backend)
    }

    /// One more attempt is in flight, if the ceilings leave room; says whether it is.
    pub fn begin_attempt(&self, most: Ceilings) -> bool {
        if !take(&self.in_flight, most.each.saturating_add(self.tunnels.load(Ordering::Relaxed))) {
            return false;
        }
        if !self.group.begin_attempt(most.all) {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.attempts.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// One attempt less is in flight: whoever waits for room may try.
    pub fn end_attempt(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.group.end_attempt();
    }

    /// An attempt has become a tunnel, which takes no place under the ceilings.
    pub fn begin_tunnel(&self) {
        self.tunnels.fetch_add(1, Ordering::Relaxed);
        self.group.tunnels.fetch_add(1, Ordering::Relaxed);
        self.group.queue.call();
    }

    /// A tunnel has ended; the attempt that it was ends next.
    pub fn end_tunnel(&self) {
        self.tunnels.fetch_sub(1, Ordering::Relaxed);
        self.group.tunnels.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether one more request may be in flight here.
    pub fn has_room(&self, ceilings: Ceilings) -> bool {
        self.in_flight().saturating_sub(self.tunnels.load(Ordering::Relaxed)) < ceilings.each
    }

    /// It has asked not to be asked again for so long.
    pub fn rest(&self, time: Duration, now: Instant) {
        let until = self.group.milliseconds(now + time.min(LONGEST_REST));
        self.rests_until.store(until, Ordering::Relaxed);
    }

    /// Whether it has asked not to be asked now.
    pub fn rests(&self, now: Instant) -> bool {
        self.group.milliseconds(now) < self.rests_until.load(Ordering::Relaxed)
    }

    /// Whether nothing stands against it.
    pub fn is_fit(&self) -> bool {
        self.standing.is_fit()
    }

    /// Whether an operator has said that it shall take no new requests.
    pub fn drained(&self) -> bool {
        self.standing.has(Against::Drained)
    }

    /// It was added to a group that was there before.
    pub fn added(&self, now: Instant) {
        self.fit_since.store(self.group.milliseconds(now), Ordering::Relaxed);
    }

    /// How long it has been fit since it came back or was added; none if it was never away.
    pub fn fit_for(&self, now: Instant) -> Option<Duration> {
        let since = self.fit_since.load(Ordering::Relaxed);
        let elapsed = || self.group.milliseconds(now).saturating_sub(since);
        (since != FROM_THE_START).then(|| Duration::from_millis(elapsed()))
    }

    /// From now on this stands against it.
    pub fn hold(&self, against: Against) {
        // Whoever is drained is no longer counted among those that should be fit, whatever else stands against it.
        if self.standing.hold(against).is_some() || against == Against::Drained {
            self.group.turned();
        }
    }

    /// From now on this does not.
    pub fn forgive(&self, against: Against, now: Instant) {
        let turned = self.standing.forgive(against).is_some();
        if turned {
            self.added(now);
            // It may be another process by now, and what it was before is no reason to leave it alone.
            self.latency.forget();
        }
        if turned || against == Against::Drained {
            self.group.turned();
        }
    }

    /// Requests that it is serving.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Attempts that were begun.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Attempts that failed for this reason.
    pub fn failures(&self, reason: Reason) -> u64 {
        self.failures.get(reason.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Takes a verdict into account, and says once when it turns the backend.
    pub fn observe(&self, verdict: Verdict, thresholds: Thresholds, why: &str, now: Instant) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let turned = health.observe(verdict, thresholds);
        self.suspected.store(health.suspected(), Ordering::Relaxed);
        match turned {
            None => {}
            Some(Turned::Healthy) => {
                self.because(None);
                self.forgive(Against::Unreachable, now);
                log::info!(upstream = self.upstream, backend = self.backend; "backend turned healthy");
            }
            Some(Turned::Unhealthy) => {
                self.because(Some(why));
                self.hold(Against::Unreachable);
                log::warn!(upstream = self.upstream, backend = self.backend, why; "backend turned unhealthy");
                if let Some(asker) = &*self.asker.lock().unwrap_or_else(PoisonError::into_inner) {
                    asker.notify_waiters();
                }
            }
        }
        drop(health);
        self.judged.notify_waiters();
    }

    /// Why its health check took it out; none while that holds nothing against it.
    pub fn unfit_because(&self) -> Option<Box<str>> {
        self.unfit_because.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn because(&self, why: Option<&str>) {
        *self.unfit_because.lock().unwrap_or_else(PoisonError::into_inner) = why.map(Box::from);
    }

    /// Forgets all verdicts: it is taken for healthy until the next.
    pub fn forget_health(&self, now: Instant) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Health::default();
        self.suspected.store(false, Ordering::Relaxed);
        self.because(None);
        self.forgive(Against::Unreachable, now);
    }

    /// Whether failures are being counted against it though it is still healthy: then a success clears it.
    pub fn suspected(&self) -> bool {
        self.suspected.load(Ordering::Relaxed)
    }

    /// Whoever asks it how it is wants to know when it turns unhealthy.
    pub fn tell_of_turns(&self, asker: Arc<Notify>) {
        *self.asker.lock().unwrap_or_else(PoisonError::into_inner) = Some(asker);
    }

    /// Whether any verdict has been given.
    pub fn is_judged(&self) -> bool {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).judged()
    }

    /// Waits for the first verdict.
    pub async fn judged(&self) {
        loop {
            let notified = self.judged.notified();
            if self.is_judged() {
                return;
            }
            notified.await;
        }
    }

    /// Counts a failed attempt.
    pub fn count_failure(&self, reason: Reason) {
        if let Some(count) = self.failures.get(reason.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Owner for State {
    fn keeps_connections(&self) -> bool {
        !self.drained()
    }
}

/// Counts one more if that is not too many.
pub(super) fn take(count: &AtomicUsize, most: usize) -> bool {
    let more = |count: usize| (count < most).then(|| count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}
