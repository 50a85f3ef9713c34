//! `GET /api/v1/requests`: the latest that failed, were refused or were slow, the latest first.

use serde_json::Value;

use crate::server::Running;

pub fn read(running: &Running) -> Value {
    let recent = running.counters.recent.read();
    serde_json::to_value(recent).unwrap_or_default()
}
