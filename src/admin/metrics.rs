//! The walk that a scrape is: from the structures that count to the text of the exposition.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime};

use crate::balance::ejection::Cause;
use crate::balance::tiers::Health;
use crate::failure::Reason;
use crate::listen::{Listener, ListenerCounters};
use crate::observe::metrics::Label::{
    Backend, Code, Listener as OfListener, Reason as Why, Route, State, Upstream, Version,
};
use crate::observe::metrics::{Exposition, Family, Value, process, table};
use crate::server::Running;
use crate::snapshot::Snapshot;
use crate::upstream;
use crate::upstream::concurrency::Found;

/// The whole exposition.
pub fn expose(running: &Running, started: SystemTime) -> String {
    let mut out = Exposition::new();
    let snapshot = running.current.load();
    process_families(&mut out, running, &snapshot, started);
    listener_families(&mut out, &snapshot);
    request_families(&mut out, running, &snapshot);
    backend_families(&mut out, &snapshot);
    concurrency_families(&mut out, &snapshot);
    out.finish()
}

fn process_families(out: &mut Exposition, running: &Running, snapshot: &Snapshot, started: SystemTime) {
    out.family(&table::BUILD_INFO);
    out.sample(&[(Version, env!("CARGO_PKG_VERSION"))], 1_u64);
    out.family(&table::PROCESS_START_TIME_SECONDS);
    let since = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    out.sample(&[], since.as_secs_f64());
    one(out, &table::PROCESS_RESIDENT_MEMORY_BYTES, process::resident_memory_bytes());
    one(out, &table::PROCESS_OPEN_FDS, process::open_fds());
    one(out, &table::GENERATION, Some(snapshot.generation));
    one(out, &table::DRAINING, Some(u64::from(running.lifecycle.draining())));
    out.family(&table::RELOADS_TOTAL);
    out.sample(&[(State, "ok")], running.counters.reloads.load(Relaxed));
    out.sample(&[(State, "refused")], running.counters.reloads_refused.load(Relaxed));
    out.sample(&[(State, "reverted")], running.counters.reloads_reverted.load(Relaxed));
    one(out, &table::ACCESS_LOG_DROPPED_TOTAL, snapshot.access_log.as_ref().map(|log| log.dropped()));
}

fn one(out: &mut Exposition, family: &Family, value: Option<u64>) {
    if let Some(value) = value {
        out.family(family);
        out.sample(&[], value);
    }
}

fn listener_families(out: &mut Exposition, snapshot: &Snapshot) {
    type Read = fn(&ListenerCounters) -> u64;
    let families: [(&Family, Read); 5] = [
        (&table::CONNECTIONS, |counters| counters.connections.load(Relaxed) as u64),
        (&table::CONNECTIONS_TOTAL, |counters| counters.accepted.load(Relaxed)),
        (&table::REQUESTS_IN_FLIGHT, |counters| counters.requests.load(Relaxed) as u64),
        (&table::BYTES_RECEIVED_TOTAL, |counters| counters.bytes_received.load(Relaxed)),
        (&table::BYTES_SENT_TOTAL, |counters| counters.bytes_sent.load(Relaxed)),
    ];
    for (family, read) in families {
        out.family(family);
        for listener in listeners(snapshot) {
            out.sample(&[(OfListener, &listener.name)], read(&listener.counters));
        }
    }
    out.family(&table::CONNECTIONS_REFUSED_TOTAL);
    for listener in listeners(snapshot) {
        let counters = &listener.counters;
        let refused = [
            ("ceiling", &counters.refused),
            ("client_ceiling", &counters.clients_refused),
            ("descriptors", &counters.descriptors_refused),
            ("proxy_protocol", &counters.proxy_headers_refused),
            ("handshake", &counters.handshakes_failed),
            ("request_timeout", &counters.heads_timed_out),
            ("flood", &counters.floods),
            ("accept", &counters.accept_errors),
        ];
        for (reason, count) in refused {
            out.sample(&[(OfListener, &listener.name), (Why, reason)], count.load(Relaxed));
        }
    }
}

fn request_families(out: &mut Exposition, running: &Running, snapshot: &Snapshot) {
    out.family(&table::REQUESTS_TOTAL);
    for route in snapshot.routes.iter() {
        for (code, count) in route.counters.codes.read() {
            out.sample(&[(Route, &route.name), (Code, code)], count);
        }
    }
    for (code, count) in running.counters.unrouted.read() {
        out.sample(&[(Route, ""), (Code, code)], count);
    }
    out.family(&table::REQUEST_DURATION_SECONDS);
    for route in snapshot.routes.iter() {
        out.histogram(&[(Route, &route.name)], &route.counters.duration.read());
    }
    out.family(&table::FAILURES_TOTAL);
    for reason in Reason::ALL {
        out.sample(&[(Why, reason.token())], running.counters.failures(reason));
    }
}

