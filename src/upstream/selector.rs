//! The policy of an upstream over pingora's load balancers.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, RoundRobin};
use pingora_load_balancing::{Backend as Candidate, Backends, Extensions, LoadBalancer};

use super::backend::Backend;
use crate::balance::SmoothRoundRobin;

/// Steps of a search per backend. pingora's fallback may name a backend twice while others pick, so a search
/// of one step each could miss one that is fit.
const STEPS_PER_BACKEND: usize = 4;

/// A closed set: pingora's own round robin where all weights are equal, ours where they are not.
pub enum Selector {
    /// No backend has a weight.
    Nobody,
    /// Equal weights.
    RoundRobin(Box<LoadBalancer<RoundRobin>>),
    /// Different weights.
    SmoothRoundRobin(Box<LoadBalancer<SmoothRoundRobin>>),
}

impl Selector {
    /// Over those backends that have a weight.
    pub fn new(backends: &[Arc<Backend>]) -> Selector {
        let weighted: Vec<&Arc<Backend>> = backends.iter().filter(|backend| backend.weight > 0).collect();
        let Some(first) = weighted.first() else { return Selector::Nobody };
        let equal = weighted.iter().all(|backend| backend.weight == first.weight);
        let candidates = weighted
            .iter()
            .map(|backend| Candidate {
                addr: backend.peer._address.clone(),
                weight: if equal { 1 } else { backend.weight as usize },
                ext: Extensions::new(),
            })
            .collect();
        if equal {
            Selector::RoundRobin(Box::new(load_balancer(candidates)))
        } else {
            Selector::SmoothRoundRobin(Box::new(load_balancer(candidates)))
        }
    }

    /// The first backend that is accepted, in the order of the policy.
    pub fn select(&self, backends: usize, accept: impl Fn(&Candidate) -> bool) -> Option<SocketAddr> {
        let steps = backends.saturating_mul(STEPS_PER_BACKEND);
        let picked = match self {
            Selector::Nobody => None,
            Selector::RoundRobin(balancer) => balancer.select_with(b"", steps, |candidate, _| accept(candidate)),
            Selector::SmoothRoundRobin(balancer) => balancer.select_with(b"", steps, |candidate, _| accept(candidate)),
        };
        picked.map(|candidate| candidate.addr)
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Selector::Nobody => "Nobody",
            Selector::RoundRobin(_) => "RoundRobin",
            Selector::SmoothRoundRobin(_) => "SmoothRoundRobin",
        })
    }
}

fn load_balancer<S>(candidates: BTreeSet<Candidate>) -> LoadBalancer<S>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let balancer = LoadBalancer::from_backends(Backends::new(Static::new(candidates)));
    // A static discovery is ready at once; the balancer takes its backends in its first update.
    match futures_now(balancer.update()) {
        Some(Ok(())) => {}
        Some(Err(_)) | None => debug_assert!(false, "a static discovery neither waits nor fails"),
    }
    balancer
}

/// Polls a future that is known to be ready.
fn futures_now<F: Future>(future: F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
