//! What requests read: the configuration, compiled.
//!
//! A request loads one snapshot when it begins and uses no other until its log line is written. Only
//! `control` publishes, and only a whole.

mod compile;
mod route;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

pub use compile::{CompileError, Compiled, compile};
pub use route::{Action, Destination, Forwarding, Route, RouteCounters};

use crate::error_pages::Pages;
use crate::forward::via::Via;
use crate::identity;
use crate::listen::Listener;
use crate::observe::access_log::AccessLog;
use crate::route::{Normalisation, Table};
use crate::upstream::Upstream;
use crate::upstream::sticky::Secret;

/// One generation of the rules.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts configurations that were published, from 1.
    pub generation: u64,
    /// Where requests go.
    pub routes: Table<Arc<Route>>,
    /// What is done with paths before a route is looked for.
    pub path_normalization: Normalisation,
    /// What requests of a listener may do, by the listener's number.
    pub listeners: Vec<Option<ListenerRules>>,
    /// All upstreams, in file order.
    pub upstreams: Vec<Arc<Upstream>>,
    /// What the cookies of clients that stay are signed with, where the configuration names no secret. Processes that
    /// follow each other have the same.
    pub secret: Secret,
    /// Whose word on the client's address is believed.
    pub client_address: identity::Rules,
    /// Our entry in the field `Via`, if we make one.
    pub via: Option<Via>,
    /// What failures look like.
    pub error_pages: Pages,
    /// Where finished requests are written.
    pub access_log: Option<Arc<AccessLog>>,
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
