//! Asking backends on a timer whether they are fit (`probe`), and keeping the look at their conduct (`watch`) going.
//!
//! Every backend has a task of its own, so a slow one delays no other, and its interval is jittered, so that
//! many balancers do not knock at the same moment. Where several upstreams ask the same address the same question, it is asked
//! once and all hear what it answered; each counts for itself, since a failed attempt to connect that a request made counts as
//! a failed check ([`State::observe`]): it is the same question.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pingora::connectors::http::Connector;
use pingora::upstreams::peer::Peer as _;
use pingora_load_balancing::health_check::TcpHealthCheck;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::Upstream;
use super::backend::{Backend, State};
use super::health::{Thresholds, Verdict};
use super::probe::{Fault, Probe, SharedConnector};
use super::standing::Against;
use crate::config::{HealthCheck, Question};

/// An interval is lengthened or shortened by up to this share.
const JITTER: f64 = 0.1;

/// Who has just been found unfit is asked again after this at most, since most are only restarted, and until it is back
/// others carry its share.
const SOON: Duration = Duration::from_secs(1);
/// Not for ever: after so many failed checks it is not only restarted.
const SOON_CHECKS: u32 = 30;

/// How long a start waits for the first verdicts at most, whatever the time-outs say.
const FIRST_ROUND: Duration = Duration::from_secs(5);

/// The checks that are running, one for each way that a backend is asked.
pub struct HealthChecks {
    running: HashMap<Asked, Running>,
    /// By time-out. Each has a connector that reads the platform's trust store: one for all backends, not each.
    checkers: HashMap<Duration, Arc<TcpHealthCheck>>,
    /// Likewise for all that are asked more than for a connection; made when one is.
    connector: SharedConnector,
    /// Looks at the conduct of the backends.
    watch: Option<AbortHandle>,
}

impl Default for HealthChecks {
    fn default() -> Self {
        HealthChecks {
            running: HashMap::new(),
            checkers: HashMap::new(),
            connector: Arc::new(LazyLock::new(|| Connector::new(None))),
            watch: None,
        }
    }
}

impl fmt::Debug for HealthChecks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HealthChecks").field("running", &self.running).finish_non_exhaustive()
    }
}

/// Who is asked what, and when that turns it. What is equal in all of it is one check.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Asked {
    backend: String,
    check: HealthCheck,
    /// How it is spoken to, protocol and TLS, where it is asked more than for a connection.
    way: Option<u64>,
}

#[derive(Debug)]
struct Running {
    hearers: Arc<Hearers>,
    task: AbortHandle,
}

/// Whom a check is for.
#[derive(Debug, Default)]
struct Hearers {
    heard: Mutex<Heard>,
    /// Woken when requests have found the backend unfit.
    turned: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Heard {
    /// What the last check found, and why if it failed; none before the first.
    last: Option<(Verdict, String)>,
    failed_in_a_row: u32,
    states: Vec<Arc<State>>,
}

impl Hearers {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all of them.
    fn tell(&self, verdict: Verdict, thresholds: Thresholds, why: String, now: Instant) {
        let mut heard = self.lock();
        heard.states.iter().for_each(|state| state.observe(verdict, thresholds, &why, now));
        heard.last = Some((verdict, why));
        heard.failed_in_a_row = match verdict {
            Verdict::Passed => 0,
            Verdict::Failed => heard.failed_in_a_row.saturating_add(1),
        };
    }

    /// How long to wait before the next check.
    fn pause(&self, interval: Duration) -> Duration {
        let heard = self.lock();
        let unfit = heard.states.iter().any(|state| state.standing.has(Against::Unreachable));
        if unfit && heard.failed_in_a_row < SOON_CHECKS { interval.min(SOON) } else { interval }
    }

    /// Waits until the next check is due: sooner if requests find the backend unfit meanwhile.
    async fn next(&self, interval: Duration) {
        let turned = self.turned.notified();
        if tokio::time::timeout(jittered(self.pause(interval)), turned).await.is_ok() {
            tokio::time::sleep(jittered(self.pause(interval))).await;
        }
    }

    /// They are these from now on. The result is who they were.
    ///
    /// Who has heard of no verdict yet hears the last at once: it is the first for them, which decides alone.
    fn become_these(&self, states: Vec<Arc<State>>, thresholds: Thresholds, now: Instant) -> Vec<Arc<State>> {
        let mut heard = self.lock();
        let former = std::mem::replace(&mut heard.states, states);
        heard.states.iter().for_each(|state| state.tell_of_turns(self.turned.clone()));
        if let Some((verdict, why)) = &heard.last {
            let joined = heard.states.iter().filter(|state| !state.is_judged());
            joined.for_each(|state| state.observe(*verdict, thresholds, why, now));
        }
        former
    }
}

/// A check as the upstreams want it.
struct Wanted<'a> {
    upstream: &'a Upstream,
    backend: &'a Arc<Backend>,
    states: Vec<Arc<State>>,
}

