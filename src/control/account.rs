//! The account that a daemon takes on after it has bound its sockets.
//!
//! pingora looks it up after it has forked, where nobody reads its error; so it is looked up before. What the
//! daemon must be able to open again later (its folder, its log, the socket of a hand-over) is given to it.

use std::os::unix::fs::chown;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User};

use crate::config::Config;

/// Who a daemon will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    user: Uid,
    group: Gid,
}

impl Account {
    /// The account that the configuration names; none if the process stays who it is.
    ///
    /// # Errors
    /// A sentence, if the machine does not know the user or the group.
    pub fn of(config: &Config) -> Result<Option<Account>, String> {
        let user = match &config.server.user {
            None => None,
            Some(name) => match User::from_name(name) {
                Ok(Some(user)) => Some(user),
                Ok(None) | Err(_) => return Err(format!("there is no user `{name}` on this machine")),
            },
        };
        let group = match &config.server.group {
            None => None,
            Some(name) => match Group::from_name(name) {
                Ok(Some(group)) => Some(group.gid),
                Ok(None) | Err(_) => return Err(format!("there is no group `{name}` on this machine")),
            },
        };
        let changes = config.server.daemon && Uid::effective().is_root();
        Ok(user.filter(|_| changes).map(|user| Account { user: user.uid, group: group.unwrap_or(user.gid) }))
    }

    /// Gives a file or folder to the account.
    ///
    /// # Errors
    /// A sentence, if the machine does not allow it.
    pub fn give(self, path: &Path) -> Result<(), String> {
        chown(path, Some(self.user.as_raw()), Some(self.group.as_raw()))
            .map_err(|error| format!("`{}` cannot be given to the daemon's user: {error}", path.display()))
    }
}
