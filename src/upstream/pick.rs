//! Picking a backend: the tier that serves, those of it that are fit and were not tried, and what is done when there
//! are none.

use std::sync::atomic::Ordering;
use std::time::Instant;

use fastrand::Rng;

use super::Upstream;
use super::in_flight::{InFlight, Purpose};
use super::selector::Sight;
use super::standing::Against;
use super::sticky::Affinity;
use crate::balance::slow_start;
use crate::balance::tiers::{self, Health, Serving};
use crate::units::Limit;

/// How often a pick is made anew since another core was quicker, before it is said that there is no room.
const PICKS: usize = 8;

/// What the die of the slow start is made of, where a key decides.
const TURN_SEED: u64 = 0x7475_726e;

/// Backends that a request has been sent to, so that another is preferred next time.
///
/// The first needs no allocation: most requests are sent once.
#[derive(Debug, Default)]
pub struct Tried {
    first: Option<usize>,
    more: Vec<usize>,
}

impl Tried {
    /// Remembers a backend.
    pub fn add(&mut self, index: usize) {
        if self.first.is_none() {
            self.first = Some(index);
        } else {
            self.more.push(index);
        }
    }

    fn contains(&self, index: usize) -> bool {
        self.first == Some(index) || self.more.contains(&index)
    }
}

/// Who asks for a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A request that has just come: it does not overtake those who wait.
    New,
    /// A request that waited, and whose turn it is.
    Called,
}

/// Why no backend was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPick {
    /// Nobody can be asked.
    Nobody,
    /// All who can are at their ceiling, or others wait already.
    Full,
}

/// How many requests may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// At one backend.
    pub each: usize,
    /// At all of the upstream.
    pub all: usize,
}

impl Ceilings {
    /// Nothing bounds them.
    pub const NONE: Ceilings = Ceilings { each: usize::MAX, all: usize::MAX };
}

impl Upstream {
    /// Whether anybody could be picked now.
    pub fn has_fit(&self) -> bool {
        let turns = self.state.turns();
        self.tiers.iter().any(|tier| tier.fit(&self.backends, turns).fit > 0)
            || self.serving().health == Health::Ignored
                && self.backends.iter().any(|one| one.weight > 0 && one.is_reachable())
    }

    /// The tier that serves, and whether health is heeded there.
    pub fn serving(&self) -> Serving {
        let turns = self.state.turns();
        let fit = self.tiers.iter().map(|tier| tier.fit(&self.backends, turns));
        let serving = tiers::serving(fit, self.config.panic_threshold);
        self.state.panic.follow(serving.health, &self.name);
        serving
    }

    /// Picks a backend and begins an attempt. In this order:
    /// - the one at which the client stays, if it is fit and was not tried, whatever its tier;
    /// 0. an ejected one whose probe is due, if this is the first attempt;
    /// 1. one that is fit and was not tried, of the tier that serves;
    /// 2. one that is fit and was not tried, of any other tier, if this is not the first attempt;
    /// 3. one that was tried already, of the tier that serves.
    ///
    /// In panic all that can be reached count as fit in the tier that serves, and anywhere if none can there. Who is at its ceiling is not
    /// picked.
    ///
    /// # Errors
    /// If nobody can be asked, or all who can are at their ceiling, or others wait for room already.
    pub fn pick(&self, tried: &Tried, affinity: Affinity, arrival: Arrival, now: Instant) -> Result<InFlight, NoPick> {
        for _ in 0..PICKS {
            let (place, purpose) = match self.choose(tried, affinity, arrival, now) {
                Some(chosen) => chosen,
                None if self.is_full() => return Err(NoPick::Full),
                None => return Err(NoPick::Nobody),
            };
            let backend = self.backends.get(place).ok_or(NoPick::Nobody)?;
            // Another core may have been quicker to take the last place.
            if let Some(in_flight) = InFlight::begin(backend, place, purpose, self.state.ceilings(), now) {
                return Ok(in_flight);
            }
        }
        Err(NoPick::Full)
    }

