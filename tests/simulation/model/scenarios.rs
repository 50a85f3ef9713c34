//! The troubles by which policies are compared: eleven backends at a thousand requests per second.

use std::time::Duration;

use evenkeel::config::{self, Balance, HashKey, RetryOn, RetryStatuses};
use http::StatusCode;

use super::server::{Mode, Server};
use super::{Change, Traffic, World, backend};

const BACKENDS: usize = 11;
const PER_SECOND: f64 = 1000.0;
/// With four workers each the backends are at two thirds of what they can.
const WORKERS: usize = 4;
const SERVICE: Duration = Duration::from_millis(30);
const MINUTE: Duration = Duration::from_secs(60);
/// In seconds: after that a backend that is back has had two health checks.
const RESTARTS_EVERY: u64 = 15;

/// All policies, with the name in the configuration.
pub const POLICIES: [(&str, Balance); 6] = [
    ("round_robin", Balance::RoundRobin),
    ("random", Balance::Random),
    ("least_request", Balance::LeastRequest),
    ("peak_ewma", Balance::PeakEwma),
    ("ring_hash", Balance::RingHash(HashKey::Path)),
    ("maglev", Balance::Maglev(HashKey::Path)),
];

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    SlowsDown,
    FailsFast,
    HalfCapacity,
    Restart,
    Outage,
}

/// Whether traffic takes backends out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    Off,
    On,
}

impl Scenario {
    /// Those in which policies differ.
    pub const COMPARED: [Scenario; 4] =
        [Scenario::SlowsDown, Scenario::FailsFast, Scenario::HalfCapacity, Scenario::Restart];

    pub fn name(self) -> &'static str {
        match self {
            Scenario::SlowsDown => "one-slows-down",
            Scenario::FailsFast => "one-fails-fast",
            Scenario::HalfCapacity => "one-has-half-the-capacity",
            Scenario::Restart => "all-restart-in-turn",
            Scenario::Outage => "all-answer-503",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Scenario::SlowsDown => "one of eleven takes 2 s for each answer, from 15 s to 45 s",
            Scenario::FailsFast => "one of eleven answers 503 at once, from 15 s to 45 s",
            Scenario::HalfCapacity => "one of eleven has half the workers",
            Scenario::Restart => "all eleven restart in turn, each away for 3 s and half as quick for 2 s more",
            Scenario::Outage => "all answer 503, from 15 s on",
        }
    }

    /// The world in which it happens. All that is not said is at its default.
    pub fn world(self, balance: &Balance, detection: Detection, seed: u64) -> World {
        let mut config = config::Upstream::new("app", (0..BACKENDS).map(backend).collect());
        config.balance = balance.clone();
        if detection == Detection::Off {
            config.outlier_detection = None;
        }
        let mut servers: Vec<Server> = (0..BACKENDS).map(|_| Server::new(WORKERS, SERVICE)).collect();
        let seconds = Duration::from_secs;
        let trouble = |mode| vec![(seconds(15), Change::Mode(3, mode)), (seconds(45), Change::Mode(3, Mode::Well))];
        let plan = match self {
            Scenario::SlowsDown => trouble(Mode::Slow(seconds(2))),
            Scenario::FailsFast => trouble(Mode::Failing(100)),
            Scenario::HalfCapacity => {
                if let Some(one) = servers.get_mut(3) {
                    one.workers = WORKERS / 2;
                }
                Vec::new()
            }
            Scenario::Restart => (0..BACKENDS).flat_map(restart).collect(),
            Scenario::Outage => {
                if let (Some(retry), Some(statuses)) =
                    (&mut config.retry, RetryStatuses::of(StatusCode::SERVICE_UNAVAILABLE))
                {
                    retry.on = RetryOn { statuses, ..retry.on };
                }
                (0..BACKENDS).map(|server| (seconds(15), Change::Mode(server, Mode::Failing(100)))).collect()
            }
        };
        let until = if self == Scenario::Restart { MINUTE * 3 } else { MINUTE };
        let traffic = Traffic { per_second: PER_SECOND, until, idempotent: 80, tunnels: 0, impatient: 0, sticky: 0 };
        World::new(config, servers, traffic, plan, seed)
    }
}

/// Away for three seconds; after that its caches are cold for two.
fn restart(server: usize) -> [(Duration, Change); 4] {
    let begin = Duration::from_secs(5 + RESTARTS_EVERY * server as u64);
    let after = |seconds| begin + Duration::from_secs(seconds);
    [
        (begin, Change::Mode(server, Mode::Down)),
        (after(3), Change::Mode(server, Mode::Well)),
        (after(3), Change::Service(server, SERVICE * 2)),
        (after(5), Change::Service(server, SERVICE)),
    ]
}
