//! `evenkeel` itself: in the foreground, as a daemon, as a successor.

use super::Options;
use crate::control::daemon;
use crate::control::shutdown::BySignal;
use crate::exit;
use crate::server::{Prepared, Sockets};

pub fn run(options: &Options) -> i32 {
    let (mut config, origin) = match options.config() {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    config.server.daemon |= options.daemon;
    if config.server.daemon && !daemon::is_to_fork() {
        return match daemon::launch() {
            Ok(()) => exit::OK,
            Err((why, code)) => {
                complain!("error: {why}");
                code.unwrap_or(exit::START)
            }
        };
    }
    raise_descriptor_limit();
    let sockets = if options.upgrade { Sockets::TakeOver } else { Sockets::Bind };
    let done = Prepared::new(config, origin, sockets).and_then(|prepared| prepared.run(|ending, _| BySignal(ending)));
    match done {
        Ok(()) => exit::OK,
        Err(error) => {
            complain!("error: {error}");
            exit::START
        }
    }
}

/// Connections are descriptors; the soft limit is a default of login shells, not a decision.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        log::warn!(error:%; "limit of open descriptors could not be raised");
    }
}
