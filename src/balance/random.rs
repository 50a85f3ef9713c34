//! By chance, as weighted: the alias method (Vose, 1991), so that a pick costs the same for four members and for
//! ten thousand.

use fastrand::Rng;

use super::Member;

/// Blind tries before everybody is looked at: with half of the members out, one pick in 256 comes to that.
const TRIES: usize = 8;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Random {
    slots: Box<[Slot]>,
    /// Places with their weights, in the order of the slots.
    members: Box<[(usize, u32)]>,
}

/// A slot belongs to its own member up to a share, and to another above it.
#[derive(Clone, Copy, Debug)]
struct Slot {
    own: f64,
    other: u32,
}

impl Random {
    /// Over these members.
    pub fn new(members: &[Member]) -> Random {
        let members: Box<[(usize, u32)]> = members.iter().map(|member| (member.place, member.weight)).collect();
        let total: f64 = members.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let mut share: Vec<f64> =
            members.iter().map(|(_, weight)| f64::from(*weight) * members.len() as f64 / total).collect();
        let mut slots = vec![Slot { own: 1.0, other: 0 }; members.len()];
        let (mut poor, mut rich): (Vec<usize>, Vec<usize>) = (0..share.len()).partition(|at| below_one(&share, *at));
        while let (Some(taker), Some(giver)) = (poor.pop(), rich.last().copied()) {
            let (Some(own), Some(slot)) = (share.get(taker).copied(), slots.get_mut(taker)) else { break };
            *slot = Slot { own, other: u32::try_from(giver).unwrap_or(0) };
            if let Some(left) = share.get_mut(giver) {
                *left -= 1.0 - own;
            }
            if below_one(&share, giver) {
                rich.pop();
                poor.push(giver);
            }
        }
        Random { slots: slots.into(), members }
    }

    /// One of those that are accepted, each as likely as its weight; none if nobody is.
    pub fn pick(&self, rng: &mut Rng, accept: impl Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..TRIES {
            let place = self.sample(rng)?;
            if accept(place) {
                return Some(place);
            }
        }
        let mut total = 0;
        let mut picked = None;
        for (place, weight) in self.members.iter().filter(|(place, _)| accept(*place)) {
            total += u64::from(*weight);
            if rng.u64(0..total.max(1)) < u64::from(*weight) {
                picked = Some(*place);
            }
        }
        picked
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    fn sample(&self, rng: &mut Rng) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let at = rng.usize(0..self.slots.len());
        let slot = self.slots.get(at)?;
        let at = if rng.f64() < slot.own { at } else { slot.other as usize };
        self.members.get(at).map(|(place, _)| *place)
    }
}

fn below_one(share: &[f64], at: usize) -> bool {
    share.get(at).is_some_and(|share| *share < 1.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::balance::testing::members;
    use fastrand::Rng;
    use proptest::prelude::*;

    /// Of hundreds of cases with a dozen counts each, one in a hundred runs has one beyond this by chance.
    const OF_THOUSANDS: f64 = 5.0;

    /// Whether these counts are within three standard deviations of what the weights say.
    pub fn within_three_sigma(counts: &[usize], weights: &[u32]) -> bool {
        within(3.0, counts, weights)
    }

    fn within(deviations: f64, counts: &[usize], weights: &[u32]) -> bool {
        let picks: f64 = counts.iter().sum::<usize>() as f64;
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        counts.iter().zip(weights).all(|(count, weight)| {
            let share = f64::from(*weight) / total;
            let sigma = (picks * share * (1.0 - share)).sqrt();
            (*count as f64 - picks * share).abs() <= deviations * sigma + 1.0
        })
    }

    #[test]
    fn a_hundred_thousand_picks_are_within_three_deviations_of_the_weights() {
        let weights = [1, 2, 5, 100, 1000];
        let (random, mut rng) = (Random::new(&members(&weights)), Rng::with_seed(11));
        let mut counts = [0; 5];
        for _ in 0..100_000 {
            counts[random.pick(&mut rng, |_| true).unwrap()] += 1;
        }
        assert!(within_three_sigma(&counts, &weights), "{counts:?}");
    }

    proptest! {
        #[test]
        fn each_is_picked_as_often_as_its_weight_says(weights in prop::collection::vec(1_u32..1000, 1..12), seed: u64) {
            let (random, mut rng) = (Random::new(&members(&weights)), Rng::with_seed(seed));
            let mut counts = vec![0; weights.len()];
            for _ in 0..20_000 {
                counts[random.pick(&mut rng, |_| true).unwrap()] += 1;
            }
            prop_assert!(within(OF_THOUSANDS, &counts, &weights), "{:?} of {:?}", counts, weights);
        }

        #[test]
        fn those_that_are_accepted_share_as_their_weights_say_whoever_is_out(
            weights in prop::collection::vec(1_u32..100, 2..12), seed: u64, out: u16,
        ) {
            let (random, mut rng) = (Random::new(&members(&weights)), Rng::with_seed(seed));
            let fit = |place: usize| out & (1 << place) == 0;
            let left: Vec<u32> = weights.iter().enumerate().map(|(place, weight)| if fit(place) { *weight } else { 0 }).collect();
            let mut counts = vec![0; weights.len()];
            for _ in 0..5_000 {
                match random.pick(&mut rng, fit) {
                    Some(place) => counts[place] += 1,
                    None => prop_assert!(left.iter().all(|weight| *weight == 0)),
                }
            }
            if left.iter().any(|weight| *weight > 0) {
                prop_assert!(within(OF_THOUSANDS, &counts, &left), "{:?} of {:?}", counts, left);
            }
        }
    }
}
