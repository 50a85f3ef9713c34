//! `admin`: the address of the dashboard, the metrics and the API.
//!
//! Invariant: nobody outside this machine reaches it. Deliberately absent: tokens, which come with a later version.

use super::address::Address;
use super::problem::{Problem, Report};
use super::section::{Entry, Section, is_off, is_on};

/// Where the peers' habits look for it, and no registered service listens.
pub const DEFAULT_PORT: u16 = 9901;

/// The admin address.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// A loopback address or a Unix socket.
    pub address: Address,
}

impl Default for Admin {
    fn default() -> Self {
        Admin { address: Address::loopback(DEFAULT_PORT) }
    }
}

/// `off`, or a mapping with the address.
pub(super) fn read(report: &Report, entry: Option<Entry<'_>>) -> Option<Admin> {
    let Some(entry) = entry else {
        return Some(Admin::default());
    };
    if is_off(entry.node) {
        return None;
    }
    if is_on(entry.node) {
        return Some(Admin::default());
    }
    let default = Admin::default();
    let mut section = Section::open(report, "admin", "`admin`", Some(entry.key.place), entry.node)?;
    let written = section.entry("address");
    let address = written.and_then(|address| address.parsed(report, super::listeners::fixed_address));
    if let (Some(address), Some(written)) = (&address, written)
        && !address.is_local()
    {
        report.add(
            Problem::at(written.node.place, format!("the admin address refuses to listen on `{address}` without a token"))
                .label("others can reach this")
                .help("use a loopback address such as `127.0.0.1:9901`, or `unix:/path`; tokens are not supported by this version"),
        );
    }
    section.close();
    Some(Admin { address: address.unwrap_or(default.address) })
}
