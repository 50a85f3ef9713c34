//! What a seed makes of the world: an upstream, its servers, its traffic, and whatever happens to them.

use std::time::Duration;

use evenkeel::balance::queue::Shed;
use evenkeel::config::{
    self, Balance, CircuitBreaker, HashKey, HealthCheck, OutlierDetection, Retry, RetryOn, RetryStatuses,
};
use evenkeel::units::{Limit, Percent};
use fastrand::Rng;
use http::StatusCode;

use crate::model::server::{Mode, Server};
use crate::model::{Change, Traffic, World, backend};

const POLICIES: [Balance; 6] = [
    Balance::RoundRobin,
    Balance::Random,
    Balance::LeastRequest,
    Balance::PeakEwma,
    Balance::RingHash(HashKey::Path),
    Balance::Maglev(HashKey::Path),
];

/// Things happen for so long; then all is well for as long as it takes to forgive everything.
const TROUBLE: Duration = Duration::from_secs(15);
const CALM: Duration = Duration::from_secs(40);

pub fn world(seed: u64) -> World {
    let mut rng = Rng::with_seed(seed);
    let rng = &mut rng;
    let count = rng.usize(1..9);
    let servers = (0..count + 3).map(|_| {
        let service = Duration::from_millis(rng.u64(1..40));
        Server::new(rng.usize(1..8), service)
    });
    let servers: Vec<Server> = servers.collect();
    let config = config(rng, count);
    let traffic = Traffic {
        per_second: rng.f64() * 120.0 + 10.0,
        until: TROUBLE + CALM,
        idempotent: 80,
        tunnels: rng.u8(0..6),
        impatient: rng.u8(0..20),
        sticky: if rng.bool() { 30 } else { 0 },
    };
    let plan = plan(rng, &config, servers.len());
    World::new(config, servers, traffic, plan, seed)
}

fn config(rng: &mut Rng, count: usize) -> config::Upstream {
    let backends = (0..count).map(|server| written(rng, server)).collect();
    let mut config = config::Upstream::new("app", backends);
    config.balance = POLICIES[rng.usize(0..POLICIES.len())].clone();
    config.panic_threshold = rng.bool().then(|| Percent::clamped(rng.u8(1..=100)));
    config.slow_start = rng.bool().then_some(Duration::from_secs(5));
    let check = HealthCheck { interval: Duration::from_millis(500), ..HealthCheck::default() };
    config.health_check = (rng.u8(0..4) > 0).then_some(check);
    config.outlier_detection = outlier_detection(rng);
    config.circuit_breaker = circuit_breaker(rng);
    config.retry = (rng.u8(0..4) > 0).then(|| Retry {
        attempts: rng.u32(1..4),
        on: RetryOn { statuses: statuses(rng), ..RetryOn::default() },
        ..Retry::default()
    });
    config.timeouts.connect = Duration::from_millis(500);
    config.timeouts.first_byte = Duration::from_secs(3);
    config
}

fn written(rng: &mut Rng, server: usize) -> config::Backend {
    config::Backend { weight: [1, 1, 1, 3, 0][rng.usize(0..5)], tier: rng.u32(0..5) / 4, ..backend(server) }
}

fn outlier_detection(rng: &mut Rng) -> Option<OutlierDetection> {
    (rng.u8(0..4) > 0).then(|| OutlierDetection {
        consecutive_failures: rng.u32(1..6),
        ejection: Duration::from_secs(1),
        max_ejected: Percent::clamped(rng.u8(1..=100)),
        ..OutlierDetection::default()
    })
}

fn circuit_breaker(rng: &mut Rng) -> Option<CircuitBreaker> {
    rng.bool().then(|| CircuitBreaker {
        requests_per_backend: Limit::At(rng.u64(1..8)),
        requests: Limit::At(rng.u64(1..30)),
        queue: rng.bool().then(|| config::Queue {
            length: rng.usize(1..12),
            timeout: Duration::from_millis(rng.u64(20..800)),
            shed: if rng.bool() { Shed::Newest } else { Shed::Oldest },
        }),
    })
}

fn statuses(rng: &mut Rng) -> RetryStatuses {
    RetryStatuses::of(StatusCode::SERVICE_UNAVAILABLE).filter(|_| rng.bool()).unwrap_or(RetryStatuses::NONE)
}

fn plan(rng: &mut Rng, config: &config::Upstream, servers: usize) -> Vec<(Duration, Change)> {
    let mut plan = Vec::new();
    let mut now = Duration::ZERO;
    let mut config = config.clone();
    loop {
        now += Duration::from_millis(rng.u64(1..1200));
        if now >= TROUBLE {
            break;
        }
        plan.push((now, change(rng, &mut config, servers)));
    }
    for server in 0..servers {
        plan.push((TROUBLE, Change::Mode(server, Mode::Well)));
        // What one alone can carry.
        plan.push((TROUBLE, Change::Service(server, Duration::from_millis(5))));
        plan.push((TROUBLE, Change::Enable(server)));
    }
    plan.push((TROUBLE, Change::PerSecond(30.0)));
    plan
}

fn change(rng: &mut Rng, config: &mut config::Upstream, servers: usize) -> Change {
    let server = rng.usize(0..servers);
    match rng.u8(0..20) {
        0..=4 => Change::Mode(server, Mode::Well),
        5 | 6 => Change::Mode(server, Mode::Down),
        7 => Change::Mode(server, Mode::Lost),
        8 => Change::Mode(server, Mode::Hanging),
        9 => Change::Mode(server, Mode::Slow(Duration::from_millis(rng.u64(50..2000)))),
        10 => Change::Mode(server, Mode::Failing(rng.u8(1..=100))),
        11 => Change::Mode(server, Mode::Breaking),
        12 => Change::Drain(server),
        13 => Change::Enable(server),
        // A burst, or a lull.
        14 | 15 => Change::PerSecond([5.0, 50.0, 150.0, 400.0][rng.usize(0..4)]),
        16 => Change::Service(server, Duration::from_millis(rng.u64(1..200))),
        _ => {
            reload(rng, config, server);
            Change::Reload(Box::new(config.clone()))
        }
    }
}

/// One thing is written otherwise.
fn reload(rng: &mut Rng, config: &mut config::Upstream, server: usize) {
    let address = backend(server).address;
    let present = config.backends.iter().position(|backend| backend.address == address);
    match (rng.u8(0..8), present) {
        (0..=3, Some(place)) if config.backends.len() > 1 => {
            config.backends.remove(place);
        }
        (0..=3, _) => {
            let place = rng.usize(0..=config.backends.len());
            if present.is_none() {
                config.backends.insert(place, written(rng, server));
            }
        }
        (4, Some(place)) => config.backends[place] = written(rng, server),
        (5, _) => config.outlier_detection = outlier_detection(rng),
        (6, _) => config.circuit_breaker = circuit_breaker(rng),
        (_, _) => config.balance = POLICIES[rng.usize(0..POLICIES.len())].clone(),
    }
}