    fn choose(&self, tried: &Tried, affinity: Affinity, arrival: Arrival, now: Instant) -> Option<(usize, Purpose)> {
        let stays = affinity.place.filter(|place| !tried.contains(*place) && self.may_stay(*place));
        if stays.is_none()
            && tried.first.is_none()
            && self.state.conduct.has_probe()
            && let Some(place) = self.take_probe()
        {
            return Some((place, Purpose::Probe));
        }
        let ceilings = self.state.ceilings();
        // Where a reload has taken the ceilings away those who still wait are about to go, and nobody is overtaken.
        let others_wait = arrival == Arrival::New && self.state.queue.is_in_use() && ceilings != Ceilings::NONE;
        if others_wait || !self.state.has_room(ceilings) {
            return None;
        }
        if let Some(place) = stays {
            return Some((place, Purpose::Serve));
        }
        let serving = self.serving();
        if serving.health == Health::Ignored {
            self.state.panic.count();
        }
        let mut pick = Pick::new(self, affinity, now);
        let fit = |place: usize| self.is_acceptable(place, serving.health);
        let mut place = None;
        if tried.first.is_none() {
            place = pick.select(serving.tier, fit);
        } else {
            // Who has asked for a pause is left to it, as long as there are others.
            let rested = |place: usize| self.is_rested(place, now);
            let anybody = |_: usize| true;
            for willing in [&rested as &dyn Fn(usize) -> bool, &anybody] {
                let untried = |place: usize| !tried.contains(place) && willing(place);
                place = place.or_else(|| pick.select(serving.tier, |place| fit(place) && untried(place)));
                let others = (0..self.tiers.len()).filter(|tier| *tier != serving.tier);
                let fit = |place: usize| self.is_acceptable(place, Health::Heeded) && untried(place);
                place = place.or_else(|| others.into_iter().find_map(|tier| pick.select(tier, fit)));
            }
            place = place.or_else(|| pick.select(serving.tier, fit));
        }
        for health in [Health::Heeded, serving.health] {
            // All of the tier that serves in panic are unreachable: anybody will do.
            let any = |place: usize| self.is_acceptable(place, health);
            place = place.or_else(|| (0..self.tiers.len()).find_map(|tier| pick.select(tier, any)));
        }
        place.map(|place| (place, Purpose::Serve))
    }

    /// Who may be picked for a request that comes now: one, where the request itself decides; else all among which turn
    /// and chance do; none, where it would wait or fail. Nothing begins, and nobody's turn is used up.
    pub fn foresee(&self, affinity: Affinity, now: Instant) -> Vec<usize> {
        if let Some(stays) = affinity.place.filter(|place| self.may_stay(*place)) {
            return vec![stays];
        }
        let serving = self.serving();
        let fit = |place: &usize| self.is_acceptable(*place, serving.health);
        if affinity.key.is_some()
            && let Some(picked) = Pick::new(self, affinity, now).select(serving.tier, |place| fit(&place))
        {
            return vec![picked];
        }
        let number = self.tiers.get(serving.tier).map(|tier| tier.number);
        let serves = |place: &usize| self.backends.get(*place).map(|backend| backend.tier) == number;
        let found: Vec<usize> = (0..self.backends.len()).filter(fit).filter(serves).collect();
        if !found.is_empty() {
            return found;
        }
        (0..self.backends.len()).filter(|place| fit(place) || self.is_acceptable(*place, Health::Heeded)).collect()
    }

    /// Whether a client that stays there goes there. Health that is ignored for all is ignored for it too.
    fn may_stay(&self, place: usize) -> bool {
        self.is_acceptable(place, Health::Heeded) || self.is_acceptable(place, self.serving().health)
    }