impl HealthChecks {
    /// Makes the running checks those of these upstreams. What did not change goes on undisturbed.
    ///
    /// Must be called in a runtime; the checks run there.
    pub fn follow(&mut self, upstreams: &[Arc<Upstream>]) {
        self.watch_conduct(upstreams);
        let mut former = std::mem::take(&mut self.running);
        let wanted = wanted(upstreams);
        let checked: HashSet<*const State> =
            wanted.values().flat_map(|wanted| wanted.states.iter().map(Arc::as_ptr)).collect();
        let mut left: Vec<Arc<State>> = Vec::new();
        // By upstream and check, so that the backends of an upstream share it.
        let mut probes: HashMap<(&str, HealthCheck), Arc<Probe>> = HashMap::new();
        for (asked, Wanted { upstream, backend, states }) in wanted {
            let check = &asked.check;
            let thresholds = Thresholds { healthy_after: check.healthy_after, unhealthy_after: check.unhealthy_after };
            let running = match former.remove(&asked) {
                Some(running) => {
                    left.extend(running.hearers.become_these(states, thresholds, Instant::now()));
                    running
                }
                None => {
                    let probe = probes.entry((&upstream.name, check.clone())).or_insert_with(|| {
                        Arc::new(Probe::new(check.clone(), self.checker(check.timeout), self.connector.clone()))
                    });
                    let hearers = Arc::new(Hearers::default());
                    hearers.become_these(states, thresholds, Instant::now());
                    let asking = ask(backend.clone(), probe.clone(), check.interval, thresholds, hearers.clone());
                    Running { hearers, task: tokio::spawn(asking).abort_handle() }
                }
            };
            self.running.insert(asked, running);
        }
        for running in former.into_values() {
            running.task.abort();
            left.append(&mut running.hearers.lock().states);
        }
        // Nobody would find out that they are well again.
        let now = Instant::now();
        left.iter().filter(|state| !checked.contains(&Arc::as_ptr(state))).for_each(|state| state.forget_health(now));
    }

    fn watch_conduct(&mut self, upstreams: &[Arc<Upstream>]) {
        if let Some(former) = self.watch.take() {
            former.abort();
        }
        let now = Instant::now();
        for upstream in upstreams {
            upstream.take_effect(now);
        }
        let watched = upstreams.iter().filter(|upstream| {
            let config = &upstream.config;
            config.outlier_detection.is_some()
                || config.circuit_breaker.is_some()
                || config.adaptive_concurrency.is_some()
        });
        self.watch = Some(tokio::spawn(super::watch::watch(watched.cloned().collect())).abort_handle());
    }

    fn checker(&mut self, timeout: Duration) -> Arc<TcpHealthCheck> {
        let checker = self.checkers.entry(timeout).or_insert_with(|| {
            let mut tcp = TcpHealthCheck::default();
            tcp.peer_template.options.connection_timeout = Some(timeout);
            Arc::new(tcp)
        });
        checker.clone()
    }

    /// Waits until every backend that is checked has its first verdict, at most for five seconds.
    pub async fn first_round(upstreams: &[Arc<Upstream>]) {
        let checked = upstreams.iter().filter(|upstream| upstream.config.health_check.is_some());
        let all = async {
            for backend in checked.flat_map(|upstream| &upstream.backends) {
                backend.state.judged().await;
            }
        };
        if tokio::time::timeout(FIRST_ROUND, all).await.is_err() {
            log::warn!("first health checks took too long; serving with what is known");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is to be asked, and for whom.
fn wanted(upstreams: &[Arc<Upstream>]) -> HashMap<Asked, Wanted<'_>> {
    let mut wanted: HashMap<Asked, Wanted<'_>> = HashMap::new();
    for upstream in upstreams {
        let Some(check) = &upstream.config.health_check else { continue };
        for backend in &upstream.backends {
            let way = match check.question {
                Question::Tcp => None,
                Question::Http(_) | Question::Grpc(_) => Some(backend.peer.reuse_hash()),
            };
            let asked = Asked { backend: backend.name.clone(), check: check.clone(), way };
            let wanted = wanted.entry(asked).or_insert_with(|| Wanted { upstream, backend, states: Vec::new() });
            wanted.states.push(backend.state.clone());
        }
    }
    wanted
}

async fn ask(
    backend: Arc<Backend>,
    probe: Arc<Probe>,
    interval: Duration,
    thresholds: Thresholds,
    hearers: Arc<Hearers>,
) {
    loop {
        match probe.ask(&backend).await {
            Ok(()) => hearers.tell(Verdict::Passed, thresholds, String::new(), Instant::now()),
            Err(Fault::Unfit(why)) => hearers.tell(Verdict::Failed, thresholds, why, Instant::now()),
            Err(Fault::NotAsked(error)) => {
                log::debug!(backend = backend.name, error:%; "health check could not be made");
            }
        }
        hearers.next(interval).await;
    }
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 + JITTER * (fastrand::f64() * 2.0 - 1.0))
}
