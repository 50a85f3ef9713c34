//! Which tier serves, and whether health is heeded there.
//!
//! The first tier serves in which enough are fit. Where no tier has enough, something is wrong with more than a few
//! backends, or with those who judge them; to send everything to the few that are left would bring them down too. Then
//! the tier that has the most serves, and health is ignored there (Envoy's panic threshold).

use crate::units::Percent;

/// How many of a tier are fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// So many.
    pub fit: usize,
    /// Of so many with a weight that were not drained.
    pub of: usize,
}

/// Whether a pick looks at health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Only those that are fit are picked.
    Heeded,
    /// All are, but for those that cannot be reached (nobody is helped by a refused connection) or were drained.
    Ignored,
}

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Index of the tier.
    pub tier: usize,
    /// How its backends are looked at.
    pub health: Health,
}

/// Who serves, of these tiers in their order. Without a threshold any that is fit is enough.
pub fn serving(tiers: impl Iterator<Item = Fit>, threshold: Option<Percent>) -> Serving {
    let mut best: Option<(usize, Fit)> = None;
    for (tier, fit) in tiers.enumerate() {
        let enough = threshold.is_none_or(|threshold| fit.fit * 100 >= usize::from(threshold.get()) * fit.of);
        if fit.fit > 0 && enough {
            return Serving { tier, health: Health::Heeded };
        }
        // A tier that is drained has nobody whose health could be ignored.
        if fit.of > 0 && best.is_none_or(|(_, best)| fit.fit * best.of > best.fit * fit.of) {
            best = Some((tier, fit));
        }
    }
    let health = if threshold.is_some() && best.is_some() { Health::Ignored } else { Health::Heeded };
    Serving { tier: best.map_or(0, |(tier, _)| tier), health }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tiers: &[(usize, usize)], threshold: Option<u8>) -> (usize, Health) {
        let tiers = tiers.iter().map(|(fit, of)| Fit { fit: *fit, of: *of });
        let Serving { tier, health } = serving(tiers, threshold.map(Percent::clamped));
        (tier, health)
    }

    #[test]
    fn the_first_tier_serves_while_half_of_it_is_fit() {
        assert_eq!(of(&[(2, 4), (4, 4)], Some(50)), (0, Health::Heeded));
        assert_eq!(of(&[(1, 4), (4, 4)], Some(50)), (1, Health::Heeded));
        assert_eq!(of(&[(0, 4), (1, 4), (2, 3)], Some(50)), (2, Health::Heeded));
    }

    #[test]
    fn where_no_tier_has_enough_the_one_with_the_most_serves_whatever_its_health() {
        assert_eq!(of(&[(1, 4), (1, 3)], Some(50)), (1, Health::Ignored));
        assert_eq!(of(&[(1, 4), (1, 4)], Some(50)), (0, Health::Ignored));
        assert_eq!(of(&[(0, 1)], Some(50)), (0, Health::Ignored));
        assert_eq!(of(&[(0, 4), (0, 2)], Some(50)), (0, Health::Ignored));
    }

    #[test]
    fn where_all_are_drained_it_is_no_panic_and_a_drained_tier_hides_no_other() {
        assert_eq!(of(&[(0, 0)], Some(50)), (0, Health::Heeded));
        assert_eq!(of(&[], Some(50)), (0, Health::Heeded));
        assert_eq!(of(&[(0, 0), (0, 2)], Some(50)), (1, Health::Ignored));
    }

    #[test]
    fn without_a_threshold_any_that_is_fit_is_enough() {
        assert_eq!(of(&[(1, 100), (4, 4)], None), (0, Health::Heeded));
        assert_eq!(of(&[(0, 100), (1, 4)], None), (1, Health::Heeded));
        assert_eq!(of(&[(0, 100), (0, 4)], None), (0, Health::Heeded));
    }
}
