//! `routes`: which requests go where.
//!
//! Invariant: after reading, names are indexes that hold, and nothing is written that has no effect on what the route
//! does. Deliberately absent: which route wins, which is decided by the router.

use std::time::Duration;

use super::action::{self, Redirect, Respond, Split, Upstreams, Written};
use super::header_rules::{self, Side};
use super::listeners::Listener;
use super::problem::{Place, Problem, Report};
use super::retry::{self, RetryRule};
use super::section::{Entry, Section, check_name, positive};
use super::suggest;
use super::tree::{Node, Value};
use super::upstreams::{Upstream, read_request_body};
use super::{matches, rewrite};
use crate::forward::header_rules::HeaderRules;
use crate::forward::rewrite::{PathRewrite, Rewrite};
use crate::route::{Match, Normalisation};
use crate::units::SizeLimit;

const EXAMPLE: &str = "write `routes: [ { upstream: app } ]`";

/// What is asked, and what is done.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Unique in the file; `route-` and its number when it was not written.
    pub name: String,
    /// Indexes into `Config::listeners`, ascending; at least one.
    pub listeners: Vec<usize>,
    /// Which requests.
    pub matches: Match,
    /// What is done with them.
    pub action: Action,
    /// What is changed in the heads of its answers.
    pub response_headers: HeaderRules,
}

impl Route {
    /// All requests of these listeners to one upstream, with the defaults of a file.
    pub fn to_upstream(name: impl Into<String>, listeners: Vec<usize>, upstream: usize) -> Route {
        Route {
            name: name.into(),
            listeners,
            matches: Match::default(),
            action: Action::Forward(Box::new(Forward::to(Split::to(upstream)))),
            response_headers: HeaderRules::default(),
        }
    }
}

/// What a route does with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A backend answers.
    Forward(Box<Forward>),
    /// The client is sent elsewhere; the path in it is changed first.
    Redirect(Redirect, Option<PathRewrite>),
    /// We answer.
    Respond(Respond),
}

/// How requests are forwarded.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Where.
    pub split: Split,
    /// With another path or host.
    pub rewrite: Rewrite,
    /// What is changed in their heads.
    pub request_headers: HeaderRules,
    /// How long a backend may take.
    pub timeouts: RouteTimeouts,
    /// When they are tried again.
    pub retry: RetryRule,
    /// The largest body of a request; none: what its upstream says.
    pub request_body: Option<SizeLimit>,
}

impl Forward {
    /// With the defaults of a file.
    pub fn to(split: Split) -> Forward {
        Forward {
            split,
            rewrite: Rewrite::default(),
            request_headers: HeaderRules::default(),
            timeouts: RouteTimeouts::default(),
            retry: RetryRule::default(),
            request_body: None,
        }
    }
}

/// Time-outs of a route; where there is none the upstream's holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// To accept a connection.
    pub connect: Option<Duration>,
    /// From the end of the request to the first byte of the response.
    pub first_byte: Option<Duration>,
    /// Between two reads or writes.
    pub idle: Option<Duration>,
    /// For a whole request with all its attempts; Some(None): unlimited.
    pub total: Option<Option<Duration>>,
    /// Between two bytes of an upgraded connection.
    pub tunnel: Option<Duration>,
}

/// The routes in the order of the file.
pub(super) fn read(
    report: &Report,
    entry: Option<Entry<'_>>,
    listeners: &[Listener],
    upstreams: &[Upstream],
    normalisation: Normalisation,
) -> Vec<Route> {
    let items = entry.map_or(&[][..], |entry| entry.items(report, EXAMPLE));
    let names = Names {
        listeners: listeners.iter().map(|listener| listener.name.as_str()).collect(),
        upstreams: Upstreams::new(upstreams.iter().map(|upstream| upstream.name.as_str())),
        normalisation,
    };
    let mut known = std::collections::HashMap::new();
    let mut routes = Vec::new();
    for (index, node) in items.iter().enumerate() {
        let Some(section) = Section::open(report, "route", format!("route {}", index + 1), Some(node.place), node)
        else {
            continue;
        };
        let Some((route, place)) = read_one(section, index, &names, node) else {
            continue;
        };
        if let Some(first) = known.get(&route.name) {
            let problem = Problem::at(place, format!("two routes are called `{}`", route.name));
            report.add(problem.label("again here").related(*first, "first here").help("give each its own name"));
        } else {
            known.insert(route.name.clone(), place);
        }
        routes.push(route);
    }
    routes
}

