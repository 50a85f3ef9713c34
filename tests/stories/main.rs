//! Stories of users, over real sockets and with the real program. One binary, so that it links once.

mod daemon;
mod draining;
mod killing;
mod library;
mod reloading;
mod spreading;
mod support;
mod upgrading;