    /// Whether there is another backend for a request that these were not able to serve: one that is fit, has room, and
    /// has not asked for a pause.
    pub fn has_another(&self, tried: &Tried, now: Instant) -> bool {
        let another = |place: usize| {
            self.is_acceptable(place, Health::Heeded) && !tried.contains(place) && self.is_rested(place, now)
        };
        (0..self.backends.len()).any(another)
    }

    /// A backend that could be asked beside those that were tried and have not answered yet: of the tier that serves, fit, with
    /// room, not resting. None while others wait for room, and in panic, when there is nothing to spare.
    pub(super) fn beside(&self, tried: &Tried, affinity: Affinity, now: Instant) -> Option<usize> {
        let serving = self.serving();
        if self.state.queue.is_in_use()
            || !self.state.has_room(self.state.ceilings())
            || serving.health == Health::Ignored
        {
            return None;
        }
        Pick::new(self, affinity, now).select(serving.tier, |place| {
            self.is_acceptable(place, Health::Heeded) && !tried.contains(place) && self.is_rested(place, now)
        })
    }

    fn is_rested(&self, place: usize, now: Instant) -> bool {
        self.backends.get(place).is_some_and(|backend| !backend.state.rests(now))
    }

    /// Whether somebody could be asked but for the ceilings.
    fn is_full(&self) -> bool {
        let health = self.serving().health;
        (0..self.backends.len()).any(|place| self.is_asked(place, health) || self.is_asked(place, Health::Heeded))
    }

    /// Whether a request would be taken now.
    pub fn has_room(&self) -> bool {
        let health = self.serving().health;
        self.state.has_room(self.state.ceilings())
            && (0..self.backends.len())
                .any(|place| self.is_acceptable(place, health) || self.is_acceptable(place, Health::Heeded))
    }

    /// The configuration of this upstream is in force from now on, also for requests that began before and wait.
    pub fn take_effect(&self, now: Instant) {
        self.follow_concurrency(now);
        self.state.set_ceilings(self.ceilings());
        self.state.conduct.follow(self.backends.iter().map(std::convert::AsRef::as_ref), now);
    }

    /// The ceilings of the file.
    pub(super) fn configured_ceilings(&self) -> Ceilings {
        let count = |limit: Limit| match limit {
            Limit::Unlimited => usize::MAX,
            Limit::At(most) => usize::try_from(most).unwrap_or(usize::MAX),
        };
        self.config.circuit_breaker.map_or(Ceilings::NONE, |breaker| Ceilings {
            each: count(breaker.requests_per_backend),
            all: count(breaker.requests),
        })
    }

    /// The ceilings of the file, or the limit that was found where that is lower.
    pub(super) fn ceilings(&self) -> Ceilings {
        let Ceilings { each, all } = self.configured_ceilings();
        Ceilings { each, all: self.found_ceiling().map_or(all, |found| found.min(all)) }
    }

    /// A backend whose probe is due, and is this request.
    fn take_probe(&self) -> Option<usize> {
        self.backends.iter().position(|backend| {
            backend.weight > 0 && backend.is_reachable() && backend.state.conduct.take_probe(&backend.state)
        })
    }

    /// Whether it is asked if it has room, and has.
    fn is_acceptable(&self, place: usize, health: Health) -> bool {
        let ceilings = self.state.ceilings();
        self.is_asked(place, health) && self.backends.get(place).is_some_and(|one| one.state.has_room(ceilings))
    }

    fn is_asked(&self, place: usize, health: Health) -> bool {
        self.backends.get(place).is_some_and(|backend| {
            backend.weight > 0
                && match health {
                    Health::Heeded => backend.state.is_fit(),
                    Health::Ignored => backend.is_reachable(),
                }
        })
    }
}

impl super::backend::Backend {
    /// Whether it may serve in panic: nobody is helped by a refused connection, and what was drained stays drained.
    fn is_reachable(&self) -> bool {
        !self.state.standing.has(Against::Unreachable) && !self.state.drained()
    }
}

