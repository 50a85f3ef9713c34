//! Stories of users, over real sockets and with the real program. One binary, so that it links once.

mod daemon;
mod draining;
mod failures;
mod forwarding;
mod http2;
mod killing;
mod library;
mod limits;
mod logging;
mod reloading;
mod spreading;
mod support;
mod timeouts;
mod tls;
mod upgrading;
mod websockets;
