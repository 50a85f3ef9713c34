//! HTTP/2 as it is spoken with backends: connections that requests share, and what passes over a stream of them.
//!
//! pingora connects, as for [`http1`](super::http1); frames, their order and their windows are [`crate::http2`]. What is
//! here: which connection a request goes over, and its way over a stream. No part of it waits by itself or knows a request's
//! route: `proxy::exchange` polls it.

mod call;
mod connection;
mod length;
mod pool;
mod request;
mod watched;

pub use call::Call;
pub use connection::Place;
pub use pool::{Connections, OfAnother};
