//! `POST /api/v1/upstreams/{upstream}/backends/{backend}/drain`, `enable` and `weight`: what an operator decides.
//!
//! A drained backend takes no new requests; what is in flight ends by itself. It is asked how it is all the same.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use serde_json::Value;

use super::answer::{Answer, data, fault};
use super::reload::{ending, tell};
use super::upstreams::of_backend;
use crate::control::command::Command;
use crate::server::Running;
use crate::upstream::Upstream;
use crate::upstream::backend::Backend;
use crate::upstream::standing::Against;

/// What may be done to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// No new requests.
    Drain,
    /// New requests again.
    Enable,
    /// Another share.
    Weigh,
}

/// As in a file.
const MOST_WEIGHT: u64 = 1000;

pub async fn act(running: &Running, upstream: &str, backend: &str, act: Act, body: &Value) -> Answer {
    let (found, backend) = match find(running, upstream, backend) {
        Ok(found) => found,
        Err(why) => return fault(StatusCode::NOT_FOUND, &why),
    };
    let state = &backend.state;
    match (act, state.drained()) {
        (Act::Drain, false) => {
            state.hold(Against::Drained);
            log::info!(upstream = found.name, backend = backend.name, in_flight = state.in_flight(); "backend drained");
        }
        (Act::Enable, true) => {
            state.forgive(Against::Drained, Instant::now());
            log::info!(upstream = found.name, backend = backend.name; "backend enabled");
        }
        (Act::Drain, true) | (Act::Enable, false) => {}
        (Act::Weigh, _) => return weigh(running, &found, &backend, body).await,
    }
    data(StatusCode::OK, &of_backend(&found, &backend))
}

async fn weigh(running: &Running, upstream: &Upstream, backend: &Backend, body: &Value) -> Answer {
    let weight = match super::body::only(body, "weight") {
        Ok(Some(Value::Null)) => None,
        Ok(Some(value)) => match value.as_u64().filter(|weight| *weight <= MOST_WEIGHT) {
            Some(weight) => u32::try_from(weight).ok(),
            None => {
                let why = format!("`weight` is a whole number from 0 to {MOST_WEIGHT}, or null for that of the file");
                return fault(StatusCode::BAD_REQUEST, &why);
            }
        },
        Ok(None) => return fault(StatusCode::BAD_REQUEST, "`weight` is missing, as in {\"weight\": 3}"),
        Err(why) => return fault(StatusCode::BAD_REQUEST, &why),
    };
    let former = backend.state.operator.weigh(weight);
    match tell(running, |answer| Command::Rebuild { answer }).await {
        Some(Ok(_)) => {
            log::info!(upstream = upstream.name, backend = backend.name, weight:? = weight; "backend weighed");
            match find(running, &upstream.name, &backend.name) {
                Ok((upstream, backend)) => data(StatusCode::OK, &of_backend(&upstream, &backend)),
                Err(why) => fault(StatusCode::NOT_FOUND, &why),
            }
        }
        Some(Err(refused)) => {
            backend.state.operator.weigh(former);
            fault(StatusCode::CONFLICT, &refused.to_string())
        }
        None => ending(),
    }
}

fn find(running: &Running, upstream: &str, backend: &str) -> Result<(Arc<Upstream>, Arc<Backend>), String> {
    let snapshot = running.current.load();
    let found = snapshot.upstreams.iter().find(|found| found.name == upstream);
    let Some(found) = found else { return Err(format!("no upstream is called `{upstream}`")) };
    match found.backends.iter().find(|found| found.name == backend) {
        Some(backend) => Ok((found.clone(), backend.clone())),
        None => Err(format!("upstream `{upstream}` has no backend `{backend}`")),
    }
}
