//! Weighted round robin without bursts, as a selection of pingora's.
//!
//! The order is that of nginx's smooth weighted round robin (phusion's description: in each step every
//! backend gains its weight, the richest is picked and pays the sum of all), computed once when membership
//! turns; a pick is one increment of a shared counter. pingora's own `RoundRobin` expands weights 5, 1 to
//! AAAAAB; here it is AAABAA, and 3, 1, 1 gives ABACA.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};

/// The longest order that is computed. Weights whose sum (after division by their common divisor) is larger
/// are scaled down to it, each to at least 1: their ratios are then off by less than one part in this.
const LONGEST_ORDER: usize = 1 << 16;

/// See the module's documentation.
#[derive(Debug)]
pub struct SmoothRoundRobin {
    backends: Box<[Backend]>,
    /// Indexes into `backends`.
    order: Box<[u16]>,
    next: AtomicUsize,
}

impl BackendSelection for SmoothRoundRobin {
    type Iter = SmoothIter;
    type Config = ();

    /// Backends of weight 0 are left out. Beyond 65,535 backends the rest is left out.
    fn build(backends: &BTreeSet<Backend>) -> Self {
        let backends: Box<[Backend]> =
            backends.iter().filter(|backend| backend.weight > 0).take(usize::from(u16::MAX)).cloned().collect();
        let weights: Vec<usize> = backends.iter().map(|backend| backend.weight).collect();
        SmoothRoundRobin { order: order(&weights), backends, next: AtomicUsize::new(0) }
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> SmoothIter {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let picked = self.order.get(turn % self.order.len().max(1)).map(|index| usize::from(*index));
        SmoothIter { selection: self.clone(), turn, picked, offered: 0 }
    }
}

/// The pick first, then every other backend once, beginning at another one each turn: so a fit one is found in
/// as many steps as there are backends, and the share of one that is out goes to all others alike.
#[derive(Debug)]
pub struct SmoothIter {
    selection: Arc<SmoothRoundRobin>,
    turn: usize,
    picked: Option<usize>,
    /// Backends looked at after the pick, the pick among them.
    offered: usize,
}

impl BackendIter for SmoothIter {
    fn next(&mut self) -> Option<&Backend> {
        let backends = &self.selection.backends;
        let picked = self.picked?;
        if self.offered == 0 {
            self.offered = 1;
            return backends.get(picked);
        }
        while self.offered <= backends.len() {
            let index = self.turn.wrapping_add(self.offered) % backends.len();
            self.offered += 1;
            if index != picked {
                return backends.get(index);
            }
        }
        None
    }
}

/// One period: each index as often as its weight says, spread as evenly as the algorithm spreads.
fn order(weights: &[usize]) -> Box<[u16]> {
    let weights = scaled(weights);
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0_i64; weights.len()];
    let mut order = Vec::new();
    for _ in 0..total {
        let mut richest: Option<(usize, i64)> = None;
        for (index, (credit, weight)) in credit.iter_mut().zip(&weights).enumerate() {
            *credit += weight;
            if richest.is_none_or(|(_, most)| *credit > most) {
                richest = Some((index, *credit));
            }
        }
        let Some((index, _)) = richest else { break };
        if let Some(credit) = credit.get_mut(index) {
            *credit -= total;
        }
        order.push(u16::try_from(index).unwrap_or(u16::MAX));
    }
    order.into_boxed_slice()
}

