//! How the process is told things: signals, a new configuration, a successor. Only `control` publishes a
//! snapshot, and only a whole.

pub mod account;
pub mod command;
pub mod daemon;
pub mod handover;
pub mod notify;
pub mod orders;
pub mod pid_file;
pub mod plan;
pub mod reload;
pub mod shutdown;
pub mod watch;
