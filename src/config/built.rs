//! Configurations that no file holds: texts of programs, and values built in code.
//!
//! Invariant: what a value refers to is there when it is used. Deliberately absent: what types say already, and ranges,
//! which the readers of a file keep for people; who writes code says what it means.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::{Action, Address, Config, Listener, Problems, Route, Upstream, parse};

impl Config {
    /// Reads a text as if it were a file in the current folder, with all that is checked of a file.
    ///
    /// # Errors
    /// For what is wrong with it.
    pub fn from_yaml(text: &str) -> Result<Config, Problems> {
        let folder = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
        parse(text, "the configuration", &folder)
    }

    /// The same configuration beside others on one machine, as tests want it: listeners are on ports that are free, of the
    /// addresses that they have, and there is no admin address.
    #[must_use]
    pub fn on_free_ports(mut self) -> Config {
        for listener in &mut self.listeners {
            match &mut listener.address {
                Address::Tcp(address) => address.set_port(0),
                Address::Unix(_) => {}
            }
        }
        self.admin = None;
        self
    }

    /// Whether a value that was built in code holds together: names are names and each is given once, indexes lead
    /// somewhere, no two listen at one address.
    ///
    /// # Errors
    /// A sentence, for the first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        let Config { server, admin, listeners, upstreams, routes, .. } = self;
        names("a listener", listeners.iter().map(|listener| listener.name.as_str()))?;
        names("an upstream", upstreams.iter().map(|upstream| upstream.name.as_str()))?;
        names("a route", routes.iter().map(|route| route.name.as_str()))?;
        if server.threads == 0 {
            return Err("`threads` is 0; there must be one at least".to_owned());
        }
        let sources = server.client_bind_to_ipv4.iter().map(|text| (text, text.parse::<Ipv4Addr>().is_ok()));
        let sources =
            sources.chain(server.client_bind_to_ipv6.iter().map(|text| (text, text.parse::<Ipv6Addr>().is_ok())));
        if let Some((text, _)) = sources.into_iter().find(|(_, is_one)| !is_one) {
            return Err(format!("`{text}` is not a source address of its family"));
        }
        addresses(listeners, admin.as_ref().map(|admin| &admin.address))?;
        upstreams.iter().try_for_each(backends)?;
        routes.iter().try_for_each(|route| references(route, listeners.len(), upstreams.len()))
    }
}

fn names<'a>(what: &str, all: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for name in all {
        if !super::section::is_name(name) {
            return Err(format!("`{name}` cannot be the name of {what}"));
        }
        if !seen.insert(name) {
            return Err(format!("`{name}` is the name of {what} twice"));
        }
    }
    if seen.is_empty() { Err(format!("there is not {what}; there must be one at least")) } else { Ok(()) }
}

/// Where the system chooses the port, nobody is in the way.
fn addresses(listeners: &[Listener], admin: Option<&Address>) -> Result<(), String> {
    let is_fixed = |address: &&Address| !matches!(address, Address::Tcp(address) if address.port() == 0);
    let mut seen: Vec<&Address> = admin.into_iter().filter(is_fixed).collect();
    for address in listeners.iter().map(|listener| &listener.address).filter(is_fixed) {
        if let Some(other) = seen.iter().find(|other| other.collides(address)) {
            return Err(format!("`{address}` and `{other}` cannot both be listened on"));
        }
        seen.push(address);
    }
    let without = |listener: &&Listener| listener.tls.as_ref().is_some_and(|tls| tls.certificates.is_empty());
    match listeners.iter().find(without) {
        Some(listener) => Err(format!("listener `{}` has TLS and no certificate", listener.name)),
        None => Ok(()),
    }
}

fn backends(upstream: &Upstream) -> Result<(), String> {
    let Upstream { name, backends, health_check, .. } = upstream;
    if backends.is_empty() {
        return Err(format!("upstream `{name}` has no backend"));
    }
    for (place, backend) in backends.iter().enumerate() {
        if backends.iter().take(place).any(|earlier| earlier.address.is_same(&backend.address)) {
            return Err(format!("backend `{}` is given twice in upstream `{name}`", backend.address));
        }
    }
    if health_check.as_ref().is_some_and(|check| check.interval.is_zero()) {
        return Err(format!("the health check of upstream `{name}` has an interval of zero"));
    }
    Ok(())
}