/// What routes refer to.
struct Names<'a> {
    listeners: Vec<&'a str>,
    upstreams: Upstreams<'a>,
    normalisation: Normalisation,
}

fn read_one(mut section: Section<'_>, index: usize, names: &Names<'_>, node: &Node) -> Option<(Route, Place)> {
    let report = section.report();
    let written = section.entry("name");
    let name = written.and_then(|entry| entry.text(report).map(|text| (text, entry.node.place)));
    if let Some((name, place)) = name {
        check_name(report, "a route", name, place);
    }
    let (name, place) =
        name.map_or_else(|| (format!("route-{}", index + 1), node.place), |(name, place)| (name.to_owned(), place));
    let listeners = section.entry("listeners");
    let listeners = listeners.map_or_else(
        || (0..names.listeners.len()).collect(),
        |entry| read_listeners(report, entry, &names.listeners, &name),
    );
    let matches = matches::read(&mut section, names.normalisation);
    let action = action::read(&mut section, &names.upstreams, &name);
    let response_headers = header_rules::read(&mut section, Side::Response);
    let rest = Forward {
        split: Split { upstreams: Vec::new(), key: None },
        rewrite: rewrite::read(&mut section, names.normalisation),
        request_headers: header_rules::read(&mut section, Side::Request),
        timeouts: read_timeouts(section.section("timeouts", "route timeouts")),
        retry: retry::read_rule(&mut section),
        request_body: read_request_body(section.section("limits", "route limits")),
    };
    if let Some((key, _)) = &action {
        without_effect(&mut section, key);
    }
    section.close();
    let action = match action?.1 {
        Written::Forward(split) => Action::Forward(Box::new(Forward { split, ..rest })),
        Written::Redirect(redirect) => Action::Redirect(redirect, rest.rewrite.path),
        Written::Respond(respond) => Action::Respond(respond),
    };
    Some((Route { name, listeners, matches, action, response_headers }, place))
}

/// What is written beside an action that it does not concern.
fn without_effect(section: &mut Section<'_>, action: &str) {
    const FORWARDING: [&str; 5] = ["rewrite", "request_headers", "timeouts", "retry", "limits"];
    let keys: &[&'static str] = match action {
        "redirect" => &["request_headers", "timeouts", "retry", "limits"],
        "respond" => &FORWARDING,
        _ => &[],
    };
    let report = section.report();
    for key in keys {
        if let Some(entry) = section.entry(key) {
            let problem = Problem::at(entry.key.place, format!("`{key}` has no effect beside `{action}`"));
            report.add(problem.help("no backend is asked: leave it out"));
        }
    }
    if action != "redirect" {
        return;
    }
    if let Some(Value::Mapping(entries)) = section.entry("rewrite").map(|entry| &entry.node.value)
        && let Some((key, _)) = entries.iter().find(|(key, _)| key.text == "host")
    {
        let problem = Problem::at(key.place, "`host` has no effect beside `redirect`");
        report.add(problem.help("write the host into `to`"));
    }
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

fn read_timeouts(mut section: Section<'_>) -> RouteTimeouts {
    const HELP: &str = "the shortest is `1ms`; what must never end wants a long one, such as `1d`";
    let mut duration = |key: &'static str| section.parsed(key, None, |text| positive(key, text, HELP).map(Some));
    let (connect, first_byte) = (duration("connect"), duration("first_byte"));
    let (idle, tunnel) = (duration("idle"), duration("tunnel"));
    let total = section.parsed("total", None, |text| match text {
        "unlimited" => Ok(Some(None)),
        _ => positive("total", text, "write `unlimited`").map(|total| Some(Some(total))),
    });
    section.close();
    RouteTimeouts { connect, first_byte, idle, total, tunnel }
}
