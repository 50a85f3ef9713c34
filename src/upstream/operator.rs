//! What an operator has decided about a backend: to take no more requests, to take another share.
//!
//! It is kept beside what is learnt, by address, until it is taken back: it outlives reloads and upgrades, and no check
//! changes it. Deliberately absent: ending what is in flight.

use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::Upstream;
use super::standing::Against;

/// The weight is the file's.
const UNSET: u32 = u32::MAX;

/// The share that an operator gave a backend. That it is drained stands [against](Against::Drained) it.
#[derive(Debug)]
pub struct Operator {
    weight: AtomicU32,
}

impl Default for Operator {
    fn default() -> Operator {
        Operator { weight: AtomicU32::new(UNSET) }
    }
}

impl Operator {
    /// Its share, if it is not that of the file.
    pub fn weight(&self) -> Option<u32> {
        Some(self.weight.load(Ordering::Relaxed)).filter(|weight| *weight != UNSET)
    }

    /// Gives it a share, or that of the file, from the next rules on. The result is what was set before.
    pub fn weigh(&self, weight: Option<u32>) -> Option<u32> {
        Some(self.weight.swap(weight.unwrap_or(UNSET), Ordering::Relaxed)).filter(|weight| *weight != UNSET)
    }
}

/// What was decided about one backend, as it is handed to a successor.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    upstream: String,
    backend: String,
    drained: bool,
    weight: Option<u32>,
}

/// All that was decided.
pub fn decisions<'a>(upstreams: impl IntoIterator<Item = &'a Upstream>) -> Vec<Decision> {
    let of_upstream = |upstream: &'a Upstream| {
        upstream.backends.iter().filter_map(|backend| {
            let (drained, weight) = (backend.state.drained(), backend.state.operator.weight());
            (drained || weight.is_some()).then(|| Decision {
                upstream: upstream.name.clone(),
                backend: backend.name.clone(),
                drained,
                weight,
            })
        })
    };
    upstreams.into_iter().flat_map(of_upstream).collect()
}

/// Whether what was decided can be had by looking at backends anew, or their shares must be computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in force.
    AtOnce,
    /// It is in force once the upstreams are built again.
    WhenRebuilt,
}

/// Takes over what was decided before; what is about backends that are no more is forgotten.
pub fn take_over<'a>(upstreams: impl IntoIterator<Item = &'a Upstream>, decisions: &[Decision]) -> Taken {
    let mut taken = Taken::AtOnce;
    for upstream in upstreams {
        for decision in decisions.iter().filter(|decision| decision.upstream == upstream.name) {
            let Some(backend) = upstream.backends.iter().find(|backend| backend.name == decision.backend) else {
                continue;
            };
            if decision.drained {
                backend.state.hold(Against::Drained);
            }
            if decision.weight.is_some() {
                backend.state.operator.weigh(decision.weight);
                taken = Taken::WhenRebuilt;
            }
        }
    }
    taken
}
