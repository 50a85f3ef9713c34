//! Stories of users, over real sockets and with the real program. One binary, so that it links once.

mod failures;
mod forwarding;
mod http2;
mod library;
mod limits;
mod logging;
mod spreading;
mod support;
mod timeouts;
mod tls;
mod websockets;
