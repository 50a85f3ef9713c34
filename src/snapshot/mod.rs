//! What requests read: the configuration, compiled.
//!
//! A request loads one snapshot when it begins and uses no other until its log line is written. Only
//! `control` publishes, and only a whole.

mod compile;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

pub use compile::{CompileError, Compiled, compile};

use crate::error_pages::Pages;
use crate::forward::via::Via;
use crate::identity;
use crate::listen::Listener;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::{CodeCounters, Histogram};
use crate::route;
use crate::upstream::Upstream;

/// One generation of the rules.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts configurations that were published, from 1.
    pub generation: u64,
    /// Where requests go.
    pub routes: route::Table<Arc<Route>>,
    /// What requests of a listener may do, by the listener's number.
    pub listeners: Vec<Option<ListenerRules>>,
    /// All upstreams, in file order.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Whose word on the client's address is believed.
    pub client_address: identity::Rules,
    /// Our entry in the field `Via`, if we make one.
    pub via: Option<Via>,
    /// What failures look like.
    pub error_pages: Pages,
    /// Where finished requests are written.
    pub access_log: Option<Arc<AccessLog>>,
}

/// A route as requests see it.
#[derive(Debug)]
pub struct Route {
    /// Name in the configuration.
    pub name: String,
    /// Where it leads.
    pub upstream: Arc<Upstream>,
    /// The most bytes of a request's body.
    pub request_body: Option<u64>,
    /// What is counted; kept as long as a route of this name exists.
    pub counters: Arc<RouteCounters>,
}

/// What a route counts.
#[derive(Debug, Default)]
pub struct RouteCounters {
    /// Answers by status.
    pub codes: CodeCounters,
    /// From the request's head to the end of its answer.
    pub duration: Histogram,
}

/// What a listener's requests may do.
#[derive(Clone, Debug)]
pub struct ListenerRules {
    /// The listener itself.
    pub listener: Arc<Listener>,
    /// The longest pause in a request's body.
    pub request_body_idle: Duration,
    /// The longest pause in the taking of an answer.
    pub response_write_idle: Duration,
    /// The most bytes of a request's head.
    pub header_bytes: u64,
    /// The most fields of a request's head.
    pub header_fields: usize,
}

/// Where the current snapshot is read and published.
#[derive(Debug)]
pub struct Current(ArcSwap<Snapshot>);

impl Current {
    /// Publishes the first snapshot.
    pub fn new(snapshot: Arc<Snapshot>) -> Current {
        Current(ArcSwap::new(snapshot))
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Replaces the snapshot for all requests that begin from now on.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.0.store(snapshot);
    }
}
