//! A request on its way: what the proxy keeps of it.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::failure::Reason;
use evenkeel::upstream::in_flight::InFlight;
use evenkeel::upstream::queue::Waiting;
use evenkeel::upstream::sticky::Affinity;
use evenkeel::upstream::{Tried, Upstream};

/// See the module's documentation.
#[derive(Debug)]
pub struct Request {
    pub arrived: Duration,
    /// The rules that it goes by, whatever a reload brings.
    pub upstream: Arc<Upstream>,
    pub affinity: Affinity,
    pub idempotent: bool,
    pub becomes_tunnel: bool,
    pub tried: Tried,
    /// The same as places.
    pub places: Vec<usize>,
    pub attempts: u32,
    pub stage: Stage,
}

/// Where it is.
#[derive(Debug)]
pub enum Stage {
    /// Nowhere; never between two steps.
    Arriving,
    /// In the line of its upstream.
    Waiting(Waiting),
    /// At a backend.
    Attempt(Attempt),
    /// Before another attempt.
    Paused,
}

/// At a backend.
#[derive(Debug)]
pub struct Attempt {
    pub in_flight: InFlight,
    pub server: usize,
    pub is_tunnel: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With an answer that serves its client.
    Served,
    /// With a backend's 503.
    Answered503,
    /// With an answer of ours; or its client has left.
    Failed(Reason),
}
