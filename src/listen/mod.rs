//! The listening edge: it owns every socket that clients connect to.
//!
//! One thread and one current-thread runtime per core, one shared listening socket per address, one
//! [`HttpProxy`](pingora_proxy::HttpProxy) (and so one upstream pool) per core. A connection is handed to
//! pingora request by request; between requests it is parked in a few hundred bytes, its session dropped.
//!
//! Invariants: a connection is counted by its [`Listener`] from accept to close; no wait of a client is
//! unbounded (head, keep-alive, handshake have deadlines); once draining, nothing new is accepted and nothing
//! under way is cut.
//!
//! It does not know routes, upstreams or the configuration: whoever starts it says which sockets to serve and
//! gives it the proxy.

mod client;
mod connection;
mod core;
mod deadline;
mod edge;
mod flood;
mod gather;
mod household;
mod http2;
mod http2_stream;
mod inbound;
mod listener;
mod metered;
mod preface;
mod proxy_protocol;
pub mod socket;
mod stream;
pub mod tls;
mod transport;

pub use client::{Client, break_off, client_of, head_received, interrupt_of, keep_date, open_tunnel, refusal_of};
pub use core::Backlog;
pub use edge::{Edge, ProxyFactory};
pub use listener::{Http2, Listener, ListenerCounters, Settings};
pub use socket::Acceptor;
