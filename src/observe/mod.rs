//! What the balancer says about itself: one line per request, counters for the whole, and a log of what turned.
//!
//! Invariant: nothing here can hold up or fail a request. What cannot be written is counted and let go.
//!
//! Deliberately absent: tracing spans, exporters that push, and a registry of metrics. Values live where they are
//! counted; a scrape walks them.

pub mod access_log;
mod counters;
mod escape;
pub mod log;
pub mod metrics;
pub mod recent;
pub mod record;
pub mod timestamp;

pub use access_log::AccessLog;
pub use counters::Counters;
pub use recent::Recent;
pub use record::{Hedged, Protocol, Record};
