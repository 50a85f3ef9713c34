//! A route as requests see it: everything that its configuration and its upstreams' leave to decide is decided.

use std::sync::Arc;

use crate::config::{self, Forward, Key, Redirect, Respond, Retry, UpstreamTimeouts};
use crate::forward::header_rules::HeaderRules;
use crate::forward::rewrite::{PathRewrite, Rewrite};
use crate::observe::metrics::{CodeCounters, Histogram};
use crate::route::Split;
use crate::units::SizeLimit;
use crate::upstream::Upstream;

/// See the module's documentation.
#[derive(Debug)]
pub struct Route {
    /// Name in the configuration.
    pub name: String,
    /// What is done with its requests.
    pub action: Action,
    /// What is changed in the heads of its answers.
    pub response_headers: HeaderRules,
    /// What is counted; kept as long as a route of this name exists.
    pub counters: Arc<RouteCounters>,
}

/// What a route counts.
#[derive(Debug, Default)]
pub struct RouteCounters {
    /// Answers by status.
    pub codes: CodeCounters,
    /// From the request's head to the end of its answer.
    pub duration: Histogram,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Action {
    /// A backend answers.
    Forward(Forwarding),
    /// The client is sent elsewhere; the path is changed first.
    Redirect(Redirect, Option<PathRewrite>),
    /// We answer.
    Respond(Respond),
}

/// How requests are forwarded.
#[derive(Debug)]
pub struct Forwarding {
    /// At least one.
    destinations: Box<[Destination]>,
    /// Which of them; none if there is but one.
    split: Option<(Split, Option<Key>)>,
    /// Another path or host for the backend.
    pub rewrite: Rewrite,
    /// What is changed in the heads of requests.
    pub request_headers: HeaderRules,
}

/// An upstream, and what holds for requests of this route to it.
#[derive(Debug)]
pub struct Destination {
    /// Who answers.
    pub upstream: Arc<Upstream>,
    /// The route's, and where it has none its upstream's.
    pub timeouts: UpstreamTimeouts,
    /// Likewise; none: tried once.
    pub retry: Option<Retry>,
    /// Likewise the most bytes of a request's body; none: unlimited.
    pub request_body: Option<u64>,
}

impl Route {
    /// Compiles what is written. None if it refers to an upstream that is not there, which a checked configuration
    /// never does.
    pub(super) fn new(
        written: &config::Route,
        upstreams: &[Arc<Upstream>],
        counters: Arc<RouteCounters>,
    ) -> Option<Route> {
        let config::Route { name, listeners: _, matches: _, action, response_headers } = written;
        let action = match action {
            config::Action::Forward(forward) => Action::Forward(Forwarding::new(forward, upstreams)?),
            config::Action::Redirect(redirect, path) => Action::Redirect(redirect.clone(), path.clone()),
            config::Action::Respond(respond) => Action::Respond(respond.clone()),
        };
        Some(Route { name: name.clone(), action, response_headers: response_headers.clone(), counters })
    }

    /// How its requests are forwarded; none if they are answered here.
    pub fn forwarding(&self) -> Option<&Forwarding> {
        match &self.action {
            Action::Forward(forwarding) => Some(forwarding),
            Action::Redirect(..) | Action::Respond(_) => None,
        }
    }

    /// A destination by its place.
    pub fn destination(&self, place: usize) -> Option<&Destination> {
        self.forwarding()?.destinations.get(place)
    }
}

impl Forwarding {
    fn new(written: &Forward, upstreams: &[Arc<Upstream>]) -> Option<Forwarding> {
        let Forward { split, rewrite, request_headers, timeouts, retry, request_body } = written;
        let destination = |(upstream, _): &(usize, u32)| {
            let upstream = upstreams.get(*upstream)?.clone();
            let inherited = upstream.config.timeouts;
            let config::RouteTimeouts { connect, first_byte, idle, total, tunnel } = *timeouts;
            let timeouts = UpstreamTimeouts {
                connect: connect.unwrap_or(inherited.connect),
                first_byte: first_byte.unwrap_or(inherited.first_byte),
                idle: idle.unwrap_or(inherited.idle),
                total: total.unwrap_or(inherited.total),
                keep_alive: inherited.keep_alive,
                tunnel: tunnel.unwrap_or(inherited.tunnel),
            };
            let retry = retry.over(upstream.config.retry);
            let request_body = match request_body.unwrap_or(upstream.config.request_body) {
                SizeLimit::Unlimited => None,
                SizeLimit::At(most) => Some(most.0),
            };
            Some(Destination { upstream, timeouts, retry, request_body })
        };
        let config::Split { upstreams: shares, key } = split;
        let destinations: Box<[Destination]> = shares.iter().map(destination).collect::<Option<_>>()?;
        let weights = || Split::new(shares.iter().map(|(_, weight)| *weight));
        Some(Forwarding {
            split: (destinations.len() > 1).then(|| (weights(), key.clone())),
            destinations,
            rewrite: rewrite.clone(),
            request_headers: request_headers.clone(),
        })
    }

    /// Who may answer, in the order of the file.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.destinations.iter()
    }

    /// The place of the destination for a request: by its key if that is configured and there, else by chance.
    pub fn choose<'a>(&self, key: impl FnOnce(&Key) -> Option<std::borrow::Cow<'a, [u8]>>, chance: u64) -> usize {
        let Some((split, by)) = &self.split else { return 0 };
        let key = by.as_ref().and_then(key);
        let chosen = key.map_or_else(|| split.at(chance), |key| split.of_key(&key));
        debug_assert!(chosen.is_some(), "a checked split has a weight");
        chosen.unwrap_or_default()
    }
}
