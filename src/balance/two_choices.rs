//! The power of two choices (Mitzenmacher, 2001): two by chance, the better of them.
//!
//! Picking the best of all would send everybody who decides at the same moment to the same backend, and would have to
//! look at each; two are nearly as good and stampede nobody.

use fastrand::Rng;

use super::Random;

/// Two different ones of those that are accepted, by chance as weighted, and of these the second if it is better than
/// the first. Equals are thus shared as the weights say.
pub fn pick(
    random: &Random,
    rng: &mut Rng,
    accept: impl Fn(usize) -> bool,
    better: impl FnOnce(usize, usize) -> bool,
) -> Option<usize> {
    let first = random.pick(rng, &accept)?;
    if random.count() == 1 {
        return Some(first);
    }
    let second = random.pick(rng, |place| place != first && accept(place));
    Some(second.filter(|second| better(*second, first)).unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::members;
    use fastrand::Rng;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_worse_of_two_is_never_picked(
            weights in prop::collection::vec(1_u32..100, 1..12), costs in prop::collection::vec(0_u32..9, 12), seed: u64,
        ) {
            let (random, mut rng) = (Random::new(&members(&weights)), Rng::with_seed(seed));
            for _ in 0..200 {
                let compared = std::cell::Cell::new(None);
                let picked = pick(&random, &mut rng, |_| true, |second, first| {
                    compared.set(Some((second, first)));
                    costs[second] < costs[first]
                }).unwrap();
                match compared.get() {
                    Some((second, first)) => {
                        prop_assert_ne!(second, first);
                        prop_assert_eq!(costs[picked], costs[second].min(costs[first]));
                    }
                    None => prop_assert_eq!(weights.len(), 1),
                }
            }
        }

        #[test]
        fn one_that_is_out_is_never_picked_and_the_last_one_fit_always(fit in 0_usize..8, seed: u64) {
            let (random, mut rng) = (Random::new(&members(&[5; 8])), Rng::with_seed(seed));
            let picked = pick(&random, &mut rng, |place| place == fit, |_, _| true);
            prop_assert_eq!(picked, Some(fit));
            prop_assert_eq!(pick(&random, &mut rng, |_| false, |_, _| true), None);
        }
    }

    #[test]
    fn the_worst_of_all_is_never_picked_where_there_is_another() {
        let (random, mut rng) = (Random::new(&members(&[1, 1, 1])), Rng::with_seed(7));
        let better = |second: usize, first: usize| second < first;
        assert!((0..10_000).all(|_| pick(&random, &mut rng, |_| true, better) != Some(2)));
    }
}
