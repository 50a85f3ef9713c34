//! Giving a request that waits to a second backend: after which wait, to whom, and whether that is affordable (Dean and
//! Barroso, "The Tail at Scale", 2013).
//!
//! Hedges and retries draw on one budget: in a brown-out, when all requests wait too long, backends see no more than what
//! retries could cost them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::in_flight::{InFlight, Purpose};
use super::pick::Tried;
use super::sticky::Affinity;
use super::{Upstream, UpstreamState};
use crate::config::Hedge;

/// How hedges went.
#[derive(Debug, Default)]
pub struct Hedges {
    won: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
}

impl Hedges {
    /// By what became of them, as the metrics name it.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        [("won", &self.won), ("lost", &self.lost), ("refused", &self.refused)]
            .map(|(state, count)| (state, count.load(Ordering::Relaxed)))
    }
}

/// A hedge under way. It is lost when it ends, unless its answer was passed on.
#[derive(Debug)]
pub struct UnderWay {
    state: Arc<UpstreamState>,
    won: bool,
}

impl UnderWay {
    /// Its answer is passed on.
    pub fn won(mut self) {
        self.won = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let hedges = &self.state.hedges;
        let count = if self.won { &hedges.won } else { &hedges.lost };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Upstream {
    /// After which wait a request is given to a second backend; none if it is not, or if too little is known yet.
    pub fn hedges_after(&self, hedge: Hedge) -> Option<Duration> {
        match hedge {
            Hedge::Off => None,
            Hedge::Lately { percentile, min } => Some(self.state.answer_times.known(percentile)?.max(min)),
            Hedge::Time(time) => Some(time),
        }
    }

    /// Begins an attempt beside one that has not been answered yet, if another backend is free for it and the budget allows.
    pub fn begin_hedge(&self, tried: &Tried, affinity: Affinity, now: Instant) -> Option<(InFlight, UnderWay)> {
        let place = self.beside(tried, affinity, now)?;
        if !self.draw(now) {
            self.state.hedges.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let backend = self.backends.get(place)?;
        // None: another core was quicker to take the last place. What was drawn is lost, which is rare.
        let in_flight = InFlight::begin(backend, place, Purpose::Serve, self.state.ceilings(), now)?;
        Some((in_flight, UnderWay { state: self.state.clone(), won: false }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, CircuitBreaker, Percentile};
    use crate::units::Limit;
    use crate::upstream::outcome::Outcome;
    use crate::upstream::pick::Arrival;
    use crate::upstream::resolve::resolve;
    use crate::upstream::standing::Against;
    use proptest::prelude::*;

    fn upstream(tiers: &[u32], change: impl FnOnce(&mut config::Upstream)) -> Upstream {
        let backend = |(index, tier): (usize, &u32)| {
            let mut backend = config::Backend::new(format!("127.0.0.1:{}", 9000 + index).parse().unwrap());
            backend.tier = *tier;
            backend
        };
        let mut config = config::Upstream::new("app", tiers.iter().enumerate().map(backend).collect());
        change(&mut config);
        let upstream = Upstream::new(config.clone(), &resolve(&config).unwrap(), None, None, Instant::now());
        upstream.take_effect(Instant::now());
        upstream
    }

    fn first(upstream: &Upstream, now: Instant) -> (InFlight, Tried) {
        let first = upstream.pick(&Tried::default(), Affinity::default(), Arrival::New, now).unwrap();
        let mut tried = Tried::default();
        tried.add(first.index);
        (first, tried)
    }

    fn hedge(upstream: &Upstream, tried: &Tried, now: Instant) -> Option<usize> {
        upstream.begin_hedge(tried, Affinity::default(), now).map(|(in_flight, _)| in_flight.index)
    }

    #[test]
    fn a_hedge_goes_to_another_backend_of_the_tier_that_serves_and_to_nobody_else() {
        let (upstream, now) = (upstream(&[0, 0, 1], |_| {}), Instant::now());
        for _ in 0..4 {
            let (first, tried) = first(&upstream, now);
            assert_eq!(hedge(&upstream, &tried, now), Some(1 - first.index));
        }
        let (first, tried) = first(&upstream, now);
        let other = &upstream.backends[1 - first.index].state;
        other.rest(Duration::from_secs(1), now);
        assert_eq!(hedge(&upstream, &tried, now), None, "it has asked for a pause");
        let later = now + Duration::from_secs(2);
        other.hold(Against::Ejected);
        assert_eq!(hedge(&upstream, &tried, later), None, "another tier is no better than to wait");
        other.forgive(Against::Ejected, later);
        assert_eq!(hedge(&upstream, &tried, later), Some(1 - first.index));
    }

    #[test]
    fn a_hedge_takes_no_place_that_is_not_there_and_overtakes_nobody() {
        let breaker = |each, all| CircuitBreaker { requests_per_backend: each, requests: all, queue: None };
        for (each, all) in [(Limit::At(1), Limit::Unlimited), (Limit::Unlimited, Limit::At(2))] {
            let upstream = upstream(&[0, 0], |config| config.circuit_breaker = Some(breaker(each, all)));
            let now = Instant::now();
            let (_first, tried) = first(&upstream, now);
            let second = first(&upstream, now).0;
            assert_eq!(hedge(&upstream, &tried, now), None);
            drop(second);
            assert!(hedge(&upstream, &tried, now).is_some());
        }
        assert_eq!(upstream(&[0, 0], |_| {}).state.hedges.counts()[2], ("refused", 0));
    }

    #[test]
    fn a_hedge_is_lost_unless_its_answer_is_passed_on() {
        let (upstream, now) = (upstream(&[0, 0], |_| {}), Instant::now());
        let (_first, tried) = first(&upstream, now);
        let begin = || upstream.begin_hedge(&tried, Affinity::default(), now).unwrap();
        begin().1.won();
        drop((begin(), begin()));
        assert_eq!(upstream.state.hedges.counts(), [("won", 1), ("lost", 2), ("refused", 0)]);
    }

    #[test]
    fn whoever_loses_is_neither_failed_nor_served_but_known_to_take_longer() {
        let (upstream, start) = (upstream(&[0, 0], |_| {}), Instant::now());
        let (mut quick, _) = first(&upstream, start);
        quick.judge(Outcome::Served, start + Duration::from_millis(1));
        let (_other, _) = first(&upstream, start);
        let (mut slow, _) = first(&upstream, start);
        assert_eq!(slow.index, quick.index);
        slow.sent(None, start);
        let later = start + Duration::from_secs(1);
        slow.overtaken(later);
        let state = &slow.backend.state;
        drop(quick);
        assert_eq!(state.latency.seconds(upstream.state.tick(later)), Some(1.0));
        let window = state.conduct.take_window();
        assert_eq!((state.in_flight(), window.served, window.failed), (0, 1, 0));
    }

    #[test]
    fn a_probe_that_was_overtaken_leaves_its_backend_out() {
        let (upstream, start) = (upstream(&[0, 0, 0], |_| {}), Instant::now());
        let state = &upstream.backends[0].state;
        for _ in 0..20 {
            let (mut picked, _) = first(&upstream, start);
            let outcome = if picked.index == 0 { Outcome::Broken } else { Outcome::Served };
            picked.judge(outcome, start);
        }
        assert!(!state.is_fit());
        let due = start + Duration::from_secs(31);
        upstream.tick(due);
        let (mut probe, tried) = first(&upstream, due);
        assert_eq!(probe.index, 0, "the probe");
        let other = hedge(&upstream, &tried, due);
        assert!(other.is_some_and(|other| other != 0));
        probe.overtaken(due + Duration::from_millis(20));
        let (next, _) = first(&upstream, due + Duration::from_millis(21));
        assert!(!state.is_fit() && next.index != 0, "nobody else is sent there before its time");
    }

    #[test]
    fn before_enough_answers_are_known_nothing_is_hedged_and_never_too_early() {
        let (upstream, now) = (upstream(&[0, 0], |_| {}), Instant::now());
        let lately = |min| Hedge::Lately { percentile: Percentile::P95, min: Duration::from_millis(min) };
        assert_eq!(upstream.hedges_after(lately(5)), None);
        assert_eq!(upstream.hedges_after(Hedge::Off), None);
        assert_eq!(upstream.hedges_after(Hedge::Time(Duration::from_secs(1))), Some(Duration::from_secs(1)));
        (0..100).for_each(|_| upstream.state.answer_times.observe(Duration::from_millis(20)));
        upstream.watch(10, now, 0.5);
        let known = upstream.hedges_after(lately(5)).unwrap();
        assert!((19..=22).contains(&known.as_millis()), "{known:?}");
        assert_eq!(upstream.hedges_after(lately(50)), Some(Duration::from_millis(50)));
        let mut config = upstream.config.clone();
        config.balance = config::Balance::Random;
        let after = Upstream::new(config.clone(), &resolve(&config).unwrap(), None, Some(&upstream), now);
        assert_eq!(after.hedges_after(lately(5)), Some(known), "a reload forgets nothing");
    }

    proptest! {
        /// Whatever comes, backends see no more hedges than the budget of retries allows.
        #[test]
        fn when_all_wait_too_long_hedges_are_the_share_of_the_budget(per_second in 20_u64..2_000, seconds in 1_u64..5) {
            let (upstream, start) = (upstream(&[0, 0, 0], |_| {}), Instant::now());
            let mut hedged = 0;
            for number in 0..per_second * seconds {
                let now = start + Duration::from_micros(number * 1_000_000 / per_second);
                let (mut served, tried) = first(&upstream, now);
                hedged += u64::from(hedge(&upstream, &tried, now).is_some());
                served.judge(Outcome::Served, now);
            }
            let requests = per_second * seconds;
            // A fifth, five for each second, and what an upstream begins with.
            prop_assert!(hedged <= requests / 5 + 5 * seconds + 20, "{hedged} of {requests}");
            let [_, lost, refused] = upstream.state.hedges.counts();
            prop_assert_eq!(lost.1 + refused.1, requests);
        }
    }
}
