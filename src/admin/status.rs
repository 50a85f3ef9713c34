//! `GET /api/v1/status`: how the process is.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::Admin;
use crate::control::command::Entry;
use crate::lifecycle::Stage;
use crate::observe::metrics::process;
use crate::observe::timestamp::rfc3339_text;

pub fn read(admin: &Admin) -> Value {
    let running = &admin.running;
    let snapshot = running.current.load();
    let in_force = running.in_force.load();
    let listeners = || snapshot.listeners.iter().flatten().map(|rules| &rules.listener.counters);
    let journal = running.journal.lock().unwrap_or_else(PoisonError::into_inner);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "state": match running.lifecycle.stage() {
            Stage::Starting => "starting",
            Stage::Serving => "serving",
            Stage::Draining => "draining",
        },
        "started": rfc3339_text(admin.started),
        "uptime_seconds": SystemTime::now().duration_since(admin.started).unwrap_or_default().as_secs(),
        "file": in_force.origin.as_ref().map(|origin| &origin.path),
        "watch": in_force.config.watch,
        "generation": snapshot.generation,
        "threads": in_force.config.server.threads,
        "connections": listeners().map(|counters| counters.connections.load(Relaxed)).sum::<usize>(),
        "requests_in_flight": listeners().map(|counters| counters.requests.load(Relaxed)).sum::<usize>(),
        "resident_memory_bytes": process::resident_memory_bytes(),
        "reloads": {
            "ok": running.counters.reloads.load(Relaxed),
            "refused": running.counters.reloads_refused.load(Relaxed),
            "reverted": running.counters.reloads_reverted.load(Relaxed),
        },
        "last_reload": journal.last.as_ref().map(entry),
        "confirm_until": journal.confirm_until.map(rfc3339_text),
    })
}

fn entry(entry: &Entry) -> Value {
    let (outcome, generation, needs_upgrade, problems) = match &entry.outcome {
        Ok(applied) => ("ok", Some(applied.generation), applied.needs_upgrade, &json!([])),
        Err(problems) => ("refused", None, false, problems),
    };
    json!({
        "time": rfc3339_text(entry.time),
        "cause": entry.cause.token(),
        "outcome": outcome,
        "generation": generation,
        "needs_upgrade": needs_upgrade,
        "problems": problems,
    })
}