fn scaled(weights: &[usize]) -> Vec<i64> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let sum: u128 = weights.iter().map(|weight| (weight / divisor) as u128).sum();
    let limit = LONGEST_ORDER as u128;
    weights
        .iter()
        .map(|weight| {
            let weight = (weight / divisor) as u128;
            let scaled = if sum > limit { (weight * limit / sum).max(1) } else { weight };
            i64::try_from(scaled).unwrap_or(i64::MAX)
        })
        .collect()
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn backends(weights: &[usize]) -> BTreeSet<Backend> {
        let backend = |(index, weight): (usize, &usize)| {
            Backend::new_with_weight(&format!("10.0.{}.{}:80", index / 250, index % 250 + 1), *weight).unwrap()
        };
        weights.iter().enumerate().map(backend).collect()
    }

    #[test]
    fn weights_three_one_one_never_give_the_heavy_one_three_times_in_a_row() {
        let order = order(&[3, 1, 1]);
        let twice: Vec<u16> = order.iter().chain(order.iter()).copied().collect();
        assert_eq!(&order[..], &[0, 1, 0, 2, 0]);
        assert!(twice.windows(3).all(|three| three != [0, 0, 0]));
    }

    #[test]
    fn weights_of_zero_take_nothing_and_do_not_panic() {
        let selection = Arc::new(SmoothRoundRobin::build(&backends(&[0, 0])));
        assert!(selection.iter(b"").next().is_none());
        let selection = Arc::new(SmoothRoundRobin::build(&backends(&[0, 2, 0, 1])));
        let picked: Vec<usize> = (0..6).map(|_| selection.iter(b"").next().unwrap().weight).collect();
        assert_eq!(picked, [2, 1, 2, 2, 1, 2]);
    }

    #[test]
    fn nobody_is_asked_for_an_order_of_four_thousand_million_steps() {
        let order = order(&[u32::MAX as usize, 1, u32::MAX as usize - 1]);
        assert!(order.len() <= LONGEST_ORDER + 3);
        assert!(order.contains(&1));
    }

    proptest! {
        #[test]
        fn in_one_period_each_backend_is_picked_as_often_as_its_weight(weights in prop::collection::vec(0_usize..20, 1..12)) {
            let selection = Arc::new(SmoothRoundRobin::build(&backends(&weights)));
            let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
            let period: usize = weights.iter().map(|weight| weight / divisor).sum();
            let mut counts = std::collections::BTreeMap::new();
            for _ in 0..period * 3 {
                let address = selection.iter(b"").next().unwrap().addr.to_string();
                *counts.entry(address).or_insert(0) += 1;
            }
            for backend in backends(&weights) {
                let expected = backend.weight / divisor * 3;
                prop_assert_eq!(counts.get(&backend.addr.to_string()).copied().unwrap_or(0), expected);
            }
        }

        #[test]
        fn a_backend_that_is_fit_is_found_whatever_the_weights_and_whoever_is_out(
            weights in prop::collection::vec(1_usize..1000, 1..12), fit in 0_usize..12, turns in 0_usize..50,
        ) {
            let backends = backends(&weights);
            let fit = backends.iter().nth(fit % backends.len()).unwrap().addr.clone();
            let selection = Arc::new(SmoothRoundRobin::build(&backends));
            for _ in 0..turns {
                selection.iter(b"").next();
            }
            let mut offers = selection.iter(b"");
            let mut seen = std::collections::BTreeSet::new();
            while let Some(backend) = offers.next() {
                prop_assert!(seen.insert(backend.addr.clone()), "offered twice");
            }
            prop_assert_eq!(seen.len(), backends.len());
            prop_assert!(seen.contains(&fit));
        }

        #[test]
        fn at_no_time_does_a_backend_run_ahead_of_its_share_by_more_than_one_turn(weights in prop::collection::vec(1_usize..20, 1..8)) {
            let order = order(&weights);
            let scaled = scaled(&weights);
            let total: i64 = scaled.iter().sum();
            let mut counts = vec![0_i64; weights.len()];
            for (step, index) in order.iter().enumerate() {
                counts[usize::from(*index)] += 1;
                for (count, weight) in counts.iter().zip(&scaled) {
                    let ahead = count * total - weight * (step as i64 + 1);
                    prop_assert!(ahead.abs() <= total * 2, "{ahead} of {total}");
                }
            }
        }
    }
}
