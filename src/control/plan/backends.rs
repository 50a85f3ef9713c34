//! What becomes of backends: those that go end what they have in flight.

use std::collections::HashMap;

use serde::Serialize;

use crate::config::{self, Config};
use crate::snapshot::Snapshot;

/// See the module's documentation.
#[derive(Debug, Default, Serialize)]
pub struct Backends {
    /// Those that are new in their upstream.
    pub added: Vec<Added>,
    /// Those that get no more requests from it.
    pub removed: Vec<Removed>,
    /// Those that stay with another weight or tier.
    pub changed: Vec<Turned>,
    /// Requests in flight now, by upstream and backend.
    #[serde(skip)]
    in_flight: HashMap<(String, String), usize>,
}

/// A backend that is new.
#[derive(Debug, PartialEq, Serialize)]
pub struct Added {
    /// Its upstream.
    pub upstream: String,
    /// Its address.
    pub backend: String,
}

/// A backend that is gone.
#[derive(Debug, PartialEq, Serialize)]
pub struct Removed {
    /// Its upstream.
    pub upstream: String,
    /// Its address.
    pub backend: String,
    /// Requests that it may end.
    pub in_flight: usize,
}

/// A backend that stays.
#[derive(Debug, PartialEq, Serialize)]
pub struct Turned {
    /// Its upstream.
    pub upstream: String,
    /// Its address.
    pub backend: String,
    /// Before and after.
    pub weight: [u32; 2],
    /// Before and after.
    pub tier: [u32; 2],
}

impl Backends {
    /// Notes what is in flight now.
    pub fn in_flight_of(snapshot: &Snapshot) -> Backends {
        let all = snapshot.upstreams.iter().flat_map(|upstream| {
            upstream
                .backends
                .iter()
                .map(|backend| ((upstream.name.clone(), backend.name.clone()), backend.state.in_flight()))
        });
        Backends { in_flight: all.collect(), ..Backends::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    pub(super) fn compare(&mut self, former: &Config, next: &Config) {
        let (was, is) = (by_name(former), by_name(next));
        for key in all(next) {
            let (upstream, backend) = key.clone();
            match (was.get(&key), is.get(&key)) {
                (None, _) => self.added.push(Added { upstream, backend }),
                (Some(was), Some(is)) if (was.weight, was.tier) != (is.weight, is.tier) => self.changed.push(Turned {
                    upstream,
                    backend,
                    weight: [was.weight, is.weight],
                    tier: [was.tier, is.tier],
                }),
                (Some(_), _) => {}
            }
        }
        for key in all(former).filter(|key| !is.contains_key(key)) {
            let in_flight = self.in_flight.get(&key).copied().unwrap_or_default();
            let (upstream, backend) = key;
            self.removed.push(Removed { upstream, backend, in_flight });
        }
    }
}

fn all(config: &Config) -> impl Iterator<Item = (String, String)> {
    config.upstreams.iter().flat_map(|upstream| {
        upstream.backends.iter().map(|backend| (upstream.name.clone(), backend.address.to_string()))
    })
}

fn by_name(config: &Config) -> HashMap<(String, String), &config::Backend> {
    all(config).zip(config.upstreams.iter().flat_map(|upstream| &upstream.backends)).collect()
}
