//! `routes`: which upstream answers what.
//!
//! Invariant: after reading, names are indexes that hold. Deliberately absent: which route wins, which is decided by
//! the router.

use super::listeners::Listener;
use super::problem::{Problem, Report};
use super::section::{Entry, Section, check_name};
use super::suggest;
use super::tree::{Node, Value};
use super::upstreams::{Upstream, read_request_body};
use crate::units::SizeLimit;

const EXAMPLE: &str = "write `routes: [ { upstream: app } ]`";

/// What is asked, and who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Unique in the file; `route-` and its number when it was not written.
    pub name: String,
    /// Indexes into `Config::listeners`, ascending; at least one.
    pub listeners: Vec<usize>,
    /// Index into `Config::upstreams`.
    pub upstream: usize,
    /// The largest body of a request; none: what its upstream says.
    pub request_body: Option<SizeLimit>,
}

/// The routes in the order of the file.
pub(super) fn read(
    report: &Report,
    entry: Option<Entry<'_>>,
    listeners: &[Listener],
    upstreams: &[Upstream],
) -> Vec<Route> {
    let items = entry.map_or(&[][..], |entry| entry.items(report, EXAMPLE));
    let listeners: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    let upstreams: Vec<&str> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    let mut names = std::collections::HashMap::new();
    let mut routes = Vec::new();
    for (index, node) in items.iter().enumerate() {
        let Some(section) = Section::open(report, "route", format!("route {}", index + 1), Some(node.place), node)
        else {
            continue;
        };
        let Some((route, place)) = read_one(section, index, &listeners, &upstreams, node) else {
            continue;
        };
        if let Some(first) = names.get(&route.name) {
            let problem = Problem::at(place, format!("two routes are called `{}`", route.name));
            report.add(problem.label("again here").related(*first, "first here").help("give each its own name"));
        } else {
            names.insert(route.name.clone(), place);
        }
        routes.push(route);
    }
    routes
}

fn read_one(
    mut section: Section<'_>,
    index: usize,
    listeners: &[&str],
    upstreams: &[&str],
    node: &Node,
) -> Option<(Route, super::problem::Place)> {
    let report = section.report();
    let written = section.entry("name");
    let name = written.and_then(|entry| entry.text(report).map(|text| (text, entry.node.place)));
    if let Some((name, place)) = name {
        check_name(report, "a route", name, place);
    }
    let (name, place) =
        name.map_or_else(|| (format!("route-{}", index + 1), node.place), |(name, place)| (name.to_owned(), place));
    let chosen = section.entry("listeners");
    let chosen =
        chosen.map_or_else(|| (0..listeners.len()).collect(), |entry| read_listeners(report, entry, listeners, &name));
    let upstream = section.required("upstream", "write `upstream:` and the name of one").and_then(|entry| {
        let text = entry.text(report)?;
        let found = upstreams.iter().position(|upstream| *upstream == text);
        if found.is_none() && !upstreams.is_empty() {
            let problem = Problem::at(entry.node.place, format!("no upstream is called `{text}`"));
            let help = suggest::help(text, "upstreams here", upstreams);
            report.add(problem.label(format!("used by route `{name}`")).help(help));
        }
        found
    });
    let request_body = read_request_body(section.section("limits", "route limits"));
    section.close();
    Some((Route { name, listeners: chosen, upstream: upstream?, request_body }, place))
}

fn read_listeners(report: &Report, entry: Entry<'_>, listeners: &[&str], route: &str) -> Vec<usize> {
    const HELP: &str = "write the names of listeners, as in `[web]`; without the key it is all of them";
    let mut chosen = Vec::new();
    for item in entry.items(report, HELP) {
        let Value::Scalar(text) = &item.value else {
            report.add(Problem::at(item.place, "a listener of a route must be a name").help(HELP));
            continue;
        };
        match listeners.iter().position(|listener| listener == text) {
            Some(index) if chosen.contains(&index) => {
                report.add(
                    Problem::at(item.place, format!("listener `{text}` stands twice in route `{route}`"))
                        .help("keep one of them"),
                );
            }
            Some(index) => chosen.push(index),
            None if listeners.is_empty() => {}
            None => {
                let problem = Problem::at(item.place, format!("no listener is called `{text}`"));
                let help = suggest::help(text, "listeners here", listeners);
                report.add(problem.label(format!("used by route `{route}`")).help(help));
            }
        }
    }
    chosen.sort_unstable();
    chosen
}
