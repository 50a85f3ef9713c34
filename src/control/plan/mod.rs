//! What a configuration would change in the running process, found out without changing anything.
//!
//! Invariant: whether something changes is decided by what was checked, not by how it is written: a default that is
//! written out is no change. The words of the files only show what the change is. Deliberately absent: what the machine
//! would say to new sockets and logs, since nobody can know without opening them.

mod backends;
mod difference;
mod requests;

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

pub use backends::Backends;
pub use difference::{Difference, differences};
pub use requests::{Elsewhere, Requests};

use super::reload::InForce;
use crate::config::{Action, Config, Listener, Route, Upstream};

/// See the module's documentation.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// Whether anything would change at all.
    pub changes: bool,
    /// By name.
    pub listeners: Changes,
    /// By name; their backends stand apart.
    pub upstreams: Changes,
    /// By upstream and address.
    pub backends: Backends,
    /// By name.
    pub routes: Changes,
    /// Whether routes that stay stand in another order; it decides between equals only.
    pub routes_reordered: bool,
    /// What is written at the top of the file and takes effect with a reload.
    pub settings: Vec<Difference>,
    /// What a reload would leave as it is: it takes effect with `evenkeel upgrade`.
    pub needs_upgrade: Vec<Difference>,
    /// The recorded requests that would be answered by somebody else.
    pub requests: Requests,
}

/// What becomes of things that have names.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Changes {
    /// Those that are new.
    pub added: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
    /// Those that stay and are not as they were.
    pub changed: Vec<Changed>,
}

/// Something that stays and is not as it was.
#[derive(Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// How that is written; empty where the files say the same and a variable of the environment does not.
    pub differences: Vec<Difference>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        let Changes { added, removed, changed } = self;
        added.is_empty() && removed.is_empty() && changed.is_empty()
    }
}

impl Plan {
    /// What `next` would change, with the requests that [`Requests::elsewhere`] found.
    pub fn of(former: &InForce, next: &InForce, mut backends: Backends, requests: Requests) -> Plan {
        backends.compare(&former.config, &next.config);
        let written = Written { former: written(former), next: written(next) };
        let (former, next) = (&former.config, &next.config);
        let mut plan = Plan {
            changes: false,
            listeners: changes(&former.listeners, &next.listeners, listener_name, PartialEq::eq, |name| {
                written.of("listeners", name, &[])
            }),
            upstreams: changes(&former.upstreams, &next.upstreams, upstream_name, same_upstream, |name| {
                written.of("upstreams", name, &["backends"])
            }),
            backends,
            routes: changes(
                &former.routes,
                &next.routes,
                route_name,
                |a, b| same_route(former, a, next, b),
                |name| written.of_route(name),
            ),
            routes_reordered: reordered(&former.routes, &next.routes),
            settings: settings(former, next, &written),
            needs_upgrade: needs_upgrade(former, next),
            requests,
        };
        let Plan { changes: _, listeners, upstreams, backends, routes, routes_reordered, .. } = &plan;
        let same = [listeners, upstreams, routes].into_iter().all(Changes::is_empty) && backends.is_empty();
        plan.changes = !(same && !routes_reordered && plan.settings.is_empty() && plan.needs_upgrade.is_empty());
        plan
    }
}

/// What takes effect only when another process takes over: pingora's settings, and where the admin address listens.
pub fn needs_upgrade(former: &Config, next: &Config) -> Vec<Difference> {
    let server = |config: &Config| serde_json::to_value(&config.server).unwrap_or_default();
    let mut found = differences(&server(former), &server(next), &["daemon", "ca_file"]);
    let address = |config: &Config| config.admin.as_ref().map(|admin| Value::from(admin.address.to_string()));
    let (from, to) = (address(former), address(next));
    if from != to {
        found.push(Difference { key: "admin.address".to_owned(), from, to });
    }
    found
}

/// What is written at the top, takes effect at once, and is no list of things.
fn settings(former: &Config, next: &Config, written: &Written<'_>) -> Vec<Difference> {
    let Config {
        server,
        lame_duck,
        watch,
        admin,
        access_log,
        client_address,
        via,
        error_pages,
        path_normalization,
        listeners: _,
        upstreams: _,
        routes: _,
        // They change nothing.
        tests: _,
    } = former;
    let changed = [
        ("lame_duck", *lame_duck != next.lame_duck),
        ("watch", *watch != next.watch),
        ("admin", *admin != next.admin),
        ("access_log", *access_log != next.access_log),
        ("client_address", *client_address != next.client_address),
        ("via", *via != next.via),
        ("error_pages", *error_pages != next.error_pages),
        ("path_normalization", *path_normalization != next.path_normalization),
        ("ca_file", server.ca_file != next.server.ca_file),
    ];
    let changed = changed.into_iter().filter_map(|(key, is)| is.then_some(key));
    changed.map(|key| written.top(key)).collect()
}

