//! Whether the tests of a file hold, and what in it can never act.
//!
//! Invariant: a route is called unreachable only where that is proven: another that is asked before it has no condition
//! that it has not. Deliberately absent: guessing about expressions.

use serde::Serialize;

use super::{Done, Explanation, Known, explain};
use crate::config::{Action, Config, Expected, Route, Test};
use crate::failure::Reason;
use crate::route::{HostPattern, PathPattern};
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

/// What is written and can never act, each in words.
pub fn idle(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for (place, route) in config.routes.iter().enumerate() {
        let before = config
            .routes
            .iter()
            .enumerate()
            .find(|(other, first)| *other != place && hides(first, *other, route, place));
        if let Some((_, first)) = before {
            found.push(format!("route `{}` can never match: `{}` takes all that it would", route.name, first.name));
        }
    }
    for (place, upstream) in config.upstreams.iter().enumerate() {
        let used = config.routes.iter().any(|route| match &route.action {
            Action::Forward(forward) => {
                forward.split.upstreams.iter().any(|(used, weight)| *used == place && *weight > 0)
            }
            Action::Redirect(..) | Action::Respond(_) => false,
        });
        if !used {
            found.push(format!("upstream `{}` is used by no route", upstream.name));
        }
    }
    found
}

/// Whether `first` takes every request that `second` would, and is asked before it: for the same hosts and the same path
/// the one with more conditions is asked first, and of equals the earlier one. So only a route with the very same
/// conditions, or an earlier one without any beside a later one without any, can hide another.
fn hides(first: &Route, first_place: usize, second: &Route, second_place: usize) -> bool {
    let serves_all = second.listeners.iter().all(|listener| first.listeners.contains(listener));
    let same_hosts = !second.matches.hosts.is_empty()
        && second.matches.hosts.iter().all(|host| contains(&first.matches.hosts, host))
        || first.matches.hosts.is_empty() && second.matches.hosts.is_empty();
    let same_path = path_of(&first.matches.path) == path_of(&second.matches.path);
    let (a, b) = (&first.matches, &second.matches);
    let same_conditions = (&a.methods, &a.headers, &a.query, &a.cookies, &a.clients)
        == (&b.methods, &b.headers, &b.query, &b.cookies, &b.clients);
    first_place < second_place && serves_all && same_hosts && same_path && same_conditions
}

fn contains(hosts: &[HostPattern], host: &HostPattern) -> bool {
    hosts.contains(host)
}

/// No path and the prefix of everything are the same.
fn path_of(path: &Option<PathPattern>) -> Option<&PathPattern> {
    path.as_ref().filter(|path| !matches!(path, PathPattern::Prefix(prefix) if prefix == "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(routes: &str) -> Vec<String> {
        let text = format!(
            "version: 1\nlisteners: {{ web: {{ address: 127.0.0.1:1 }}, more: {{ address: 127.0.0.1:2 }} }}\n\
             upstreams: {{ app: {{ backends: [127.0.0.1:3] }} }}\nroutes:\n{routes}"
        );
        idle(
            &crate::config::parse(&text, "a.yaml", std::path::Path::new("/")).unwrap_or_else(|error| panic!("{error}")),
        )
    }

    #[test]
    fn only_what_is_hidden_for_sure_is_called_so() {
        let hidden =
            said("  - { name: a, upstream: app }\n  - { name: b, match: { path: { prefix: / } }, upstream: app }\n");
        assert_eq!(hidden, ["route `b` can never match: `a` takes all that it would"]);
        for reachable in [
            "  - { name: a, upstream: app }\n  - { name: b, match: { path: { prefix: /b } }, upstream: app }\n",
            "  - { name: a, upstream: app }\n  - { name: b, match: { methods: [GET] }, upstream: app }\n",
            "  - { name: a, listeners: [web], upstream: app }\n  - { name: b, upstream: app }\n",
            "  - { name: a, match: { hosts: [a.example] }, upstream: app }\n  - { name: b, upstream: app }\n",
            "  - { name: a, match: { hosts: [a.example] }, upstream: app }\n  - { name: b, match: { hosts: [a.example, b.example] }, upstream: app }\n",
        ] {
            assert!(said(reachable).is_empty(), "{reachable}");
        }
        assert_eq!(said("  - { respond: { status: 404 } }\n"), ["upstream `app` is used by no route"]);
    }
}