/// What stays the same while one pick looks here and there.
struct Pick<'a> {
    upstream: &'a Upstream,
    sight: Sight<'a>,
    rng: Rng,
    now: Instant,
}

impl<'a> Pick<'a> {
    fn new(upstream: &'a Upstream, affinity: Affinity, now: Instant) -> Pick<'a> {
        let sight = Sight {
            backends: &upstream.backends,
            by_address: &upstream.by_address,
            in_flight: upstream.state.in_flight(),
            key: affinity.key,
            now: upstream.state.tick(now),
        };
        // Seeded from the thread's own generator.
        Pick { upstream, sight, rng: Rng::new(), now }
    }

    /// One that is accepted; preferably one whose turn it is, where some are given only a part of their share.
    fn select(&mut self, tier: usize, accept: impl Fn(usize) -> bool) -> Option<usize> {
        let tier = self.upstream.tiers.get(tier)?;
        if let Some(whole) = self.upstream.config.slow_start {
            let dice = self.sight.key.map_or_else(|| self.rng.u64(..), |key| key.mixed(TURN_SEED));
            let has_its_turn = |place: usize| {
                let elapsed = self.upstream.backends.get(place).and_then(|one| one.state.fit_for(self.now));
                elapsed.is_none_or(|elapsed| slow_start::has_its_turn(dice, place, slow_start::part(elapsed, whole)))
            };
            let picked = tier.selector.select(&self.sight, &mut self.rng, |place| accept(place) && has_its_turn(place));
            if picked.is_some() {
                return picked;
            }
        }
        tier.selector.select(&self.sight, &mut self.rng, accept)
    }
}

/// Whether an upstream is in panic, said once when it turns.
#[derive(Debug, Default)]
pub struct Panic {
    on: std::sync::atomic::AtomicBool,
    picks: std::sync::atomic::AtomicU64,
}

impl Panic {
    fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Picks that ignored health.
    pub fn picks(&self) -> u64 {
        self.picks.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.picks.fetch_add(1, Ordering::Relaxed);
    }

