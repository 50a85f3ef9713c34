//! Backends of the same tier with the selector over them, and how many of them are fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::backend::Backend;
use super::selector::Selector;
use crate::balance::tiers::Fit;
use crate::config::Balance;

/// See the module's documentation.
#[derive(Debug)]
pub struct Tier {
    /// As the configuration numbers it.
    pub number: u32,
    /// Who is picked.
    pub selector: Selector,
    /// Those that have a weight.
    places: Box<[usize]>,
    /// How many were fit (16 bits) of how many that were not drained (16 bits; there are not more backends) after so many
    /// turns (high half): counted again only when somebody has turned.
    counted: AtomicU64,
}

impl Tier {
    /// The tiers of these backends, lowest first; at least one.
    pub fn all(balance: &Balance, backends: &[Arc<Backend>]) -> Box<[Tier]> {
        let mut numbers: Vec<u32> =
            backends.iter().filter(|backend| backend.weight > 0).map(|backend| backend.tier).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|number| Tier::new(number, balance, backends)).collect()
    }

    fn new(number: u32, balance: &Balance, backends: &[Arc<Backend>]) -> Tier {
        let of_tier = |(_, backend): &(usize, &Arc<Backend>)| backend.tier == number && backend.weight > 0;
        let places: Box<[usize]> = backends.iter().enumerate().filter(of_tier).map(|(place, _)| place).collect();
        Tier { number, selector: Selector::new(balance, backends, &places), places, counted: AtomicU64::new(u64::MAX) }
    }

    /// How many are fit; `turns` counts how often anybody of the upstream has turned.
    pub fn fit(&self, backends: &[Arc<Backend>], turns: u32) -> Fit {
        let counted = self.counted.load(Ordering::Relaxed);
        if counted >> 32 == u64::from(turns) && counted != u64::MAX {
            let half = |bits: u64| usize::from(bits as u16);
            return Fit { fit: half(counted), of: half(counted >> 16) };
        }
        let states = || self.places.iter().filter_map(|place| Some(&backends.get(*place)?.state));
        let fit = states().filter(|state| state.is_fit()).count();
        let of = states().filter(|state| !state.drained()).count();
        self.counted.store(u64::from(turns) << 32 | (of as u64) << 16 | fit as u64, Ordering::Relaxed);
        Fit { fit, of }
    }
}
