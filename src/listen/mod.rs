//! The listening edge: it owns every socket that clients connect to.
//!
//! One thread and one current-thread runtime per core, one shared listening socket per address, one
//! proxy (and so one pool of connections to backends) per core. It is handed requests, one by one, as pingora's sessions
//! around ours ([`phases`]); between requests a connection is parked in a few hundred bytes.
//!
//! Invariants: a connection is counted by its [`Listener`] from accept to close; no wait of a client is
//! unbounded (head, keep-alive, handshake have deadlines); once draining, nothing new is accepted and nothing
//! under way is cut.
//!
//! It does not know routes, upstreams or the configuration: whoever starts it says which sockets to serve and
//! gives it the proxy.

mod client;
mod connection;
mod control;
mod core;
mod deadline;
mod descriptors;
mod edge;
mod gather;
mod household;
mod http1;
mod http1_answer;
mod http1_incoming;
mod http1_outgoing;
mod http1_session;
mod http2;
mod http2_stream;
mod inbound;
mod kept_body;
mod listener;
mod phases;
mod preface;
mod proxy_protocol;
pub mod socket;
mod stream;
pub mod tls;
mod transport;

pub use client::{Client, client_of, close_after, has_trailers, refusal_of, trailers_of, within};
pub use core::Backlog;
pub use deadline::{Awaited, Tick, Ticket};
pub use edge::{Edge, ProxyFactory};
pub use listener::{Http2, Listener, ListenerCounters, Settings};
pub use socket::Acceptor;
