//! Evenkeel: an HTTP load balancer for production, on Cloudflare's pingora.
//!
//! The tree is the way of a request: `listen → admit → route → upstream (balance) → forward → observe`, put
//! together in `proxy` (calls) and `snapshot` (values); beside it how the rules change: `config → snapshot →
//! control`. `docs/ARCHITECTURE.md` is the map.
//!
//! As a library it is [`LoadBalancer`]: a balancer in one's own process, before some servers or with a whole [`Config`],
//! which is built in code or read from a text.

pub mod admin;
pub mod admit;
pub mod balance;
pub mod cli;
pub mod config;
pub mod control;
mod cookies;
pub mod demo;
mod embed;
pub mod error_pages;
pub mod exit;
pub mod explain;
pub mod failure;
pub mod forward;
pub mod http2;
pub mod identity;
pub mod lifecycle;
pub mod listen;
pub mod network;
pub mod observe;
pub mod pattern;
pub mod proxy;
pub mod request_id;
pub mod route;
mod scratch;
pub mod server;
pub mod snapshot;
mod spare;
pub mod units;
pub mod upstream;
pub mod wire;

pub use config::Config;
pub use embed::{LoadBalancer, RunError};
