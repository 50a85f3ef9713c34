//! Consistent hashing on a ring of points, with bounded load.
//!
//! The points are those of ketama as nginx (`hash … consistent`) and pingora lay them out: for each member 160 for each
//! unit of weight, each the CRC-32 of `host NUL port` and the point before. When one comes or goes, only its own share
//! of the keys moves.
//!
//! Bounded load (Mirrokni, Thorup and Zadimoghaddam, 2016): who has much more in flight than its share lets a key pass
//! on to the next on the ring, so that one hot key cannot drown a backend.

use crc32fast::Hasher;

use super::hash::hash;
use super::{Key, Member};

/// nginx's and libketama's number of points for a unit of weight.
const POINTS: u64 = 160;
/// Beyond so many points (16 MiB) all get fewer, as their weights say, and each at least one.
const MOST_POINTS: u64 = 1 << 21;
/// How far a key is passed on before all are compared instead.
const MOST_STEPS: usize = 4096;
/// A member may have a quarter more in flight than its share.
const SLACK: f64 = 1.25;
/// Below so many for a unit of mean weight nobody is full: a few requests at once are no load, and a browser's stay
/// together.
const ALWAYS: f64 = 16.0;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct RingHash {
    /// By hash: the hash of a point and whose it is.
    points: Box<[(u32, u32)]>,
    members: Box<[Placed]>,
    weight: f64,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    place: usize,
    weight: f64,
    /// The hash of its name.
    identity: u64,
}

/// What the bound of the load is made of.
#[derive(Clone, Copy, Debug)]
pub struct Loads<F> {
    /// Requests in flight at a place.
    pub of: F,
    /// Requests in flight at all members.
    pub total: usize,
}

impl RingHash {
    /// Over these members.
    pub fn new(members: &[Member]) -> RingHash {
        let weight: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
        let count = |of: u64| match weight * POINTS {
            all if all <= MOST_POINTS => of * POINTS,
            _ => (of * MOST_POINTS / weight).max(1),
        };
        let mut points = Vec::new();
        for (owner, member) in members.iter().enumerate() {
            let owner = u32::try_from(owner).unwrap_or(u32::MAX);
            let (host, port) = host_and_port(&member.name);
            let mut base = Hasher::new();
            for part in [host.as_bytes(), &[0], port.as_bytes()] {
                base.update(part);
            }
            let mut point = 0_u32;
            for _ in 0..count(u64::from(member.weight)) {
                let mut hasher = base.clone();
                hasher.update(&point.to_le_bytes());
                point = hasher.finalize();
                points.push((point, owner));
            }
        }
        points.sort_unstable();
        points.dedup_by_key(|(point, _)| *point);
        let placed = |member: &Member| Placed {
            place: member.place,
            weight: f64::from(member.weight),
            identity: hash(0, member.name.as_bytes()),
        };
        RingHash { points: points.into(), members: members.iter().map(placed).collect(), weight: weight as f64 }
    }

    /// The first on the ring from the key on that is accepted and not full; if all are full, the first that is
    /// accepted.
    pub fn pick(
        &self,
        key: Key,
        accept: impl Fn(usize) -> bool,
        loads: Loads<impl Fn(usize) -> usize>,
    ) -> Option<usize> {
        let mean = self.weight / self.members.len().max(1) as f64;
        let room = |member: &Placed| {
            let bound = SLACK * (loads.total as f64 + 1.0) * member.weight / self.weight;
            ((loads.of)(member.place) as f64) < bound.max(ALWAYS * member.weight / mean).ceil()
        };
        self.walk(key, |member| accept(member.place) && room(member))
            .or_else(|| self.walk(key, |member| accept(member.place)))
    }

    fn walk(&self, key: Key, accept: impl Fn(&Placed) -> bool) -> Option<usize> {
        let start = self.points.partition_point(|(point, _)| *point < key.ring());
        let (before, after) = self.points.split_at_checked(start)?;
        let mut refused = None;
        for (_, owner) in after.iter().chain(before).take(MOST_STEPS) {
            if refused == Some(*owner) {
                continue;
            }
            let member = self.members.get(*owner as usize)?;
            if accept(member) {
                return Some(member.place);
            }
            refused = Some(*owner);
        }
        // Most are out. Whose hash with the key is highest: the same for every process, and only the keys of those
        // that come or go move (rendezvous hashing).
        let accepted = self.members.iter().filter(|member| accept(member));
        accepted.max_by_key(|member| key.mixed(member.identity)).map(|member| member.place)
    }
}