fn references(route: &Route, listeners: usize, upstreams: usize) -> Result<(), String> {
    let name = &route.name;
    if route.listeners.is_empty() {
        return Err(format!("route `{name}` has no listener"));
    }
    if let Some(place) = route.listeners.iter().find(|place| **place >= listeners) {
        return Err(format!("route `{name}` is for listener {place}, and there are {listeners}, counted from 0"));
    }
    let shares = match &route.action {
        Action::Forward(forward) => &forward.split.upstreams,
        Action::Redirect(..) | Action::Respond(_) => return Ok(()),
    };
    if let Some((place, _)) = shares.iter().find(|(place, _)| *place >= upstreams) {
        return Err(format!("route `{name}` leads to upstream {place}, and there are {upstreams}, counted from 0"));
    }
    let places: HashSet<usize> = shares.iter().map(|(place, _)| *place).collect();
    if places.len() != shares.len() {
        return Err(format!("route `{name}` leads to an upstream twice"));
    }
    if shares.iter().all(|(_, weight)| *weight == 0) {
        return Err(format!("route `{name}` leads nowhere: all its weights are 0"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Backend, Split};

    type Slip = fn(&mut Config);

    fn right() -> Config {
        let upstream = Upstream::new("app", vec![Backend::new("127.0.0.1:9001".parse().unwrap())]);
        let listeners = vec![
            Listener::new("web", "127.0.0.1:0".parse().unwrap()),
            Listener::new("more", "127.0.0.1:0".parse().unwrap()),
        ];
        Config::new(listeners, vec![upstream], vec![Route::to_upstream("all", vec![0, 1], 0)])
    }

    #[test]
    fn a_value_that_holds_together_is_fine_and_each_slip_is_said() {
        assert_eq!(right().check(), Ok(()));
        let slips: [(Slip, &str); 15] = [
            (|config| config.listeners.clear(), "there is not a listener"),
            (|config| config.upstreams.clear(), "there is not an upstream"),
            (|config| config.routes.clear(), "there is not a route"),
            (|config| config.listeners[1].name = "web".to_owned(), "`web` is the name of a listener twice"),
            (|config| config.upstreams[0].name = "a b".to_owned(), "`a b` cannot be the name of an upstream"),
            (|config| config.listeners[0].address = "127.0.0.1:9901".parse().unwrap(), "cannot both be listened on"),
            (|config| config.server.threads = 0, "`threads` is 0"),
            (|config| config.server.client_bind_to_ipv4 = vec!["::1".to_owned()], "`::1` is not a source address"),
            (|config| config.upstreams[0].backends.clear(), "upstream `app` has no backend"),
            (
                |config| {
                    let backend = config.upstreams[0].backends[0].clone();
                    config.upstreams[0].backends.push(backend);
                },
                "backend `127.0.0.1:9001` is given twice",
            ),
            (|config| config.routes[0].listeners.clear(), "route `all` has no listener"),
            (|config| config.routes[0].listeners.push(2), "is for listener 2, and there are 2"),
            (|config| lead(config, vec![(1, 1)]), "leads to upstream 1, and there are 1"),
            (|config| lead(config, vec![(0, 1), (0, 1)]), "leads to an upstream twice"),
            (|config| lead(config, vec![(0, 0)]), "leads nowhere"),
        ];
        for (slip, said) in slips {
            let mut config = right();
            slip(&mut config);
            let why = config.check().unwrap_err();
            assert!(why.contains(said), "{said}: {why}");
        }
    }

    fn lead(config: &mut Config, upstreams: Vec<(usize, u32)>) {
        if let Action::Forward(forward) = &mut config.routes[0].action {
            forward.split = Split { upstreams, key: None };
        }
    }
}
