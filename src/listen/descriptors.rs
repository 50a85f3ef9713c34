//! Which connections are refused because descriptors are running out.
//!
//! A connection that was accepted needs more of them: for its backend, and for what is not of clients (health checks, files,
//! the admin address). So some are kept for those, and whoever comes when only they are left is closed at once, instead of
//! waiting in the backlog while nothing can be served. Nothing is counted for it: the system gives the lowest number that is
//! free, so that a high one says that all below it are taken.

use std::os::fd::RawFd;

use rustix::process::{Resource, getrlimit};

/// One in so many is kept: where all clients have one request under way, and others wait for their next.
const KEPT_SHARE: u64 = 4;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// The first number that no client gets.
    kept_from: RawFd,
}

impl Descriptors {
    /// By what the process may open now.
    pub(super) fn of_process() -> Descriptors {
        Descriptors::of(getrlimit(Resource::Nofile).current)
    }

    fn of(limit: Option<u64>) -> Descriptors {
        let kept_from = limit.map_or(RawFd::MAX, |limit| {
            let kept = limit / KEPT_SHARE;
            RawFd::try_from(limit - kept).unwrap_or(RawFd::MAX)
        });
        Descriptors { kept_from }
    }

    /// Whether a client may have this one.
    pub(super) fn admit(self, descriptor: RawFd) -> bool {
        descriptor < self.kept_from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_kept_for_what_is_not_of_clients() {
        let descriptors = Descriptors::of(Some(1024));
        assert!(descriptors.admit(767) && !descriptors.admit(768));
        let none = Descriptors::of(None);
        assert!(none.admit(RawFd::MAX - 1));
    }
}
