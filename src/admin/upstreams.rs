//! `GET /api/v1/upstreams`: who answers, and how they are.

use serde_json::{Map, Value, json};

use crate::balance::gradient::Mode;
use crate::balance::tiers::Health;
use crate::failure::Reason;
use crate::server::Running;
use crate::upstream::Upstream;
use crate::upstream::backend::Backend;
use crate::upstream::concurrency::Found;
use crate::upstream::standing::Against;

pub fn read(running: &Running) -> Value {
    running.current.load().upstreams.iter().map(|upstream| one(upstream)).collect()
}

fn one(upstream: &Upstream) -> Value {
    let backends: Vec<Value> = upstream.backends.iter().map(|backend| of_backend(upstream, backend)).collect();
    json!({
        "name": upstream.name,
        "in_flight": upstream.state.in_flight(),
        "retries": upstream.state.retries(),
        "retries_refused": upstream.state.retries_refused(),
        "queue": upstream.state.queue.length(),
        "panic": upstream.serving().health == Health::Ignored,
        "concurrency": upstream.concurrency().map(|(mode, found)| of_concurrency(mode, found)),
        "backends": backends,
    })
}

fn of_concurrency(mode: Mode, found: Found) -> Value {
    json!({
        "mode": mode.token(),
        "limit": found.limit,
        "minimal_latency_seconds": found.minimal.map(|minimal| minimal.as_secs_f64()),
        "measuring": found.is_measuring,
        "beyond": found.beyond,
        "refused": found.refused,
    })
}

/// One backend as an operator sees it.
pub fn of_backend(upstream: &Upstream, backend: &Backend) -> Value {
    let state = &backend.state;
    let against = Against::ALL.into_iter().find(|against| state.standing.has(*against));
    let failures: Map<String, Value> = Reason::ALL
        .into_iter()
        .filter(|reason| state.failures(*reason) > 0)
        .map(|reason| (reason.token().to_owned(), state.failures(reason).into()))
        .collect();
    json!({
        "name": backend.name,
        "state": against.map_or("fit", Against::token),
        "healthy": !state.standing.has(Against::Unreachable),
        "why": state.unfit_because().or_else(|| Some(state.conduct.cause()?.token().into())),
        "checked": upstream.config.health_check.is_some(),
        "drained": state.drained(),
        "tier": backend.tier,
        "weight": backend.weight,
        "weight_set": state.operator.weight().is_some(),
        "in_flight": state.in_flight(),
        "attempts": state.attempts(),
        "failures": failures,
    })
}