fn changes<T>(
    former: &[T],
    next: &[T],
    name: fn(&T) -> &str,
    same: impl Fn(&T, &T) -> bool,
    differences: impl Fn(&str) -> Vec<Difference>,
) -> Changes {
    let known: HashMap<&str, &T> = former.iter().map(|thing| (name(thing), thing)).collect();
    let mut changes = Changes::default();
    for thing in next {
        match known.get(name(thing)) {
            None => changes.added.push(name(thing).to_owned()),
            Some(was) if same(was, thing) => {}
            Some(_) => {
                changes.changed.push(Changed { name: name(thing).to_owned(), differences: differences(name(thing)) });
            }
        }
    }
    let stays: HashMap<&str, &T> = next.iter().map(|thing| (name(thing), thing)).collect();
    let gone = former.iter().map(name).filter(|name| !stays.contains_key(name));
    changes.removed = gone.map(str::to_owned).collect();
    changes
}

fn listener_name(listener: &Listener) -> &str {
    &listener.name
}

fn upstream_name(upstream: &Upstream) -> &str {
    &upstream.name
}

fn route_name(route: &Route) -> &str {
    &route.name
}

/// But for its backends.
fn same_upstream(a: &Upstream, b: &Upstream) -> bool {
    let without = |upstream: &Upstream| Upstream { backends: Vec::new(), ..upstream.clone() };
    without(a) == without(b)
}

/// Routes refer by places, which turn when something is inserted: they are compared by what stands there.
fn same_route(former: &Config, a: &Route, next: &Config, b: &Route) -> bool {
    refers_to(former, a) == refers_to(next, b) && without_places(a) == without_places(b)
}

fn refers_to<'a>(config: &'a Config, route: &'a Route) -> (Vec<&'a str>, Vec<(&'a str, u32)>) {
    let listeners = route.listeners.iter().filter_map(|place| config.listeners.get(*place)).map(listener_name);
    let shares = match &route.action {
        Action::Forward(forward) => forward.split.upstreams.as_slice(),
        Action::Redirect(..) | Action::Respond(_) => &[],
    };
    let upstream = |place: usize| config.upstreams.get(place).map(upstream_name);
    let shares = shares.iter().filter_map(|(place, weight)| Some((upstream(*place)?, *weight)));
    (listeners.collect(), shares.collect())
}

fn without_places(route: &Route) -> Route {
    let mut route = Route { listeners: Vec::new(), ..route.clone() };
    match &mut route.action {
        Action::Forward(forward) => forward.split.upstreams.clear(),
        Action::Redirect(..) | Action::Respond(_) => {}
    }
    route
}

/// Whether those that are in both stand in another order.
fn reordered(former: &[Route], next: &[Route]) -> bool {
    let names =
        |routes: &[Route]| -> HashMap<String, ()> { routes.iter().map(|route| (route.name.clone(), ())).collect() };
    let (was, is) = (names(former), names(next));
    let kept = |routes: &[Route], others: &HashMap<String, ()>| -> Vec<String> {
        routes.iter().filter(|route| others.contains_key(&route.name)).map(|route| route.name.clone()).collect()
    };
    kept(former, &is) != kept(next, &was)
}

/// The words of both files.
struct Written<'a> {
    former: &'a Value,
    next: &'a Value,
}

fn written(in_force: &InForce) -> &Value {
    in_force.origin.as_ref().map_or(&Value::Null, |origin| &origin.written)
}

impl Written<'_> {
    fn of(&self, kind: &str, name: &str, but: &[&str]) -> Vec<Difference> {
        let [from, to] = [self.former, self.next].map(|written| written.get(kind).and_then(|things| things.get(name)));
        differences(from.unwrap_or(&Value::Null), to.unwrap_or(&Value::Null), but)
    }

    /// Routes are a list; those without a name are called by their number.
    fn of_route(&self, name: &str) -> Vec<Difference> {
        let [from, to] = [self.former, self.next].map(|written| {
            let routes = written.get("routes").and_then(Value::as_array)?;
            let named = |route: &&Value| route.get("name").and_then(Value::as_str) == Some(name);
            let numbered = || name.strip_prefix("route-")?.parse::<usize>().ok()?.checked_sub(1);
            routes.iter().find(named).or_else(|| routes.get(numbered()?))
        });
        differences(from.unwrap_or(&Value::Null), to.unwrap_or(&Value::Null), &[])
    }

    fn top(&self, key: &str) -> Difference {
        let [from, to] = [self.former, self.next].map(|written| written.get(key).cloned());
        Difference { key: key.to_owned(), from, to }
    }
}

#[cfg(test)]
mod tests;
