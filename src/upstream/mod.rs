//! Upstreams: backends that serve one purpose, with one policy.
//!
//! An [`Upstream`] is immutable but for what is learnt; the list of backends, the selector over it and the
//! way back from an address to the list are one value, built when the configuration turns.

pub mod backend;
pub mod health;
pub mod health_check;
pub mod operator;
pub mod resolve;
mod retry_budget;
mod selector;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use pingora_core::protocols::l4::socket::SocketAddr;

use self::backend::{Backend, InFlight, State};
use self::health::Thresholds;
use self::resolve::Resolved;
use self::retry_budget::RetryBudget;
use self::selector::Selector;
use crate::config;

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
    selector: Selector,
    by_address: HashMap<SocketAddr, usize>,
}

/// What is kept of an upstream when its configuration changes.
#[derive(Debug, Default)]
pub struct UpstreamState {
    requests: AtomicU64,
    retries: AtomicU64,
    retries_refused: AtomicU64,
    budget: Mutex<RetryBudget>,
}

impl UpstreamState {
    /// Requests that were tried again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Requests that were not tried again because the budget was used up.
    pub fn retries_refused(&self) -> u64 {
        self.retries_refused.load(Ordering::Relaxed)
    }
}

/// Whether a backend takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Fit,
    /// Checks or attempts say that it cannot.
    Unhealthy,
    /// An operator has said that it shall not.
    Drained,
}

impl Standing {
    /// The word for it.
    pub const fn token(self) -> &'static str {
        match self {
            Standing::Fit => "fit",
            Standing::Unhealthy => "unhealthy",
            Standing::Drained => "drained",
        }
    }
}

/// Backends that a request has been sent to, so that another is preferred next time.
///
/// The first needs no allocation: most requests are sent once.
#[derive(Debug, Default)]
pub struct Tried {
    first: Option<usize>,
    more: Vec<usize>,
}

impl Tried {
    /// Remembers a backend.
    pub fn add(&mut self, index: usize) {
        if self.first.is_none() {
            self.first = Some(index);
        } else {
            self.more.push(index);
        }
    }

    fn contains(&self, index: usize) -> bool {
        self.first == Some(index) || self.more.contains(&index)
    }
}

impl Upstream {
    /// Builds an upstream from backends whose names have been resolved, keeping what `former` has learnt.
    pub fn new(config: config::Upstream, resolved: &[Resolved], former: Option<&Upstream>) -> Upstream {
        let known: HashMap<&SocketAddr, &Arc<State>> = former
            .map(|former| {
                former
                    .by_address
                    .iter()
                    .filter_map(|(at, index)| Some((at, &former.backends.get(*index)?.state)))
                    .collect()
            })
            .unwrap_or_default();
        let mut by_address = HashMap::new();
        let mut backends: Vec<Arc<Backend>> = Vec::new();
        for Resolved { address, weight } in resolved {
            if by_address.contains_key(address) {
                continue;
            }
            by_address.insert(address.clone(), backends.len());
            let name = resolve::display(address);
            let state =
                known.get(address).map_or_else(|| Arc::new(State::new(&config.name, &name)), |known| (*known).clone());
            let peer = crate::forward::peer::template(address, &config.timeouts);
            let weight = state.operator.weight().unwrap_or(*weight);
            backends.push(Arc::new(Backend { name, weight, peer, state }));
        }
        Upstream {
            name: config.name.clone(),
            selector: Selector::new(&backends),
            state: former.map(|former| former.state.clone()).unwrap_or_default(),
            by_address,
            backends,
            config,
        }
    }

    /// Counts a request, which earns its share of the retry budget.
    pub fn count_request(&self) {
        self.state.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether any backend could be picked now.
    pub fn has_fit(&self) -> bool {
        self.backends.iter().any(|backend| backend.weight > 0 && self.is_fit(backend))
    }

    fn is_fit(&self, backend: &Backend) -> bool {
        self.standing(backend) == Standing::Fit
    }

    /// Whether a backend takes requests, and if not, why. One whose health nobody watches is taken for healthy.
    pub fn standing(&self, backend: &Backend) -> Standing {
        if backend.state.operator.drained() {
            Standing::Drained
        } else if self.config.health_check.is_some() && !backend.state.healthy() {
            Standing::Unhealthy
        } else {
            Standing::Fit
        }
    }

    /// Picks a backend and begins an attempt: a healthy one that was not tried yet, else a healthy one.
    pub fn pick(&self, tried: &Tried) -> Option<InFlight> {
        let fit = |index: usize| self.backends.get(index).is_some_and(|backend| self.is_fit(backend));
        let index = self
            .select(|index| fit(index) && !tried.contains(index))
            .or_else(|| if tried.first.is_none() { None } else { self.select(fit) })?;
        Some(InFlight::begin(self.backends.get(index)?.clone(), index))
    }

    fn select(&self, accept: impl Fn(usize) -> bool) -> Option<usize> {
        let index = |address: &SocketAddr| self.by_address.get(address).copied();
        let picked = self.selector.select(self.backends.len(), |backend| index(&backend.addr).is_some_and(&accept))?;
        index(&picked)
    }

    /// Whether the budget allows one more retry; takes it from the budget if so. Where the upstream has no budget, since
    /// only some of its routes retry, it is the default.
    pub fn take_retry(&self, now: Instant) -> bool {
        let share = self.config.retry.unwrap_or_default().budget;
        let requests = self.state.requests.load(Ordering::Relaxed);
        let mut budget = self.state.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = budget.take(requests, share, now);
        let counter = if taken { &self.state.retries } else { &self.state.retries_refused };
        counter.fetch_add(1, Ordering::Relaxed);
        taken
    }

    /// How many verdicts turn a backend; none if its health is not watched.
    pub fn thresholds(&self) -> Option<Thresholds> {
        self.config
            .health_check
            .as_ref()
            .map(|check| Thresholds { healthy_after: check.healthy_after, unhealthy_after: check.unhealthy_after })
    }
}
