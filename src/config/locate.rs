//! Where the running process of a file is found: enough to tell it something, also while the file has mistakes.
//!
//! Invariant: what is answered was read without a mistake, so that nobody is told what was meant for another process.
//! Deliberately absent: listeners, upstreams and routes, which may be in the middle of a change.

use std::path::Path;
use std::time::Duration;

use pingora_core::server::configuration::ServerConf;

use super::environment::{self, References};
use super::include::Files;
use super::problem::Report;
use super::section::Section;
use super::source::Folders;
use super::tree::{Node, Value};
use super::{Admin, LoadError, Problems, admin, server};

/// What finds a running process, and what it takes to wait for it.
#[derive(Debug)]
pub struct Whereabouts {
    /// With `pid_file` and `upgrade_sock`.
    pub server: ServerConf,
    /// None: it has no admin address.
    pub admin: Option<Admin>,
    /// How long it goes on after TERM before it drains.
    pub lame_duck: Duration,
}

/// The rest of the file may be wrong, or refer to variables that only the process has.
const PASSED_OVER: [&str; 6] = ["listeners", "upstreams", "routes", "tests", "access_log", "include"];

/// Reads of a file what finds its process.
///
/// # Errors
/// If the file cannot be read, is no YAML, or what is needed of it is wrong.
pub fn locate(path: &Path) -> Result<Whereabouts, LoadError> {
    let report = Report::default();
    let mut files = Files::new(&report, &environment::of_process);
    let root = files
        .open(path, &path.display().to_string())
        .map_err(|error| LoadError::Unreadable { path: path.to_owned(), error })?;
    let Files { sources, references, incomplete, .. } = files;
    let found = root.filter(|_| !incomplete).and_then(|root| find(&report, &root, &references, &Folders(&sources)));
    let problems = report.take_problems();
    match found {
        Some(found) if problems.is_empty() => Ok(found),
        Some(_) | None => Err(LoadError::Problems(Problems::new(sources, references.apply(problems)))),
    }
}

fn find(report: &Report, root: &Node, references: &References, folders: &Folders<'_>) -> Option<Whereabouts> {
    if let Value::Mapping(entries) = &root.value
        && entries.iter().any(|(key, node)| !PASSED_OVER.contains(&key.text.as_str()) && references.leave_open(node))
    {
        return None;
    }
    let mut top = Section::open(report, "", "the file", None, root)?;
    let written = top.entry("admin");
    Some(Whereabouts {
        admin: admin::read(report, written, folders),
        lame_duck: top.parsed("lame_duck", super::DEFAULT_LAME_DUCK, super::lame_duck),
        server: server::read(&mut top, folders),
    })
}
