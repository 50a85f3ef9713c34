//! Upstreams: backends that serve one purpose, with one policy.
//!
//! An [`Upstream`] is immutable but for what is learnt; the list of backends, the selector over it and the
//! way back from an address to the list are one value, built when the configuration turns.

mod answer_times;
pub mod backend;
pub mod concurrency;
pub mod conduct;
mod counts;
mod hash_key;
pub mod health;
pub mod health_check;
mod hedge;
pub mod in_flight;
mod latency;
pub mod operator;
pub mod outcome;
mod pick;
mod probe;
pub mod queue;
pub mod resolve;
mod retry_budget;
mod selector;
pub mod standing;
pub mod sticky;
mod tier;
mod watch;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pingora::upstreams::peer::Peer as _;
use pingora_core::protocols::l4::socket::SocketAddr;

use self::answer_times::AnswerTimes;
use self::backend::{Backend, State};
use self::concurrency::{Began, Concurrency};
pub use self::hash_key::Hashable;
use self::health::Thresholds;
use self::hedge::Hedges;
pub use self::hedge::UnderWay;
use self::outcome::Outcome;
use self::pick::Panic;
pub use self::pick::{Arrival, Ceilings, NoPick, Tried};
use self::resolve::Resolved;
use self::retry_budget::RetryBudget;
use self::selector::Places;
use self::sticky::{Secret, Sticky};
use self::tier::Tier;
pub use self::watch::TICK;
use crate::balance::peak_ewma::Tick;
use crate::config;
use crate::forward::peer;
use crate::forward::tls::ClientTls;

/// See the module's documentation.
#[derive(Debug)]
pub struct Upstream {
    /// Name in the configuration.
    pub name: String,
    /// What was configured.
    pub config: config::Upstream,
    /// In file order, names with several addresses expanded.
    pub backends: Vec<Arc<Backend>>,
    /// What is counted and kept for the whole upstream.
    pub state: Arc<UpstreamState>,
    /// The cookies of clients that stay; none if they do not.
    pub sticky: Option<Sticky>,
    /// By number.
    pub tiers: Box<[Tier]>,
    by_address: Places,
}

/// What is kept of an upstream when its configuration changes.
#[derive(Debug)]
pub struct UpstreamState {
    /// When ticks began.
    began: Instant,
    in_flight: AtomicUsize,
    /// Those of them that have become tunnels.
    tunnels: AtomicUsize,
    /// The most that may be in flight at one backend, and at all.
    most_each: AtomicUsize,
    most: AtomicUsize,
    /// Those who wait for room.
    pub queue: queue::Queue,
    /// How many are found to be carried at once; made when it is first configured.
    concurrency: OnceLock<Box<Concurrency>>,
    /// How often any backend has turned fit or unfit.
    turns: AtomicU32,
    /// What the conduct of its backends has in common.
    pub conduct: conduct::Group,
    /// Whether health is ignored.
    pub panic: Panic,
    /// How long answers took lately.
    pub answer_times: AnswerTimes,
    /// How hedges went.
    pub hedges: Hedges,
    /// Requests that were served, which earn the budget of retries.
    served: AtomicU64,
    retries: AtomicU64,
    retries_refused: AtomicU64,
    budget: Mutex<RetryBudget>,
}

impl UpstreamState {
    fn new(now: Instant) -> UpstreamState {
        UpstreamState {
            began: now,
            in_flight: AtomicUsize::new(0),
            tunnels: AtomicUsize::new(0),
            most_each: AtomicUsize::new(Ceilings::NONE.each),
            most: AtomicUsize::new(Ceilings::NONE.all),
            queue: queue::Queue::default(),
            concurrency: OnceLock::new(),
            turns: AtomicU32::new(0),
            conduct: conduct::Group::default(),
            panic: Panic::default(),
            answer_times: AnswerTimes::new(now),
            hedges: Hedges::default(),
            served: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            retries_refused: AtomicU64::new(0),
            budget: Mutex::default(),
        }
    }

