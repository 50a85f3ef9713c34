//! Asking backends on a timer whether they are fit (`probe`), and keeping the look at their conduct (`watch`) going.
//!
//! Every backend has a task of its own, so a slow one delays no other, and its interval is jittered, so that
//! many balancers do not knock at the same moment. A failed attempt to connect that a request made counts as
//! a failed check ([`State::observe`]): it is the same question.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use pingora::connectors::http::Connector;
use pingora::upstreams::peer::Peer as _;
use pingora_load_balancing::health_check::TcpHealthCheck;
use tokio::task::AbortHandle;

use super::Upstream;
use super::backend::{Backend, State};
use super::health::{Thresholds, Verdict};
use super::probe::{Fault, Probe, SharedConnector};
use crate::config::HealthCheck;

/// An interval is lengthened or shortened by up to this share.
const JITTER: f64 = 0.1;

/// How long a start waits for the first verdicts at most, whatever the time-outs say.
const FIRST_ROUND: Duration = Duration::from_secs(5);

/// The checks that are running, one for each backend of each upstream.
pub struct HealthChecks {
    running: HashMap<(String, String), Running>,
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

#[derive(Debug)]
struct Running {
    check: HealthCheck,
    /// How the backend is spoken to: its address, protocol and TLS.
    way: u64,
    state: Arc<State>,
    task: AbortHandle,
}

impl HealthChecks {
    /// Makes the running checks those of these upstreams. What did not change goes on undisturbed.
    ///
    /// Must be called in a runtime; the checks run there.
    pub fn follow(&mut self, upstreams: &[Arc<Upstream>]) {
        self.watch_conduct(upstreams);
        let mut former = std::mem::take(&mut self.running);
        for upstream in upstreams {
            let (Some(check), Some(thresholds)) = (&upstream.config.health_check, upstream.thresholds()) else {
                continue;
            };
            let probe = Arc::new(Probe::new(check.clone(), self.checker(check.timeout), self.connector.clone()));
            for backend in &upstream.backends {
                let key = (upstream.name.clone(), backend.name.clone());
                let way = backend.peer.reuse_hash();
                let unchanged = former.remove(&key).filter(|running| {
                    (&running.check, running.way) == (check, way) && Arc::ptr_eq(&running.state, &backend.state)
                });
                let running = unchanged.unwrap_or_else(|| Running {
                    check: check.clone(),
                    state: backend.state.clone(),
                    way,
                    task: tokio::spawn(watch(backend.clone(), probe.clone(), check.interval, thresholds))
                        .abort_handle(),
                });
                if let Some(replaced) = self.running.insert(key, running) {
                    replaced.task.abort();
                }
            }
        }
        for running in former.into_values() {
            running.task.abort();
            // Nobody would find out that it is well again.
            running.state.forget_health(Instant::now());
        }
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
            upstream.config.outlier_detection.is_some() || upstream.config.circuit_breaker.is_some()
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

async fn watch(backend: Arc<Backend>, probe: Arc<Probe>, interval: Duration, thresholds: Thresholds) {
    loop {
        match probe.ask(&backend).await {
            Ok(()) => backend.state.observe(Verdict::Passed, thresholds, "", Instant::now()),
            Err(Fault::Unfit(why)) => backend.state.observe(Verdict::Failed, thresholds, &why, Instant::now()),
            Err(Fault::NotAsked(error)) => {
                log::debug!(backend = backend.name, error:%; "health check could not be made");
            }
        }
        let jitter = 1.0 + JITTER * (fastrand::f64() * 2.0 - 1.0);
        tokio::time::sleep(interval.mul_f64(jitter)).await;
    }
}
