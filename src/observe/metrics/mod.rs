//! Metrics: the table of what is told, and the pieces to count and to write it.
//!
//! Invariant: the values live where things happen (listeners, routes, upstreams, backends); a scrape walks them, so the
//! series of a thing that was removed vanish with it.
//!
//! Deliberately absent: a registry, labels made at run time, and push. What is not in [`table`] cannot be told.

mod codes;
mod histogram;
pub mod process;
#[cfg(test)]
mod reference;
pub mod table;
mod text;

pub use codes::CodeCounters;
pub use histogram::{Distribution, Histogram};
pub use table::{Family, Kind, Label};
pub use text::{CONTENT_TYPE, Exposition, Value};
