//! `sticky` of an upstream: whether a client stays at the backend that served it, by a cookie.
//!
//! Invariant: no secret stands in a file of the configuration. Deliberately absent: reading the secret's file.

use std::path::PathBuf;
use std::time::Duration;

use super::Folder;
use super::balance::cookie_name;
use super::problem::Problem;
use super::section::{Section, is_off, is_on, positive};
use crate::units::Mistake;

/// What the cookie is called unless it is named.
const DEFAULT_NAME: &str = "evenkeel";

/// The cookie that says where a client stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyCookie {
    /// What it is called.
    pub name: String,
    /// How long clients keep it; None: until they are closed.
    pub max_age: Option<Duration>,
    /// Where the secret is that it is signed with, as an absolute path; None: one that the process makes up.
    pub secret_file: Option<PathBuf>,
}

impl Default for StickyCookie {
    fn default() -> Self {
        StickyCookie { name: DEFAULT_NAME.to_owned(), max_age: None, secret_file: None }
    }
}

/// `off`, or a mapping with the cookie; without the key nobody stays anywhere.
pub(super) fn read(upstream: &mut Section<'_>, folder: &Folder<'_>) -> Option<StickyCookie> {
    let report = upstream.report();
    let entry = upstream.entry("sticky").filter(|entry| !is_off(entry.node))?;
    if is_on(entry.node) {
        return Some(StickyCookie::default());
    }
    let title = format!("`sticky` of {}", upstream.title());
    let mut section = Section::open(report, "sticky", title, Some(entry.key.place), entry.node)?;
    let default = StickyCookie::default();
    let written = section.required("cookie", "write `sticky: { cookie: { name: evenkeel } }`, or `sticky: off`");
    section.close();
    let mut cookie =
        Section::open(report, "sticky cookie", "the sticky `cookie`", Some(entry.key.place), written?.node)?;
    if let Some(secret) = cookie.refused("secret") {
        report.conceal(secret.node.place);
        let problem = Problem::at(secret.key.place, "a secret cannot stand in the file");
        report.add(problem.help("write `secret_file:` and a path"));
    }
    let read = StickyCookie {
        name: cookie.parsed("name", default.name, cookie_name),
        max_age: cookie.parsed("max_age", default.max_age, |text| match text {
            "session" => Ok(None),
            _ => whole_seconds(text).map(Some),
        }),
        secret_file: cookie.parsed("secret_file", default.secret_file, |text| folder.file(text).map(Some)),
    };
    cookie.close();
    Some(read)
}

/// `Max-Age` has no fractions (RFC 6265, section 4.1.1).
fn whole_seconds(text: &str) -> Result<Duration, Mistake> {
    const HELP: &str = "write whole seconds, such as `1h`, or `session`";
    match positive("max_age", text, HELP)? {
        age if age.subsec_nanos() == 0 => Ok(age),
        _ => Err(Mistake::new(format!("`max_age` cannot be `{text}`"), HELP)),
    }
}
