//! Fewest requests in flight, relative to the weight.

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Requests that it is serving.
    pub in_flight: usize,
    /// Its weight; more than 0.
    pub weight: u32,
}

/// Whether `a` has fewer requests in flight for its weight than `b`.
pub fn better(a: Load, b: Load) -> bool {
    // a / weight of a < b / weight of b, without a division.
    let product = |count: usize, weight: u32| count as u128 * u128::from(weight);
    product(a.in_flight, b.weight) < product(b.in_flight, a.weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::random::tests::within_three_sigma;
    use crate::balance::testing::members;
    use crate::balance::{Random, two_choices};
    use fastrand::Rng;

    fn load(in_flight: usize, weight: u32) -> Load {
        Load { in_flight, weight }
    }

    #[test]
    fn twice_the_weight_carries_twice_the_requests() {
        assert!(better(load(1, 1), load(2, 1)));
        assert!(!better(load(4, 2), load(2, 1)) && !better(load(2, 1), load(4, 2)));
        assert!(better(load(3, 2), load(2, 1)));
    }

    #[test]
    fn idle_ones_share_as_their_weights_say_and_busy_ones_too() {
        let weights = [3, 1];
        let (random, mut rng) = (Random::new(&members(&weights)), Rng::with_seed(1));
        let mut in_flight = [0; 2];
        let mut counts = [0; 2];
        for _ in 0..10_000 {
            let better = |a: usize, b: usize| better(load(0, weights[a]), load(0, weights[b]));
            counts[two_choices::pick(&random, &mut rng, |_| true, better).unwrap()] += 1;
        }
        assert!(within_three_sigma(&counts, &weights), "{counts:?}");
        for _ in 0..400 {
            let better = |a: usize, b: usize| better(load(in_flight[a], weights[a]), load(in_flight[b], weights[b]));
            in_flight[two_choices::pick(&random, &mut rng, |_| true, better).unwrap()] += 1;
        }
        assert!(in_flight[0].abs_diff(300) <= 3, "{in_flight:?}");
    }
}
