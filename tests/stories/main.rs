//! Stories of users, over real sockets and with the real program. One binary, so that it links once.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    reason = "in a story a panic is the message, and names speak for themselves"
)]

mod abuse;
mod admin;
mod answers;
mod balancing;
mod body_limits;
mod ceilings;
mod client_certificates;
mod concurrency;
mod configuring;
mod daemon;
mod draining;
mod error_pages;
mod exchanges;
mod explaining;
mod failures;
mod forwarding;
mod health_checks;
mod hedging;
mod hostile;
mod http1_requests;
mod http1_sessions;
mod http2;
mod http2_abuse;
mod http2_backends;
mod http2_ends;
mod http2_exchanges;
mod http2_hostile_backends;
mod http2_hostile_backends_floods;
mod http2_requests;
mod http2_settings;
mod http2_windows;
mod identity;
mod killing;
mod library;
mod limits;
mod logging;
mod many_reloads;
mod operating;
mod outliers;
mod paths;
mod process_settings;
mod proxy_protocol;
mod reloading;
mod retries;
mod rewriting;
mod routing;
mod spreading;
mod sticky;
mod support;
mod timeouts;
mod tls;
mod tls_backends;
mod upgrading;
mod websockets;
