//! A backend that comes back, or is added, is given its share little by little: caches are cold, pools are empty.

use std::time::Duration;

use super::hash::mix;

/// What it is given at once; with less it would take long to warm up at all.
const FIRST: f64 = 0.1;

/// The part of its share that a backend is given, from 0.1 to 1, growing evenly over `whole`.
pub fn part(elapsed: Duration, whole: Duration) -> f64 {
    (elapsed.as_secs_f64() / whole.as_secs_f64().max(0.001)).clamp(FIRST, 1.0)
}

/// Whether the die `dice` lets a backend of this place have its turn while it is given only a part of its share. The
/// same die decides for each place anew; where it is made of a key, more and more keys come to the backend and none
/// goes back.
pub fn has_its_turn(dice: u64, place: usize, part: f64) -> bool {
    let chance = (mix(dice ^ mix(place as u64 + 1)) >> 11) as f64 / (1_u64 << 53) as f64;
    chance < part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_grows_evenly_from_a_tenth_to_all() {
        let at = |seconds: u64| part(Duration::from_secs(seconds), Duration::from_secs(30));
        assert_eq!((at(0), at(15), at(30), at(3000)), (0.1, 0.5, 1.0, 1.0));
    }

    #[test]
    fn a_tenth_of_the_dice_let_a_tenth_through_and_these_stay_in() {
        let through = |part: f64| (0..100_000_u64).filter(|dice| has_its_turn(mix(*dice), 3, part)).count();
        assert!(through(0.1).abs_diff(10_000) < 500 && through(1.0) == 100_000);
        assert!((0..1000_u64).all(|dice| !has_its_turn(dice, 1, 0.2) || has_its_turn(dice, 1, 0.3)));
    }
}
