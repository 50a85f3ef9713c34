//! HTTP/2 (RFC 9113), as it is spoken with clients and with backends.
//!
//! ```text
//!   socket ──▶ receive ──▶ frames ──▶ stream ──▶ handle ── whoever serves (server) or makes a request (client)
//!   socket ◀────────── outbox ◀───────────────── handle
//! ```
//!
//! [`Connection`](connection::Connection) is the state of one connection without its socket: bytes come in, frames wait to go out. Whoever
//! holds a [`Stream`] takes what has come over it and says what goes; what is said waits in one place, so that all that streams say
//! at a time leaves in one write. It holds no body that cannot leave: who sends waits for room, and what is received opens its windows
//! as it is taken. All of a connection is on one core.
//!
//! Deliberately absent: pushes, priorities (RFC 9113, section 5.3.2), the upgrade from HTTP/1.1, and CONNECT with a protocol.

mod client;
mod connection;
mod fault;
mod flood;
mod frame;
mod frames;
mod handle;
pub mod hpack;
mod message;
mod outbox;
mod pieces;
mod receive;
mod server;
mod settings;
mod socket;
mod stream;
mod window;

#[cfg(test)]
mod tests;

pub use client::{Client, Driver, client};
pub use fault::{By, Code, Fault};
pub use handle::Stream;
pub use message::is_of_connection;
pub use server::{Progress, Request, Server};
pub use settings::Limits;
pub use stream::Came;