/// As nginx takes them apart: a UNIX socket is a host without a port, an IPv6 address has no brackets.
fn host_and_port(name: &str) -> (&str, &str) {
    match name.strip_prefix("unix:") {
        Some(path) => (path, ""),
        None => {
            let (host, port) = name.rsplit_once(':').unwrap_or((name, ""));
            (host.trim_start_matches('[').trim_end_matches(']'), port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::members;
    use pingora_load_balancing::Backend;
    use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    const IDLE: Loads<fn(usize) -> usize> = Loads { of: |_| 0, total: 0 };

    fn keys(count: u32) -> impl Iterator<Item = Key> {
        (0..count).map(|number| Key::of_text(&number))
    }

    #[test]
    fn keys_go_where_nginx_and_pingora_send_them() {
        let members = members(&[1, 2, 3, 1]);
        let backends: BTreeSet<Backend> = members
            .iter()
            .map(|member| Backend::new_with_weight(&member.name, member.weight as usize).unwrap())
            .collect();
        let (ring, theirs) = (RingHash::new(&members), Arc::new(Consistent::build(&backends)));
        for number in 0..5_000 {
            let text = format!("key-{number}");
            let place = ring.pick(Key::of(text.as_bytes()), |_| true, IDLE).unwrap();
            assert_eq!(members[place].name, theirs.iter(text.as_bytes()).next().unwrap().addr.to_string());
        }
    }

    #[test]
    fn unix_sockets_and_version_6_have_points_too() {
        assert_eq!(host_and_port("unix:/run/app.sock"), ("/run/app.sock", ""));
        assert_eq!(host_and_port("[::1]:80"), ("::1", "80"));
        assert_eq!(host_and_port("10.0.0.1:80"), ("10.0.0.1", "80"));
    }

    #[test]
    fn the_ring_of_ten_thousand_with_weights_is_bounded() {
        let ring = RingHash::new(&members(&[1000; 10_000]));
        assert!(ring.points.len() as u64 <= MOST_POINTS);
        assert!(RingHash::new(&members(&[1; 10_000])).points.len() as u64 <= MOST_POINTS);
    }

    #[test]
    fn a_hot_key_spills_over_once_its_backend_has_a_quarter_more_than_its_share() {
        let ring = RingHash::new(&members(&[1; 4]));
        let hot = Key::of(b"hot");
        let mut in_flight = [0_usize; 4];
        for total in 0..400 {
            let place = ring.pick(hot, |_| true, Loads { of: |place| in_flight[place], total }).unwrap();
            in_flight[place] += 1;
            assert!(
                in_flight[place] as f64 <= (SLACK * (total as f64 + 1.0) / 4.0).max(ALWAYS).ceil(),
                "{in_flight:?}"
            );
        }
        let first = ring.pick(hot, |_| true, IDLE).unwrap();
        assert_eq!(in_flight[first], *in_flight.iter().max().unwrap());
        assert!(in_flight.iter().all(|count| *count > 0), "{in_flight:?}");
    }

    proptest! {
        #[test]
        fn when_one_is_added_at_most_its_share_of_the_keys_moves_and_all_to_it(count in 2_usize..30) {
            let (before, after) = (members(&vec![1; count]), members(&vec![1; count + 1]));
            let (before, after) = (RingHash::new(&before), RingHash::new(&after));
            let moved = keys(5_000).filter(|key| {
                let (was, is) = (before.pick(*key, |_| true, IDLE), after.pick(*key, |_| true, IDLE));
                assert!(was == is || is == Some(count), "a key moved between two that stayed");
                was != is
            });
            // 160 points each: a share is off by a few tens of a percent of itself.
            let (moved, share) = (moved.count() as f64 / 5_000.0, 1.0 / (count as f64 + 1.0));
            prop_assert!(moved <= share * 1.5 + 0.01, "{} of {}", moved, share);
        }

        #[test]
        fn who_is_out_gives_its_keys_to_others_and_no_other_key_moves(count in 2_usize..20, out in 0_usize..20) {
            let out = out % count;
            let ring = RingHash::new(&members(&vec![1; count]));
            for key in keys(500) {
                let (whole, without) = (ring.pick(key, |_| true, IDLE), ring.pick(key, |place| place != out, IDLE));
                prop_assert!(without.is_some_and(|place| place != out));
                prop_assert!(whole == Some(out) || whole == without);
            }
        }

        #[test]
        fn shares_follow_the_weights(weights in prop::collection::vec(1_u32..8, 2..8)) {
            let ring = RingHash::new(&members(&weights));
            let mut counts = vec![0_f64; weights.len()];
            for key in keys(4_000) {
                counts[ring.pick(key, |_| true, IDLE).unwrap()] += 1.0;
            }
            let total: u32 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(&weights) {
                let expected = 4_000.0 * f64::from(*weight) / f64::from(total);
                prop_assert!((count - expected).abs() < expected * 0.5 + 40.0, "{:?} of {:?}", counts, weights);
            }
        }
    }

    #[test]
    fn the_last_one_that_is_accepted_is_found_however_many_are_out() {
        let ring = RingHash::new(&members(&[1; 3_000]));
        assert!(keys(20).all(|key| ring.pick(key, |place| place == 1234, IDLE) == Some(1234)));
        assert_eq!(ring.pick(Key::of(b"x"), |_| false, IDLE), None);
    }
}
