//! Maglev hashing (Eisenbud et al., 2016): a table that gives every member its share of the keys to within a percent,
//! and moves few other keys when one comes or goes. One look-up where the ring takes a search.

use super::hash::hash;
use super::{Key, Member};

/// Sizes of the table, prime: the next is taken where a member would have fewer than a hundred entries. Growing from
/// 655 to 656 members therefore moves all keys, once.
const SIZES: [usize; 3] = [65_537, 655_373, 5_000_011];
const ENTRIES_PER_MEMBER: usize = 100;
/// Where a member begins in the table, and in which steps it goes on.
const OFFSET_SEED: u64 = 1;
const SKIP_SEED: u64 = 2;
/// Other entries that a key is tried at before all are compared instead.
const TRIES: u64 = 8;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Maglev {
    /// Indexes into `members`.
    table: Box<[u16]>,
    members: Box<[Placed]>,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    place: usize,
    /// The hash of its name.
    identity: u64,
}

/// A member while the table is filled.
struct Filling {
    owner: u16,
    weight: u64,
    /// What its turns must have come to before it takes the next entry.
    due: u64,
    at: usize,
    skip: usize,
}

impl Maglev {
    /// Over these members, of which those beyond 65,535 are left out.
    pub fn new(members: &[Member]) -> Maglev {
        let mut members: Vec<&Member> = members.iter().take(usize::from(u16::MAX)).collect();
        // The order of the file says nothing.
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let wanted = members.len() * ENTRIES_PER_MEMBER;
        let size = SIZES.into_iter().find(|size| *size >= wanted).unwrap_or(5_000_011);
        let heaviest = members.iter().map(|member| u64::from(member.weight)).max().unwrap_or(1);
        let filling = |(owner, member): (usize, &&Member)| {
            let name = member.name.as_bytes();
            Filling {
                owner: u16::try_from(owner).unwrap_or(u16::MAX),
                weight: u64::from(member.weight),
                due: 0,
                at: (hash(OFFSET_SEED, name) % size as u64) as usize,
                skip: (hash(SKIP_SEED, name) % (size as u64 - 1)) as usize + 1,
            }
        };
        let mut filling: Vec<Filling> = members.iter().enumerate().map(filling).collect();
        let table = if filling.is_empty() { Box::default() } else { fill(&mut filling, size, heaviest) };
        let placed = |member: &&Member| Placed { place: member.place, identity: hash(0, member.name.as_bytes()) };
        Maglev { table, members: members.iter().map(placed).collect() }
    }

    /// Whose the key is; where that one is not accepted, another that depends on the key alone.
    pub fn pick(&self, key: Key, accept: impl Fn(usize) -> bool) -> Option<usize> {
        if self.table.is_empty() {
            return None;
        }
        for attempt in 0..=TRIES {
            let entry = key.mixed(attempt) % self.table.len() as u64;
            let owner = self.table.get(entry as usize)?;
            let member = self.members.get(usize::from(*owner))?;
            if accept(member.place) {
                return Some(member.place);
            }
        }
        let accepted = self.members.iter().filter(|member| accept(member.place));
        accepted.max_by_key(|member| key.mixed(member.identity)).map(|member| member.place)
    }
}

/// All take turns, each as often as its weight says, and each takes the next free entry of its own order.
fn fill(filling: &mut [Filling], size: usize, heaviest: u64) -> Box<[u16]> {
    let mut table: Vec<Option<u16>> = vec![None; size];
    let mut left = size;
    for turn in 1_u64.. {
        for member in filling.iter_mut() {
            if turn * member.weight < member.due {
                continue;
            }
            member.due += heaviest;
            while table.get(member.at).is_some_and(Option::is_some) {
                member.at = (member.at + member.skip) % size;
            }
            if let Some(entry) = table.get_mut(member.at) {
                *entry = Some(member.owner);
            }
            left -= 1;
            if left == 0 {
                return table.into_iter().flatten().collect();
            }
        }
    }
    Box::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::members;
    use proptest::prelude::*;

    fn keys(count: u32) -> impl Iterator<Item = Key> {
        (0..count).map(|number| Key::of_text(&number))
    }

    fn shares(maglev: &Maglev, count: usize) -> Vec<f64> {
        let mut shares = vec![0.0; count];
        for owner in &maglev.table {
            shares[maglev.members[usize::from(*owner)].place] += 1.0 / maglev.table.len() as f64;
        }
        shares
    }

    #[test]
    fn the_table_gives_each_its_share_to_within_a_percent_of_itself() {
        for weights in [vec![1; 7], vec![3, 1], vec![1000, 1, 500]] {
            let maglev = Maglev::new(&members(&weights));
            let total: u32 = weights.iter().sum();
            for (share, weight) in shares(&maglev, weights.len()).iter().zip(&weights) {
                let expected = f64::from(*weight) / f64::from(total);
                assert!((share - expected).abs() < expected * 0.01 + 0.0001, "{share} of {expected}");
            }
        }
    }

    #[test]
    fn the_order_of_the_file_says_nothing() {
        let mut reversed = members(&[1; 9]);
        let maglev = Maglev::new(&reversed);
        reversed.reverse();
        let other = Maglev::new(&reversed);
        assert!(keys(1_000).all(|key| maglev.pick(key, |_| true) == other.pick(key, |_| true)));
    }

    #[test]
    fn nobody_among_nobody() {
        assert_eq!(Maglev::new(&[]).pick(Key::of(b"x"), |_| true), None);
        assert_eq!(Maglev::new(&members(&[1, 1])).pick(Key::of(b"x"), |_| false), None);
    }

    #[test]
    fn when_one_is_added_little_more_than_its_share_of_the_keys_moves() {
        for count in [2_usize, 5, 10, 25] {
            let before = Maglev::new(&members(&vec![1; count]));
            let after = Maglev::new(&members(&vec![1; count + 1]));
            let moved = keys(10_000).filter(|key| before.pick(*key, |_| true) != after.pick(*key, |_| true)).count();
            let (moved, share) = (moved as f64 / 10_000.0, 1.0 / (count as f64 + 1.0));
            assert!(moved <= share + 0.05, "{moved} of {share}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn who_is_out_gives_its_keys_to_others_and_no_other_key_moves(count in 2_usize..12, out in 0_usize..12) {
            let out = out % count;
            let maglev = Maglev::new(&members(&vec![1; count]));
            for key in keys(1_000) {
                let (whole, without) = (maglev.pick(key, |_| true), maglev.pick(key, |place| place != out));
                prop_assert!(without.is_some_and(|place| place != out));
                prop_assert!(whole == Some(out) || whole == without);
            }
        }
    }
}
