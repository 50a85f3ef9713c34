//! Stories of users, over real sockets and with the real program. One binary, so that it links once.

mod library;
mod spreading;
mod support;
