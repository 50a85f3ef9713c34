//! Who may answer: the upstreams of a route, and their backends as they are.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use crate::config::{self, Hedge};
use crate::snapshot::Forwarding;
use crate::units;
use crate::upstream::backend::Backend;
use crate::upstream::sticky::Affinity;
use crate::upstream::{Hashable, Upstream};

/// An upstream that may answer.
#[derive(Debug, Serialize)]
pub struct Share {
    /// Its name.
    pub upstream: String,
    /// Its weight in the split.
    pub weight: u32,
    /// How it picks.
    pub balance: &'static str,
    /// How often a request is tried again.
    pub retries: u32,
    /// After which wait it is given to a second backend too; `off` if it is not.
    pub hedge: String,
    /// For the whole request; `unlimited` if nothing ends it.
    pub total_timeout: String,
    /// Until an answer begins.
    pub first_byte_timeout: String,
    /// Its backends, as they are.
    pub candidates: Vec<Value>,
}

/// What is known of backends.
#[derive(Clone, Copy, Debug)]
pub enum Known {
    /// What the file says.
    Written,
    /// What the process has learnt, as this tells it, and who is next: `yes` (the only one in question), `perhaps` (turn
    /// or chance decides between several) or `no`.
    Live(fn(&Upstream, &Backend) -> Value),
}

/// All shares of a route, with the weights that are written for it.
pub(super) fn shares(
    forwarding: &Forwarding,
    written: &config::Route,
    asked: &Hashable<'_>,
    known: Known,
    now: Instant,
) -> Vec<Share> {
    let weights = match &written.action {
        config::Action::Forward(forward) => forward.split.upstreams.as_slice(),
        config::Action::Redirect(..) | config::Action::Respond(_) => &[],
    };
    let shares = forwarding.destinations().zip(weights).map(|(destination, (_, weight))| {
        let upstream = &destination.upstream;
        Share {
            upstream: upstream.name.clone(),
            weight: *weight,
            balance: upstream.config.balance.token(),
            retries: destination.retry.map_or(0, |retry| retry.attempts),
            hedge: destination.retry.map_or(Hedge::Off, |retry| retry.hedge).show(),
            total_timeout: destination.timeouts.total.map_or_else(|| "unlimited".to_owned(), units::show),
            first_byte_timeout: units::show(destination.timeouts.first_byte),
            candidates: candidates(upstream, asked, known, now),
        }
    });
    shares.collect()
}

fn candidates(upstream: &Upstream, asked: &Hashable<'_>, known: Known, now: Instant) -> Vec<Value> {
    let written = |backend: &Backend| json!({ "name": backend.name, "state": "unknown", "tier": backend.tier, "weight": backend.weight });
    match known {
        Known::Written => upstream.backends.iter().map(|backend| written(backend)).collect(),
        Known::Live(tell) => {
            let affinity = Affinity {
                key: upstream.config.balance.key().and_then(|key| asked.by(key)),
                place: upstream.sticky.as_ref().and_then(|sticky| sticky.place(asked.headers)),
            };
            let next = upstream.foresee(affinity, now);
            let told = |(place, backend): (usize, &Arc<Backend>)| {
                let mut told = tell(upstream, backend);
                if let Value::Object(fields) = &mut told {
                    let next = if !next.contains(&place) {
                        "no"
                    } else if next.len() == 1 {
                        "yes"
                    } else {
                        "perhaps"
                    };
                    fields.insert("next".to_owned(), next.into());
                }
                told
            };
            upstream.backends.iter().enumerate().map(told).collect()
        }
    }
}
