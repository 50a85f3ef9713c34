//! The policy of an upstream at work: pingora's load balancers where the order alone counts, ours where load, latency
//! or a key does.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use fastrand::Rng;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, RoundRobin};
use pingora_load_balancing::{Backend as Candidate, Backends, Extensions, LoadBalancer};

use super::backend::Backend;
use crate::balance::peak_ewma::Tick;
use crate::balance::{
    Key, Maglev, Member, Random, RingHash, SmoothRoundRobin, least_request, peak_ewma, ring_hash, two_choices,
};
use crate::config::Balance;

/// Steps of a search per backend. pingora's fallback may name a backend twice while others pick, so a search
/// of one step each could miss one that is fit.
const STEPS_PER_BACKEND: usize = 4;

/// The places of backends by their addresses; those are the operator's, nobody can choose them so that they collide.
pub type Places = HashMap<SocketAddr, usize, FixedState>;

/// A closed set. Round robin is pingora's own where all weights are equal, ours where they are not.
pub enum Selector {
    /// No backend has a weight.
    Nobody,
    /// Equal weights.
    RoundRobin(Box<LoadBalancer<RoundRobin>>),
    /// Different weights.
    SmoothRoundRobin(Box<LoadBalancer<SmoothRoundRobin>>),
    /// By chance.
    Random(Random),
    /// The less busy of two.
    LeastRequest(Random),
    /// The quicker of two; with the mean of the weights.
    PeakEwma(Random, f32),
    /// By key; by chance without.
    RingHash(RingHash, Random),
    /// By key; by chance without.
    Maglev(Maglev, Random),
}

/// What a pick may look at.
#[derive(Debug)]
pub struct Sight<'a> {
    /// Those that the places stand for.
    pub backends: &'a [Arc<Backend>],
    /// The places of their addresses.
    pub by_address: &'a Places,
    /// Requests in flight at all of them.
    pub in_flight: usize,
    /// What the request is hashed by, if it has it.
    pub key: Option<Key>,
    /// The time, as latencies count it.
    pub now: Tick,
}

impl Selector {
    /// Over the backends at these places, all of which have a weight.
    pub fn new(balance: &Balance, backends: &[Arc<Backend>], places: &[usize]) -> Selector {
        let placed = || places.iter().filter_map(|place| Some((*place, backends.get(*place)?)));
        let members: Vec<Member> = placed()
            .map(|(place, backend)| Member { place, weight: backend.weight, name: backend.name.clone() })
            .collect();
        if members.is_empty() {
            return Selector::Nobody;
        }
        let random = Random::new(&members);
        match balance {
            Balance::RoundRobin => Selector::in_turn(placed().map(|(_, backend)| backend).collect()),
            Balance::Random => Selector::Random(random),
            Balance::LeastRequest => Selector::LeastRequest(random),
            Balance::PeakEwma => {
                let total: f32 = members.iter().map(|member| member.weight as f32).sum();
                Selector::PeakEwma(random, total / members.len() as f32)
            }
            Balance::RingHash(_) => Selector::RingHash(RingHash::new(&members), random),
            Balance::Maglev(_) => Selector::Maglev(Maglev::new(&members), random),
        }
    }

    fn in_turn(weighted: Vec<&Arc<Backend>>) -> Selector {
        let equal = weighted.iter().map(|backend| backend.weight).collect::<BTreeSet<u32>>().len() == 1;
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

    /// The place that the policy picks among those that are accepted; none if nobody is.
    pub fn select(&self, sight: &Sight<'_>, rng: &mut Rng, accept: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Selector::Nobody => None,
            Selector::RoundRobin(balancer) => sight.in_turn(balancer, accept),
            Selector::SmoothRoundRobin(balancer) => sight.in_turn(balancer, accept),
            Selector::Random(random) => random.pick(rng, accept),
            Selector::LeastRequest(random) => {
                two_choices::pick(random, rng, accept, |second, first| sight.less_busy(second, first))
            }
            Selector::PeakEwma(random, mean) => {
                two_choices::pick(random, rng, accept, |second, first| sight.quicker(second, first, *mean))
            }
            Selector::RingHash(ring, random) => match sight.key {
                Some(key) => {
                    let loads = ring_hash::Loads { of: |place| sight.in_flight_at(place), total: sight.in_flight };
                    ring.pick(key, accept, loads)
                }
                None => random.pick(rng, accept),
            },
            Selector::Maglev(maglev, random) => match sight.key {
                Some(key) => maglev.pick(key, accept),
                None => random.pick(rng, accept),
            },
        }
    }
}

impl Sight<'_> {
    fn in_turn<S>(&self, balancer: &LoadBalancer<S>, accept: impl Fn(usize) -> bool) -> Option<usize>
    where
        S: BackendSelection + 'static,
        S::Iter: BackendIter,
    {
        let picked = Cell::new(None);
        let steps = self.backends.len().saturating_mul(STEPS_PER_BACKEND);
        balancer.select_with(b"", steps, |candidate, _| {
            picked.set(self.by_address.get(&candidate.addr).copied().filter(|place| accept(*place)));
            picked.get().is_some()
        })?;
        picked.get()
    }

    fn in_flight_at(&self, place: usize) -> usize {
        self.backends.get(place).map_or(0, |backend| backend.state.in_flight())
    }

    fn less_busy(&self, a: usize, b: usize) -> bool {
        let load = |place: usize| {
            let backend = self.backends.get(place)?;
            Some(least_request::Load { in_flight: backend.state.in_flight(), weight: backend.weight })
        };
        load(a).zip(load(b)).is_some_and(|(a, b)| least_request::better(a, b))
    }

    fn quicker(&self, a: usize, b: usize, mean: f32) -> bool {
        let load = |place: usize| {
            let backend = self.backends.get(place)?;
            Some(peak_ewma::Load {
                seconds: backend.state.latency.seconds(self.now),
                in_flight: backend.state.in_flight(),
                weight: backend.weight as f32 / mean,
            })
        };
        load(a).zip(load(b)).is_some_and(|(a, b)| peak_ewma::better(a, b))
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Selector::Nobody => "Nobody",
            Selector::RoundRobin(_) => "RoundRobin",
            Selector::SmoothRoundRobin(_) => "SmoothRoundRobin",
            Selector::Random(_) => "Random",
            Selector::LeastRequest(_) => "LeastRequest",
            Selector::PeakEwma(..) => "PeakEwma",
            Selector::RingHash(..) => "RingHash",
            Selector::Maglev(..) => "Maglev",
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
