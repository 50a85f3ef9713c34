//! HTTP/1.1 as it is spoken with backends: connections, which are kept between requests, and what passes over them.
//!
//! pingora connects ([`Connections::connect`]), so that TLS, source addresses and time-outs are its own; everything after
//! that is ours. No part of it waits by itself or knows a request's route: `proxy::exchange` polls it.

mod call;
pub mod connection;
pub mod pool;
pub mod request;
pub mod response;

pub use call::Call;
pub use connection::Connection;
pub use pool::Connections;
pub use response::Answers;
