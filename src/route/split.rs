//! Shares of requests: which of several ways one takes.
//!
//! Invariant: a way of weight 0 is never taken, and a point always leads the same way. With a key as the point those
//! with one key stay together, and when the weights change only as many keys move as the shares did where the ways keep
//! their order. Deliberately absent: chance; the point is an argument.

/// Weights, and the way from a point to one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// For each way the sum of the weights up to and including its own.
    sums: Box<[u64]>,
}

impl Split {
    /// Of these weights.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Split {
        let sums = weights.into_iter().scan(0_u64, |sum, weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Split { sums: sums.collect() }
    }

    /// The way of a point, by its place; none if all weights are 0.
    pub fn at(&self, point: u64) -> Option<usize> {
        let total = *self.sums.last()?;
        let scaled = u64::try_from((u128::from(point) * u128::from(total)) >> 64).ok()?;
        let way = self.sums.partition_point(|sum| *sum <= scaled);
        (way < self.sums.len()).then_some(way)
    }

    /// The way of a key.
    pub fn of_key(&self, key: &[u8]) -> Option<usize> {
        self.at(point(key))
    }
}

/// FNV-1a, mixed once more so that similar keys are spread (the finaliser of MurmurHash3). It decides where requests
/// go, so it is ours and stays as it is.
fn point(key: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let mixed = |value: u64, factor: u64| (value ^ (value >> 33)).wrapping_mul(factor);
    let hash = key.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    let mixed = mixed(mixed(hash, 0xff51_afd7_ed55_8ccd), 0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ways(split: &Split, keys: u32) -> Vec<usize> {
        (0..keys).filter_map(|key| split.of_key(format!("10.0.{}.{}", key / 256, key % 256).as_bytes())).collect()
    }

    #[test]
    fn keys_are_spread_by_weight_and_stay_where_they_are() {
        let split = Split::new([95, 5]);
        let first = ways(&split, 20_000);
        let second = first.iter().filter(|way| **way == 1).count();
        assert!((800..1200).contains(&second), "{second} of 20000 for a share of 5 %");
        assert_eq!(first, ways(&split, 20_000));
        assert_eq!(split.of_key(b"198.51.100.7"), Some(0), "the same in every build");
        assert_eq!(point(b"198.51.100.7"), 11_827_484_969_393_811_794);
    }

    #[test]
    fn those_of_a_canary_stay_when_it_grows() {
        let before = ways(&Split::new([95, 5]), 20_000);
        let after = ways(&Split::new([80, 20]), 20_000);
        assert!(before.iter().zip(&after).all(|(before, after)| after >= before));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!((2600..3400).contains(&moved), "{moved} of 20000 for 15 %");
    }

    proptest! {
        #[test]
        fn a_way_without_weight_is_never_taken(weights in prop::collection::vec(0..3_u32, 0..6), point: u64) {
            match Split::new(weights.clone()).at(point) {
                Some(way) => prop_assert!(weights[way] > 0),
                None => prop_assert!(weights.iter().all(|weight| *weight == 0)),
            }
        }
    }
}