    /// The time as latencies count it.
    pub fn tick(&self, now: Instant) -> Tick {
        // Wraps around after 49 days, as ticks may.
        self.milliseconds(now) as Tick
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Requests in flight at all backends.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn begin_attempt(&self, most: usize) -> bool {
        backend::take(&self.in_flight, most.saturating_add(self.tunnels.load(Ordering::Relaxed)))
    }

    fn end_attempt(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.queue.call();
    }

    fn has_room(&self, ceilings: Ceilings) -> bool {
        self.under_ceilings() < ceilings.all
    }

    /// Requests in flight that take a place under the ceilings: all but tunnels.
    fn under_ceilings(&self) -> usize {
        self.in_flight().saturating_sub(self.tunnels.load(Ordering::Relaxed))
    }

    /// What an attempt finds that has just begun.
    fn began(&self) -> Began {
        match self.concurrency.get() {
            Some(concurrency) if concurrency.is_quiet(self.under_ceilings()) => Began::AmongFew,
            Some(_) | None => Began::AmongOthers,
        }
    }

    /// An attempt took so long, and ended so, if it ended.
    fn observe(&self, outcome: Option<Outcome>, took: Duration, began: Began) {
        if outcome == Some(Outcome::Served) {
            self.served.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(concurrency) = self.concurrency.get() {
            concurrency.observe(outcome, took, began);
        }
    }

    /// How many may be in flight.
    pub fn ceilings(&self) -> Ceilings {
        let [each, all] = [&self.most_each, &self.most].map(|most| most.load(Ordering::Relaxed));
        Ceilings { each, all }
    }

    fn set_ceilings(&self, ceilings: Ceilings) {
        self.most_each.store(ceilings.each, Ordering::Relaxed);
        self.most.store(ceilings.all, Ordering::Relaxed);
    }

    /// A backend has turned: whatever was counted must be counted again.
    fn turned(&self) {
        self.turns.fetch_add(1, Ordering::Release);
    }

    fn turns(&self) -> u32 {
        self.turns.load(Ordering::Acquire)
    }

    /// Requests that were tried again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Requests that were not tried again because the budget was used up.
    pub fn retries_refused(&self) -> u64 {
        self.retries_refused.load(Ordering::Relaxed)
    }
}

impl Upstream {
    /// Builds an upstream from backends whose names have been resolved, keeping what `former` has learnt.
    pub fn new(
        config: config::Upstream,
        resolved: &[Resolved],
        tls: Option<&ClientTls>,
        former: Option<&Upstream>,
        now: Instant,
    ) -> Upstream {
        let known: HashMap<&SocketAddr, &Arc<State>> = former
            .map(|former| {
                former
                    .by_address
                    .iter()
                    .filter_map(|(at, index)| Some((at, &former.backends.get(*index)?.state)))
                    .collect()
            })
            .unwrap_or_default();
        let state = former.map_or_else(|| Arc::new(UpstreamState::new(now)), |former| former.state.clone());
        let mut by_address = Places::default();
        let mut backends: Vec<Arc<Backend>> = Vec::new();
        for Resolved { address, host, weight, tier } in resolved {
            if by_address.contains_key(address) {
                continue;
            }
            by_address.insert(address.clone(), backends.len());
            let name = resolve::display(address);
            let state = known.get(address).map_or_else(
                || {
                    let added = State::new(state.clone(), &config.name, &name);
                    if former.is_some() {
                        added.added(now);
                    }
                    Arc::new(added)
                },
                |known| (*known).clone(),
            );
            let peer = peer::template(address, &config, tls.map(|tls| (tls, host.as_str())));
            let weight = state.operator.weight().unwrap_or(*weight);
            backends.push(Arc::new(Backend {
                name,
                weight,
                tier: *tier,
                outlier: config.outlier_detection,
                health_is_watched: config.health_check.is_some(),
                connections: peer.reuse_hash(),
                peer,
                state,
            }));
        }
        Upstream {
            name: config.name.clone(),
            sticky: None,
            tiers: Tier::all(&config.balance, &backends),
            state,
            by_address,
            backends,
            config,
        }
    }

    /// Clients stay at its backends, if it is so configured, by cookies that are signed with this secret.
    pub fn signed_with(self, secret: &Secret) -> Upstream {
        let sticky = self.config.sticky.as_ref().map(|cookie| Sticky::new(cookie, secret, &self.backends));
        Upstream { sticky, ..self }
    }

    /// Whether the budget allows one more retry; takes it from the budget if so.
    pub fn take_retry(&self, now: Instant) -> bool {
        let taken = self.draw(now);
        let counter = if taken { &self.state.retries } else { &self.state.retries_refused };
        counter.fetch_add(1, Ordering::Relaxed);
        taken
    }

    /// Draws one attempt more than the first from the budget, if it allows that. Where the upstream has no budget, since only
    /// some of its routes retry, it is the default.
    fn draw(&self, now: Instant) -> bool {
        let share = self.config.retry.unwrap_or_default().budget;
        let served = self.state.served.load(Ordering::Relaxed);
        let mut budget = self.state.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.take(served, share, now)
    }

    /// How many verdicts turn a backend; none if its health is not watched.
    pub fn thresholds(&self) -> Option<Thresholds> {
        self.config
            .health_check
            .as_ref()
            .map(|check| Thresholds { healthy_after: check.healthy_after, unhealthy_after: check.unhealthy_after })
    }
}