fn backend_families(out: &mut Exposition, snapshot: &Snapshot) {
    type Read = fn(&upstream::backend::Backend) -> Value;
    let families: [(&Family, Read); 6] = [
        (&table::BACKEND_HEALTHY, |backend| Value::from(u64::from(backend.state.is_fit()))),
        (&table::BACKEND_DRAINED, |backend| Value::from(backend.state.drained())),
        (&table::BACKEND_IN_FLIGHT, |backend| Value::from(backend.state.in_flight() as u64)),
        (&table::BACKEND_TIER, |backend| Value::from(u64::from(backend.tier))),
        (&table::BACKEND_WEIGHT, |backend| Value::from(u64::from(backend.weight))),
        (&table::ATTEMPTS_TOTAL, |backend| Value::from(backend.state.attempts())),
    ];
    for (family, read) in families {
        out.family(family);
        for upstream in &snapshot.upstreams {
            for backend in &upstream.backends {
                out.sample(&[(Upstream, &upstream.name), (Backend, &backend.name)], read(backend));
            }
        }
    }
    type PerCause = fn(&upstream::backend::State, Cause) -> u64;
    let families: [(&Family, PerCause); 2] = [
        (&table::BACKEND_EJECTED, |state, cause| u64::from(state.conduct.cause() == Some(cause))),
        (&table::EJECTIONS_TOTAL, |state, cause| state.conduct.ejections(cause)),
    ];
    for (family, read) in families {
        out.family(family);
        for upstream in &snapshot.upstreams {
            for backend in &upstream.backends {
                for cause in Cause::ALL {
                    let labels = [(Upstream, &*upstream.name), (Backend, &*backend.name), (Why, cause.token())];
                    out.sample(&labels, read(&backend.state, cause));
                }
            }
        }
    }
    out.family(&table::BACKEND_LATENCY_SECONDS);
    let now = Instant::now();
    for upstream in &snapshot.upstreams {
        let tick = upstream.state.tick(now);
        for backend in &upstream.backends {
            if let Some(seconds) = backend.state.latency.seconds(tick) {
                out.sample(&[(Upstream, &upstream.name), (Backend, &backend.name)], f64::from(seconds));
            }
        }
    }
    out.family(&table::ATTEMPT_FAILURES_TOTAL);
    for upstream in &snapshot.upstreams {
        for backend in &upstream.backends {
            for reason in Reason::ALL {
                let count = backend.state.failures(reason);
                if count > 0 {
                    out.sample(&[(Upstream, &upstream.name), (Backend, &backend.name), (Why, reason.token())], count);
                }
            }
        }
    }
    out.family(&table::HEDGES_TOTAL);
    for upstream in &snapshot.upstreams {
        for (state, count) in upstream.state.hedges.counts() {
            out.sample(&[(Upstream, &upstream.name), (State, state)], count);
        }
    }
    type Total = fn(&upstream::UpstreamState) -> u64;
    out.family(&table::UPSTREAM_PANIC);
    for upstream in &snapshot.upstreams {
        out.sample(&[(Upstream, &upstream.name)], upstream.serving().health == Health::Ignored);
    }
    let totals: [(&Family, Total); 7] = [
        (&table::QUEUE_LENGTH, |state| state.queue.length() as u64),
        (&table::QUEUED_TOTAL, |state| state.queue.waited()),
        (&table::SHED_TOTAL, |state| state.queue.shed()),
        (&table::EJECTIONS_REFUSED_TOTAL, |state| state.conduct.refused()),
        (&table::PANIC_PICKS_TOTAL, |state| state.panic.picks()),
        (&table::RETRIES_TOTAL, upstream::UpstreamState::retries),
        (&table::RETRIES_REFUSED_TOTAL, upstream::UpstreamState::retries_refused),
    ];
    for (family, read) in totals {
        out.family(family);
        for upstream in &snapshot.upstreams {
            out.sample(&[(Upstream, &upstream.name)], read(&upstream.state));
        }
    }
}

fn concurrency_families(out: &mut Exposition, snapshot: &Snapshot) {
    let found: Vec<(&str, Found)> = snapshot
        .upstreams
        .iter()
        .filter_map(|upstream| upstream.concurrency().map(|(_, found)| (upstream.name.as_str(), found)))
        .collect();
    type Read = fn(&Found) -> Option<Value>;
    let families: [(&Family, Read); 4] = [
        (&table::CONCURRENCY_LIMIT, |found| Some(Value::from(found.limit as u64))),
        (&table::CONCURRENCY_MINIMAL_LATENCY_SECONDS, |found| Some(Value::from(found.minimal?.as_secs_f64()))),
        (&table::CONCURRENCY_BEYOND_TOTAL, |found| Some(Value::from(found.beyond))),
        (&table::CONCURRENCY_REFUSED_TOTAL, |found| Some(Value::from(found.refused))),
    ];
    for (family, read) in families {
        out.family(family);
        for (upstream, found) in &found {
            if let Some(value) = read(found) {
                out.sample(&[(Upstream, upstream)], value);
            }
        }
    }
}

fn listeners(snapshot: &Snapshot) -> impl Iterator<Item = &Listener> {
    snapshot.listeners.iter().flatten().map(|rules| &*rules.listener)
}