    fn follow(&self, health: Health, upstream: &str) {
        let on = health == Health::Ignored;
        if self.is_on() != on && self.on.swap(on, Ordering::Relaxed) != on {
            if on {
                log::warn!(upstream; "panic began: too few backends are fit, health is ignored");
            } else {
                log::info!(upstream; "panic ended: enough backends are fit");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::ejection::Cause;
    use crate::config;
    use crate::upstream::outcome::Outcome;
    use crate::upstream::resolve::resolve;
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// Backends of these tiers, with what `change` says.
    fn upstream(tiers: &[u32], change: impl FnOnce(&mut config::Upstream)) -> Upstream {
        let backend = |(number, tier): (usize, &u32)| {
            let address = format!("127.0.0.1:{}", 9000 + number).parse().unwrap();
            config::Backend { tier: *tier, ..config::Backend::new(address) }
        };
        let mut config = config::Upstream::new("app", tiers.iter().enumerate().map(backend).collect());
        change(&mut config);
        let resolved = resolve(&config).unwrap();
        Upstream::new(config, &resolved, None, None, Instant::now())
    }

    fn all_in_turn(upstream: &Upstream, count: usize) -> BTreeMap<usize, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..count {
            let picked = upstream.pick(&Tried::default(), Affinity::default(), Arrival::New, Instant::now());
            *counts.entry(picked.map_or(usize::MAX, |picked| picked.index)).or_insert(0) += 1;
        }
        counts
    }

    fn out(upstream: &Upstream, places: &[usize]) {
        for place in places {
            upstream.backends[*place].state.hold(Against::Unreachable);
        }
    }

    #[test]
    fn the_next_tier_serves_while_less_than_half_of_the_first_is_fit() {
        let upstream = upstream(&[0, 0, 0, 1, 1], |_| {});
        assert_eq!(all_in_turn(&upstream, 6), BTreeMap::from([(0, 2), (1, 2), (2, 2)]));
        out(&upstream, &[0]);
        assert_eq!(all_in_turn(&upstream, 6), BTreeMap::from([(1, 3), (2, 3)]));
        out(&upstream, &[1]);
        assert_eq!(all_in_turn(&upstream, 6), BTreeMap::from([(3, 3), (4, 3)]));
        upstream.backends[0].state.forgive(Against::Unreachable, Instant::now());
        assert_eq!(all_in_turn(&upstream, 6), BTreeMap::from([(0, 3), (2, 3)]));
    }

    #[test]
    fn a_retry_goes_to_another_tier_before_it_goes_to_the_same_backend_again() {
        let upstream = upstream(&[0, 7], |_| {});
        let mut tried = Tried::default();
        let pick =
            |tried: &Tried| upstream.pick(tried, Affinity::default(), Arrival::New, Instant::now()).unwrap().index;
        assert_eq!(pick(&tried), 0);
        tried.add(0);
        assert_eq!(pick(&tried), 1);
        tried.add(1);
        assert_eq!(pick(&tried), 0);
    }

    #[test]
    fn in_panic_whoever_can_be_reached_is_asked_and_nobody_else() {
        let upstream = upstream(&[0, 0, 0], |_| {});
        out(&upstream, &[0, 1]);
        assert_eq!(upstream.serving().health, Health::Ignored);
        assert_eq!(all_in_turn(&upstream, 5), BTreeMap::from([(2, 5)]));
        assert_eq!(upstream.state.panic.picks(), 5);
        out(&upstream, &[2]);
        assert!(!upstream.has_fit());
        assert_eq!(all_in_turn(&upstream, 1), BTreeMap::from([(usize::MAX, 1)]));
    }

    #[test]
    fn what_was_drained_is_no_sign_of_panic_and_is_not_picked_in_one() {
        let upstream = upstream(&[0, 0, 0, 1], |_| {});
        for place in [0, 1] {
            upstream.backends[place].state.hold(Against::Drained);
        }
        assert_eq!(upstream.serving(), Serving { tier: 0, health: Health::Heeded });
        assert_eq!(all_in_turn(&upstream, 4), BTreeMap::from([(2, 4)]));
        out(&upstream, &[2]);
        assert_eq!(upstream.serving(), Serving { tier: 1, health: Health::Heeded });
        out(&upstream, &[3]);
        assert_eq!(upstream.serving().health, Health::Ignored);
        assert!(!upstream.has_fit());
        upstream.backends[0].state.forgive(Against::Drained, Instant::now());
        assert_eq!(all_in_turn(&upstream, 4), BTreeMap::from([(0, 4)]));
    }

    #[test]
    fn nobody_is_picked_among_nobody_and_one_is_picked_alone() {
        let nobody = upstream(&[0, 0], |config| config.backends.iter_mut().for_each(|one| one.weight = 0));
        assert!(
            !nobody.has_fit()
                && nobody.pick(&Tried::default(), Affinity::default(), Arrival::New, Instant::now()).is_err()
        );
        assert_eq!(all_in_turn(&upstream(&[3], |_| {}), 3), BTreeMap::from([(0, 3)]));
    }

    #[test]
    fn whoever_comes_back_is_given_its_share_little_by_little() {
        for balance in [config::Balance::RoundRobin, config::Balance::LeastRequest, config::Balance::Random] {
            let upstream = upstream(&[0, 0], |config| {
                config.slow_start = Some(Duration::from_secs(10));
                config.balance = balance.clone();
            });
            let share = |now: Instant| {
                let picks = (0..2000).filter(|_| {
                    upstream.pick(&Tried::default(), Affinity::default(), Arrival::New, now).unwrap().index == 0
                });
                picks.count() as f64 / 2000.0
            };
            let now = Instant::now();
            assert!((0.45..0.55).contains(&share(now)), "from the start all have their share");
            out(&upstream, &[0]);
            assert_eq!(share(now), 0.0);
            let back = Instant::now();
            upstream.backends[0].state.forgive(Against::Unreachable, back);
            let (early, late) = (share(back), share(back + Duration::from_secs(11)));
            // A tenth of the turns that it would have had.
            assert!((0.02..0.2).contains(&early) && (0.45..0.55).contains(&late), "{balance:?}: {early} {late}");
        }
    }

    #[test]
    fn whoever_is_added_by_a_reload_starts_slowly_and_who_was_there_does_not() {
        let now = Instant::now();
        let before = upstream(&[0], |_| {});
        let mut config = before.config.clone();
        config.backends.push(config::Backend::new("127.0.0.1:9100".parse().unwrap()));
        let after = Upstream::new(config.clone(), &resolve(&config).unwrap(), None, Some(&before), now);
        assert!(after.backends[0].state.fit_for(now).is_none() && after.backends[1].state.fit_for(now).is_some());
    }

    fn attempt(upstream: &Upstream, outcome: Outcome, now: Instant) -> usize {
        let mut picked = upstream.pick(&Tried::default(), Affinity::default(), Arrival::New, now).unwrap();
        picked.sent(None, now);
        picked.judge(outcome, now);
        picked.index
    }

    fn watched(tiers: &[u32], change: impl FnOnce(&mut config::Upstream)) -> Upstream {
        let upstream = upstream(tiers, change);
        upstream.take_effect(Instant::now());
        upstream
    }

    const FAILED: Outcome = Outcome::Failed { retry_after: None };

    #[test]
    fn whoever_comes_back_is_not_left_alone_for_what_it_was_before() {
        let upstream = watched(&[0, 0, 0], |config| config.balance = config::Balance::PeakEwma);
        let now = Instant::now();
        let share = |upstream: &Upstream| {
            let served = |_| {
                let mut picked = upstream.pick(&Tried::default(), Affinity::default(), Arrival::New, now).unwrap();
                picked.sent(None, now);
                picked.judge(Outcome::Served, now + Duration::from_millis(20));
                picked.index
            };
            (0..300).map(served).filter(|place| *place == 0).count()
        };
        upstream.backends[0].state.latency.observe(Outcome::Unreachable, Duration::ZERO, upstream.state.tick(now));
        assert!(share(&upstream) < 10, "it has just failed");
        out(&upstream, &[0]);
        upstream.backends[0].state.forgive(Against::Unreachable, now);
        assert!((60..140).contains(&share(&upstream)));
    }

    fn fails(place: usize) -> impl Fn(&Upstream, Instant) -> usize {
        move |upstream, now| {
            let mut picked = upstream.pick(&Tried::default(), Affinity::default(), Arrival::New, now).unwrap();
            picked.judge(if picked.index == place { FAILED } else { Outcome::Served }, now);
            picked.index
        }
    }

    #[test]
    fn five_failures_in_a_row_take_a_backend_out_and_one_probe_brings_it_back() {
        let (upstream, now) = (watched(&[0, 0, 0], |_| {}), Instant::now());
        let asked = (0..60).filter(|_| fails(1)(&upstream, now) == 1).count();
        assert_eq!(asked, 5);
        assert_eq!(upstream.backends[1].state.conduct.ejections(Cause::ConsecutiveFailures), 1);
        let later = now + Duration::from_secs(30);
        upstream.tick(later);
        let asked = (0..60).filter(|_| fails(1)(&upstream, later) == 1).count();
        assert_eq!(asked, 1, "one probe");
        let latest = later + Duration::from_secs(60);
        upstream.tick(latest);
        let asked = (0..60).filter(|_| attempt(&upstream, Outcome::Served, latest) == 1).count();
        assert!((19..=21).contains(&asked), "{asked}");
    }

    #[test]
    fn no_more_than_half_are_ever_out_and_one_alone_never() {
        let (upstream, now) = (watched(&[0, 0, 0, 0, 0], |_| {}), Instant::now());
        for _ in 0..500 {
            attempt(&upstream, FAILED, now);
            assert!(upstream.backends.iter().filter(|one| !one.state.is_fit()).count() <= 2);
        }
        assert!(upstream.state.conduct.refused() > 0);
        let alone = watched(&[0], |_| {});
        assert!((0..50).all(|_| attempt(&alone, FAILED, now) == 0) && alone.backends[0].state.is_fit());
    }

    #[test]
    fn one_that_fails_far_more_often_than_the_others_is_out() {
        let (upstream, now) = (watched(&[0, 0, 0], |_| {}), Instant::now());
        for turn in 0..100 {
            for _ in 0..3 {
                let mut picked = upstream.pick(&Tried::default(), Affinity::default(), Arrival::New, now).unwrap();
                picked.judge(if picked.index == 2 && turn % 3 == 0 { FAILED } else { Outcome::Served }, now);
            }
        }
        upstream.compare(now);
        let out: Vec<bool> = upstream.backends.iter().map(|one| !one.state.is_fit()).collect();
        assert_eq!(out, [false, false, true]);
        assert_eq!(upstream.backends[2].state.conduct.cause(), Some(Cause::SuccessRate));
    }

    #[test]
    fn one_that_answers_nothing_while_others_do_is_out_and_is_back_when_a_probe_after_its_first_answer_is_quick() {
        let (upstream, start) = (watched(&[0, 0, 0], |_| {}), Instant::now());
        let mut stuck = Vec::new();
        let mut out_after = None;
        for step in 0..300 {
            let now = start + Duration::from_millis(step * 10);
            let mut picked = upstream.pick(&Tried::default(), Affinity::default(), Arrival::New, now).unwrap();
            picked.sent(None, now);
            match picked.index {
                0 => stuck.push(picked),
                _ => picked.judge(Outcome::Served, now + Duration::from_millis(5)),
            }
            upstream.tick(now);
            if !upstream.backends[0].state.is_fit() {
                out_after.get_or_insert(step * 10);
            }
        }
        assert!(out_after.is_some_and(|after| (500..700).contains(&after)), "{out_after:?}");
        assert!(stuck.len() <= 25, "{}", stuck.len());
        let late = start + Duration::from_secs(4);
        stuck[0].judge(Outcome::Served, late);
        assert!(!upstream.backends[0].state.is_fit(), "so late an answer says that it lives, not that it is well");
        assert_eq!(attempt(&upstream, Outcome::Served, late), 0, "the probe");
        assert!(upstream.backends[0].state.is_fit());
    }

    #[test]
    fn a_slow_request_or_two_is_no_stall() {
        let (upstream, start) = (watched(&[0, 0, 0], |_| {}), Instant::now());
        let mut slow: Vec<InFlight> = (0..6)
            .map(|_| upstream.pick(&Tried::default(), Affinity::default(), Arrival::New, start).unwrap())
            .collect();
        slow.iter_mut().for_each(|attempt| attempt.sent(None, start));
        for step in 0..1000 {
            let now = start + Duration::from_millis(step * 10);
            attempt(&upstream, Outcome::Served, now);
            upstream.tick(now);
        }
        assert!(upstream.backends.iter().all(|one| one.state.is_fit()));
    }

    #[test]
    fn in_panic_the_ejected_are_asked_too() {
        let (upstream, now) = (watched(&[0, 0, 0, 0], |_| {}), Instant::now());
        out(&upstream, &[0]);
        let mut counts = BTreeMap::new();
        for _ in 0..200 {
            *counts.entry(attempt(&upstream, FAILED, now)).or_insert(0) += 1;
        }
        assert_eq!(upstream.serving().health, Health::Ignored);
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(counts.values().all(|count| *count > 40), "{counts:?}");
    }
}
