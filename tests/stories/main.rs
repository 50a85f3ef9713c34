//! Stories of users, over real sockets and with the real program. One binary, so that it links once.

mod failures;
mod forwarding;
mod library;
mod limits;
mod spreading;
mod support;
mod timeouts;
