//! How an upstream picks a backend: pure policies over places and weights; and when one is not picked: tiers, panic,
//! slow start, outliers and their ejection, how many requests a group carries, the line of those who wait for room.
//!
//! A policy knows weights and order, nothing of health: whoever asks says which places it accepts. What a policy
//! weighs (requests in flight, latency), the time and the chance are arguments too, so that a seed replays every pick.
//! What is picked is a place, an index into the upstream's list.
//!
//! A pick takes no lock and allocates nothing.

pub mod ejection;
pub mod gradient;
mod hash;
pub mod lately;
pub mod latencies;
pub mod least_request;
mod maglev;
pub mod outlier;
pub mod peak_ewma;
pub mod queue;
mod random;
pub mod ring_hash;
pub mod slow_start;
mod smooth_round_robin;
pub mod tiers;
pub mod two_choices;

pub use hash::Key;
pub use maglev::Maglev;
pub use random::Random;
pub use ring_hash::RingHash;
pub use smooth_round_robin::SmoothRoundRobin;

/// One that may be picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its place in the upstream's list.
    pub place: usize,
    /// Its share, relative to the others. Those without a weight are no members.
    pub weight: u32,
    /// Its address as text, `host:port` or `unix:/path`: what hashes know it by.
    pub name: String,
}

#[cfg(test)]
pub(crate) mod testing {
    //! Members for the tests of policies.

    use super::Member;

    /// Members at the places of these weights, named after their places.
    pub fn members(weights: &[u32]) -> Vec<Member> {
        let member = |(place, weight): (usize, &u32)| Member {
            place,
            weight: *weight,
            name: format!("10.0.{}.{}:80", place / 250, place % 250 + 1),
        };
        weights.iter().enumerate().map(member).collect()
    }
}
