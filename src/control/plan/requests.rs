//! Which of the recorded requests would be answered by somebody else.
//!
//! Invariant: both searches are those that serve requests. A record has no fields of its request, so routes that ask for
//! header fields or cookies are taken for those that do not match, before and after alike.

use http::{HeaderMap, Method};
use serde::Serialize;

use crate::observe::recent::Remembered;
use crate::route::{Host, Request, normalise, path_and_query};
use crate::snapshot::{Action, Snapshot};

/// See the module's documentation.
#[derive(Debug, Default, Serialize)]
pub struct Requests {
    /// How many were asked about.
    pub considered: usize,
    /// Those that would be answered by somebody else, the latest first.
    pub elsewhere: Vec<Elsewhere>,
}

/// A request that would be answered by somebody else.
#[derive(Debug, PartialEq, Serialize)]
pub struct Elsewhere {
    /// When it came.
    pub time: String,
    /// Its identifier.
    pub request_id: String,
    /// The listener that it came through.
    pub listener: String,
    /// Its method.
    pub method: String,
    /// The host that was asked for.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Where it would go now.
    pub from: Goal,
    /// Where it would go then.
    pub to: Goal,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Goal {
    /// None: no route takes it.
    pub route: Option<String>,
    /// All that may answer it; none if we answer.
    pub upstreams: Vec<String>,
}

impl Requests {
    /// Asks both snapshots about every record.
    pub fn elsewhere(recorded: Vec<Remembered>, former: &Snapshot, next: &Snapshot) -> Requests {
        let considered = recorded.len();
        let moved = recorded.into_iter().filter_map(|record| {
            let (from, to) = (goal(former, &record)?, goal(next, &record)?);
            (from != to).then_some(Elsewhere {
                time: record.time,
                request_id: record.request_id,
                listener: record.listener,
                method: record.method,
                host: record.host,
                path: record.path,
                from,
                to,
            })
        });
        Requests { considered, elsewhere: moved.collect() }
    }
}

/// None if the record is too short to say: what strangers choose is cut at a length, and may be no request at all.
fn goal(snapshot: &Snapshot, record: &Remembered) -> Option<Goal> {
    if record.path.ends_with('…') || record.host.ends_with('…') {
        return None;
    }
    let method = Method::from_bytes(record.method.as_bytes()).ok()?;
    let (path, query) = path_and_query(record.path.as_bytes());
    let path = normalise(path, snapshot.path_normalization).ok()?;
    let host = Host::of(record.host.as_bytes());
    let listener = snapshot.listeners.iter().flatten().find(|rules| rules.listener.name == record.listener);
    let nowhere = Goal { route: None, upstreams: Vec::new() };
    let Some(listener) = listener.map(|rules| rules.listener.id) else { return Some(nowhere) };
    let request = Request {
        listener,
        host: host.as_bytes(),
        path: path.seen_by_rules(),
        query: query.unwrap_or_default(),
        method: &method,
        headers: &HeaderMap::new(),
        client: record.client.parse().ok(),
    };
    let Some(route) = snapshot.routes.find(&request) else { return Some(nowhere) };
    let upstreams = match &route.action {
        Action::Forward(forwarding) => {
            forwarding.destinations().map(|destination| destination.upstream.name.clone()).collect()
        }
        Action::Redirect(..) | Action::Respond(_) => Vec::new(),
    };
    Some(Goal { route: Some(route.name.clone()), upstreams })
}
