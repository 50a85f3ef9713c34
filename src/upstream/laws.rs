//! What must hold whatever happens: an upstream is driven with seeds through deaths, failures, silence, bursts and
//! returns, in virtual time and without sockets, and the laws are checked after each step.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastrand::Rng;
use proptest::prelude::*;

use super::Upstream;
use super::in_flight::InFlight;
use super::outcome::Outcome;
use super::pick::{Arrival, NoPick, Tried};
use super::resolve::resolve;
use super::standing::Against;
use super::sticky::Affinity;
use crate::balance::tiers::Health;
use crate::balance::{Key, outlier};
use crate::config::{self, Balance, CircuitBreaker, HashKey, OutlierDetection};
use crate::units::{Limit, Percent};

const POLICIES: [Balance; 6] = [
    Balance::RoundRobin,
    Balance::Random,
    Balance::LeastRequest,
    Balance::PeakEwma,
    Balance::RingHash(HashKey::Path),
    Balance::Maglev(HashKey::Path),
];

/// An upstream as chance wants it.
fn upstream(rng: &mut Rng) -> Upstream {
    let backends = (0..rng.u16(1..9)).map(|number| config::Backend {
        weight: rng.u32(0..4),
        tier: rng.u32(0..2),
        ..config::Backend::new(format!("127.0.0.1:{}", 9000 + number).parse().unwrap())
    });
    let mut config = config::Upstream::new("app", backends.collect());
    config.balance = POLICIES[rng.usize(0..POLICIES.len())].clone();
    config.panic_threshold = rng.bool().then(|| Percent::clamped(rng.u8(1..=100)));
    config.slow_start = rng.bool().then_some(Duration::from_secs(10));
    config.outlier_detection = rng.bool().then(|| OutlierDetection {
        consecutive_failures: rng.u32(1..6),
        max_ejected: Percent::clamped(rng.u8(1..=100)),
        ..OutlierDetection::default()
    });
    config.circuit_breaker = rng.bool().then(|| CircuitBreaker {
        requests_per_backend: Limit::At(rng.u64(1..6)),
        requests: Limit::At(rng.u64(1..30)),
        queue: None,
    });
    let resolved = resolve(&config).unwrap();
    let upstream = Upstream::new(config, &resolved, None, None, Instant::now());
    upstream.take_effect(Instant::now());
    upstream
}

/// What happens next.
fn step(upstream: &Upstream, running: &mut Vec<InFlight>, rng: &mut Rng, now: Instant) {
    let place = rng.usize(0..upstream.backends.len());
    let state = &upstream.backends[place].state;
    match rng.u8(0..20) {
        0 => state.hold(Against::Unreachable),
        1 | 2 => state.forgive(Against::Unreachable, now),
        3 => state.hold(Against::Drained),
        4 | 5 => state.forgive(Against::Drained, now),
        6 => upstream.tick(now),
        7 => upstream.compare(now),
        8..=12 if !running.is_empty() => {
            let mut ended = running.swap_remove(rng.usize(0..running.len()));
            let outcomes = [
                Some(Outcome::Served),
                Some(Outcome::Failed { retry_after: None }),
                Some(Outcome::Declined { retry_after: Some(Duration::from_secs(3)) }),
                Some(Outcome::Broken),
                Some(Outcome::Unreachable),
                None,
            ];
            if let Some(outcome) = outcomes[rng.usize(0..outcomes.len())] {
                ended.judge(outcome, now);
            }
        }
        13 if !running.is_empty() => {
            let at = rng.usize(0..running.len());
            running[at].becomes_tunnel();
        }
        _ => pick(upstream, running, rng, now),
    }
}

/// One request comes, and what is picked for it is lawful.
fn pick(upstream: &Upstream, running: &mut Vec<InFlight>, rng: &mut Rng, now: Instant) {
    let mut tried = Tried::default();
    let mut places = BTreeSet::new();
    for _ in 0..rng.u8(0..3) {
        let place = rng.usize(0..upstream.backends.len());
        tried.add(place);
        places.insert(place);
    }
    let key = rng.bool().then(|| Key::of(&rng.u32(..).to_le_bytes()));
    let affinity = Affinity { key, place: rng.bool().then(|| rng.usize(0..upstream.backends.len())) };
    let serving = upstream.serving();
    let fit: BTreeSet<usize> = (0..upstream.backends.len())
        .filter(|place| {
            let backend = &upstream.backends[*place];
            backend.weight > 0 && backend.state.is_fit()
        })
        .collect();
    let before: Vec<bool> = upstream.backends.iter().map(|backend| backend.state.is_fit()).collect();
    let probes = upstream.state.conduct.has_probe();
    match upstream.pick(&tried, affinity, Arrival::New, now) {
        Ok(mut picked) => {
            let backend = &upstream.backends[picked.index];
            assert!(backend.weight > 0, "picked without a weight");
            assert!(!backend.state.standing.has(Against::Unreachable), "picked though unreachable");
            assert!(!backend.state.standing.has(Against::Drained), "picked though drained");
            let excused = probes || serving.health == Health::Ignored;
            assert!(before[picked.index] || excused, "picked though out, while others are fit");
            let unbounded = upstream.config.circuit_breaker.is_none();
            if unbounded && !excused && places.contains(&picked.index) {
                assert!(fit.is_subset(&places), "tried twice while another was fit");
            }
            picked.sent(None, now);
            running.push(picked);
        }
        Err(NoPick::Full) => assert!(upstream.config.circuit_breaker.is_some(), "full without a ceiling"),
        Err(NoPick::Nobody) => assert!(fit.is_empty(), "nobody, though {fit:?} are fit"),
    }
}

fn check(upstream: &Upstream, running: &[InFlight]) {
    let members = upstream.backends.iter().filter(|backend| backend.weight > 0).count();
    let ejected = upstream.backends.iter().filter(|backend| backend.state.standing.has(Against::Ejected)).count();
    match upstream.config.outlier_detection {
        Some(rules) => {
            assert!(ejected <= outlier::ceiling(members, rules.max_ejected), "{ejected} of {members} are out")
        }
        None => assert_eq!(ejected, 0),
    }
    for (place, backend) in upstream.backends.iter().enumerate() {
        let here = running.iter().filter(|attempt| attempt.index == place).count();
        assert_eq!(backend.state.in_flight(), here, "requests in flight are those that are");
        let out = backend.state.conduct.cause().is_some();
        assert_eq!(out, backend.state.standing.has(Against::Ejected), "whoever has a cause is out");
    }
    assert_eq!(upstream.state.in_flight(), running.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_happens_the_laws_hold(seed: u64) {
        let rng = &mut Rng::with_seed(seed);
        let upstream = upstream(rng);
        let (mut running, mut now) = (Vec::new(), Instant::now());
        for _ in 0..400 {
            now += Duration::from_millis(rng.u64(0..800));
            step(&upstream, &mut running, rng, now);
            check(&upstream, &running);
        }
        running.clear();
        check(&upstream, &running);
    }
}
