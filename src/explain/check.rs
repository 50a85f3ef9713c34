//! Whether the tests of a file hold.

use serde::Serialize;

use super::{Done, Explanation, Known, explain};
use crate::config::{Config, Expected, Test};
use crate::failure::Reason;
use crate::snapshot::Snapshot;

/// What came of one test.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The line that it begins in.
    pub line: usize,
    /// What was asked.
    pub request: String,
    /// What was expected and did not come, each in words; empty if all did.
    pub wrong: Vec<String>,
    /// Why it went where it went.
    pub explanation: Explanation,
}

/// Asks all tests. `config` is what `snapshot` was compiled from.
///
/// # Errors
/// A sentence, if a test names a listener that is not there; a checked configuration has no such.
pub fn check(snapshot: &Snapshot, config: &Config) -> Result<Vec<Outcome>, String> {
    let ask = |test: &Test| {
        let explanation = explain(snapshot, config, &test.asked, Known::Written)?;
        let wrong = wrong(&test.expected, &explanation);
        Ok(Outcome { line: test.line, request: explanation.request.clone(), wrong, explanation })
    };
    config.tests.iter().map(ask).collect()
}

fn wrong(expected: &Expected, found: &Explanation) -> Vec<String> {
    let Expected { route, upstream, status, location, path, host } = expected;
    let (mut upstreams, mut came_status, mut came_location) = (Vec::new(), None, None);
    let (mut came_path, mut came_host) = (None, None);
    match &found.action {
        Some(Done::Forward { target, host, upstreams: shares }) => {
            (came_path, came_host) = (Some(target.clone()), Some(host.clone()));
            upstreams = shares.iter().filter(|share| share.weight > 0).map(|share| share.upstream.as_str()).collect();
        }
        Some(Done::Redirect { status, location }) => (came_status, came_location) = (Some(*status), location.clone()),
        Some(Done::Respond { status }) => came_status = Some(*status),
        None => {
            let reason =
                [Reason::NoRoute, Reason::BadRequest].into_iter().find(|reason| found.reason == Some(reason.token()));
            came_status = reason.and_then(Reason::status).map(|status| status.as_u16());
        }
    }
    let mut wrong = Vec::new();
    let mut compare = |what: &str, expected: Option<String>, came: Option<String>| {
        if let Some(expected) = expected.filter(|expected| came.as_ref() != Some(expected)) {
            let came = came.map_or_else(|| "there is none".to_owned(), |came| format!("it is `{came}`"));
            wrong.push(format!("expected {what} `{expected}`, {came}"));
        }
    };
    compare("route", route.clone(), found.route.clone());
    compare("status", status.map(|status| status.as_u16().to_string()), came_status.map(|status| status.to_string()));
    compare("location", location.clone(), came_location);
    compare("path", path.clone(), came_path);
    compare("host", host.clone(), came_host);
    if let Some(upstream) = upstream.as_ref().filter(|upstream| !upstreams.contains(&upstream.as_str())) {
        let came = if upstreams.is_empty() {
            "none answers".to_owned()
        } else {
            format!("it is `{}`", upstreams.join("`, `"))
        };
        wrong.push(format!("expected upstream `{upstream}`, {came}"));
    }
    wrong
}
