//! How many connections each client has open at a listener.
//!
//! A client is a household: one IPv4 address, or the 64 bits of an IPv6 address that a subscriber is given as a whole
//! (RFC 6177). Invariant: a household is remembered for as long as it has a connection, so that what strangers can
//! fill is bounded by the connections that are open. Where no limit is set, nothing is kept and nothing is locked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Room for so many is kept, however few there are.
const KEPT_ROOM: usize = 1024;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Household {
    V4(u32),
    V6(u64),
}

impl Household {
    pub(super) fn of(address: IpAddr) -> Household {
        match address.to_canonical() {
            IpAddr::V4(address) => Household::V4(address.to_bits()),
            // The upper half.
            IpAddr::V6(address) => Household::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Connections open by household. Strangers choose the keys: the hasher is the standard library's, which is keyed.
#[derive(Debug, Default)]
pub(super) struct Households(Mutex<HashMap<Household, u64>>);

impl Households {
    /// Counts one more, unless it has `most` already.
    pub(super) fn enter(&self, household: Household, most: u64) -> bool {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(household).or_default();
        let admitted = *count < most;
        if admitted {
            *count += 1;
        }
        admitted
    }

    /// One that was counted has ended.
    pub(super) fn leave(&self, household: Household) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&household) {
            *count -= 1;
            if *count == 0 {
                open.remove(&household);
            }
        }
        if open.capacity() > KEPT_ROOM && open.len() < open.capacity() / 8 {
            let room = (open.len() * 2).max(KEPT_ROOM);
            open.shrink_to(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn household(text: &str) -> Household {
        Household::of(text.parse().unwrap())
    }

    #[test]
    fn the_addresses_of_one_subscriber_are_one_household() {
        assert_eq!(household("2001:db8::1"), household("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(household("2001:db8::1"), household("2001:db8:0:1::1"));
        assert_eq!(household("192.0.2.1"), household("::ffff:192.0.2.1"));
        assert_ne!(household("192.0.2.1"), household("192.0.2.2"));
        assert_ne!(household("0.0.0.1"), household("0:0:0:1::"));
    }

    #[test]
    fn room_is_given_back_when_a_crowd_has_left() {
        let households = Households::default();
        let all: Vec<Household> = (0..100_000).map(Household::V4).collect();
        assert!(all.iter().all(|household| households.enter(*household, 1)));
        all.iter().for_each(|household| households.leave(*household));
        let open = households.0.lock().unwrap();
        assert!(open.is_empty() && open.capacity() <= 4 * KEPT_ROOM, "{}", open.capacity());
    }

    proptest! {
        #[test]
        fn nobody_has_more_than_the_limit_and_nothing_is_left_when_all_have_gone(
            steps in proptest::collection::vec((0..4u32, any::<bool>()), 0..200),
            most in 1..4u64,
        ) {
            let households = Households::default();
            let mut model = [0_u64; 4];
            for (who, enters) in steps {
                let household = Household::V4(who);
                let count = &mut model[who as usize];
                if enters {
                    prop_assert_eq!(households.enter(household, most), *count < most);
                    *count = (*count + 1).min(most);
                } else if *count > 0 {
                    households.leave(household);
                    *count -= 1;
                }
            }
            for (who, count) in (0..4).zip(model) {
                (0..count).for_each(|_| households.leave(Household::V4(who)));
            }
            prop_assert!(households.0.lock().unwrap().is_empty());
        }
    }
}
