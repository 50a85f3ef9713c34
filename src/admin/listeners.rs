//! `GET /api/v1/listeners`: what is accepted on, and what came.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use crate::listen::{Http2, Listener};
use crate::server::Running;

pub fn read(running: &Running) -> Value {
    let snapshot = running.current.load();
    snapshot.listeners.iter().flatten().map(|rules| one(&rules.listener)).collect()
}

fn one(listener: &Listener) -> Value {
    let settings = listener.settings();
    let counters = &listener.counters;
    json!({
        "name": listener.name,
        "address": listener.address.to_string(),
        "tls": settings.tls.is_some(),
        "http2": settings.http2 == Http2::On,
        "connections": counters.connections.load(Relaxed),
        "connections_limit": settings.connections,
        "connections_total": counters.accepted.load(Relaxed),
        "connections_refused": {
            "ceiling": counters.refused.load(Relaxed),
            "descriptors": counters.descriptors_refused.load(Relaxed),
            "handshake": counters.handshakes_failed.load(Relaxed),
            "request_timeout": counters.heads_timed_out.load(Relaxed),
            "accept": counters.accept_errors.load(Relaxed),
        },
        "requests_in_flight": counters.requests.load(Relaxed),
        "bytes_received": counters.bytes_received.load(Relaxed),
        "bytes_sent": counters.bytes_sent.load(Relaxed),
    })
}
