//! What is written and can never act.
//!
//! Invariant: nothing is called idle that is not proven to be: a route is hidden only by an earlier one without any condition
//! that it has not, a certificate is for nobody only where no host of its listener's routes can ask for it. Deliberately
//! absent: guessing about expressions.

use crate::config::{Action, Config, Listener, Route};
use crate::listen::tls;
use crate::route::{HostPattern, PathPattern};

/// Each in words: routes that can never match, upstreams and listeners that no route uses, certificates that nobody is
/// shown. The files of the certificates are read again.
pub fn idle(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for (place, route) in config.routes.iter().enumerate() {
        if let Some(first) = config.routes.iter().take(place).find(|first| hides(first, route)) {
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
    for (place, listener) in config.listeners.iter().enumerate() {
        let routes: Vec<&Route> = config.routes.iter().filter(|route| route.listeners.contains(&place)).collect();
        if routes.is_empty() {
            found.push(format!("listener `{}` is served by no route: all it answers is 404", listener.name));
        } else {
            certificates(listener, &routes, &mut found);
        }
    }
    found
}

/// The first of a listener is shown to all who ask for no name that another has; so it is never idle.
fn certificates(listener: &Listener, routes: &[&Route], found: &mut Vec<String>) {
    let files = listener.tls.as_ref().map_or(&[][..], |tls| &tls.certificates);
    let mut earlier: Vec<String> = Vec::new();
    for (place, file) in files.iter().enumerate() {
        // What cannot be read was said when the file was compiled.
        let Ok(names) = tls::names(&file.certificate) else { continue };
        let (path, name) = (file.certificate.display(), &listener.name);
        if place > 0 && names.iter().all(|name| earlier.contains(name)) {
            found.push(format!(
                "certificate `{path}` of listener `{name}` is never shown: those before it have its names"
            ));
        } else if place > 0 && !routes.iter().any(|route| asks(route, &names)) {
            found.push(format!("certificate `{path}` of listener `{name}` is for no host of its routes"));
        }
        earlier.extend(names);
    }
}

/// Whether a host of the route can ask for a certificate with one of these names.
fn asks(route: &Route, names: &[String]) -> bool {
    let hosts = &route.matches.hosts;
    hosts.is_empty() || hosts.iter().any(|host| names.iter().any(|name| fits(host, name)))
}

/// A leading `*` of a certificate stands for one label, that of a route for any number.
fn fits(host: &HostPattern, name: &str) -> bool {
    let below = |name: &str, domain: &str| name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    match (host, name.strip_prefix("*.")) {
        (HostPattern::Exact(host), None) => host == name,
        (HostPattern::Exact(host), Some(domain)) => host.split_once('.').is_some_and(|(_, rest)| rest == domain),
        (HostPattern::Below(host), None) => below(name, host),
        (HostPattern::Below(host), Some(domain)) => domain == host || below(domain, host),
    }
}

/// Whether `first`, which stands before `second`, takes every request that it would: for the same hosts and the same path
/// the one with more conditions is asked first, and of equals the earlier one. So only a route with the very same
/// conditions, or an earlier one without any beside a later one without any, can hide another.
fn hides(first: &Route, second: &Route) -> bool {
    let (a, b) = (&first.matches, &second.matches);
    // The quickest to differ comes first: of ten thousand routes all are compared with all before them.
    path_of(&a.path) == path_of(&b.path)
        && a.hosts.is_empty() == b.hosts.is_empty()
        && b.hosts.iter().all(|host| a.hosts.contains(host))
        && (&a.methods, &a.headers, &a.query, &a.cookies, &a.clients)
            == (&b.methods, &b.headers, &b.query, &b.cookies, &b.clients)
        && second.listeners.iter().all(|listener| first.listeners.contains(listener))
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

    #[test]
    fn a_certificate_fits_the_hosts_that_can_ask_for_it() {
        let host = |text: &str| HostPattern::new(text).unwrap();
        for (pattern, name, fitting) in [
            ("a.example", "a.example", true),
            ("a.example", "b.example", false),
            ("a.b.example", "*.b.example", true),
            ("a.b.example", "*.example", false),
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", true),
            ("*.example", "example", false),
            ("*.example", "aexample", false),
            ("*.example", "*.example", true),
            ("*.example", "*.b.example", true),
            ("*.b.example", "*.example", false),
        ] {
            assert_eq!(fits(&host(pattern), name), fitting, "{pattern} {name}");
        }
    }
}
